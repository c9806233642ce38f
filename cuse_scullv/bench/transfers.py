"""Contenders that move bytes: by our client, or by dd."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from cuse_scullv.bench import load
from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.lab import MIB, Lab
from cuse_scullv.bench.load import PATIENCE_S, Load, Result
from cuse_scullv.bench.process import finish
from cuse_scullv.bench.rounds import Contender
from cuse_scullv.bench.sample import FAULT, FRESH, OVERWRITE, READ, Case
from cuse_scullv.bench.target import Target

OPS = {FRESH: "fresh", OVERWRITE: "write", READ: "read", FAULT: "fault"}
HOG_TIMES = 4
"""How much longer a sample beside hogs takes: turns on a CPU are milliseconds then."""
Opener = Callable[[], AbstractContextManager[Target]]


class Transfers(Contender):
    """Fresh writes, overwrites and reads, in bytes a second."""

    def __init__(
        self,
        name: str,
        lab: Lab,
        opener: Opener,
        *,
        start: int = 0,
        span: int = 0,
        max_clients: int = 64,
    ) -> None:
        """Clients move the `span` bytes from `start` on, of which each has its share."""
        super().__init__(name)
        self.lab = lab
        self._opener = opener
        self._start = start
        self._span = span or lab.scale.span
        self._max_clients = max_clients
        self._filled: dict[str, int] = {}

    def can(self, case: Case) -> bool:
        return case.clients <= self._max_clients

    def start(self, stack: ExitStack) -> None:
        self.target = stack.enter_context(self._opener())

    def measure(self, case: Case) -> float:
        paths = self.target.paths[: 1 if case.layout == "one" else case.clients]
        share = self._span // case.clients // MIB * MIB
        self._prepare(case, paths, share)
        with ExitStack() as stack:
            if case.beside == "hogs":
                stack.enter_context(load.hogs(self.lab.programs.own("hog")))
            result = self.run(case, paths, share)
        return result.bytes / result.seconds

    def run(self, case: Case, paths: tuple[str, ...], share: int) -> Result:
        """The timed part. Each client has `share` bytes to itself."""
        return Load(
            OPS[case.figure],
            paths,
            clients=case.clients,
            block=case.block,
            start=self._start,
            stride=share,
            span=share,
            seconds=self.lab.scale.seconds * (HOG_TIMES if case.beside else 1),
            position=self.target.position,
            reset=self.target.reset,
        ).run(self.lab.client)

    def _prepare(self, case: Case, paths: tuple[str, ...], share: int) -> None:
        """Fills what will be read or written over; files that are not used give their memory
        back, so that no target holds more than its span."""
        if not self.target.keeps_data:
            return
        for path in [path for path in self._filled if path not in paths]:
            self.target.empty(path)
            del self._filled[path]
        if case.figure == FRESH:
            for path in paths:
                self._filled[path] = 0  # or some of it: nobody can tell
            return
        need = self._start + share * (case.clients // len(paths))
        for path in paths:
            if self._filled.get(path) != need:
                self.target.empty(path)
                Load("fresh", [path], block=MIB, span=need, position=self.target.position).run(
                    self.lab.client
                )
                self._filled[path] = need


class DdTransfers(Transfers):
    """The same by plain dd, one client: what people type."""

    def can(self, case: Case) -> bool:
        return case.clients == 1

    def run(self, case: Case, paths: tuple[str, ...], share: int) -> Result:
        """As many blocks as take about the time of a sample: a first short run tells."""
        path = paths[0]
        most = max(share // case.block, 1)
        count = min(max(2 * MIB // case.block, 64), most)
        result = self.dd(case, path, count)
        wanted = int(self.lab.scale.seconds / result.seconds * count)
        if wanted > 2 * count and count < most:
            result = self.dd(case, path, min(wanted, most))
        return result

    def dd(self, case: Case, path: str, count: int) -> Result:
        """dd makes the file new where it writes (our devices are trimmed by opening them for
        writing alone), so what is to be written over is opened for it."""
        output = subprocess.DEVNULL
        words = [f"bs={case.block}", f"count={count}"]
        with ExitStack() as stack:
            if case.figure == READ:
                words += [f"if={path}", "of=/dev/null"]
            elif case.figure == FRESH:
                self.target.empty(path)
                words += ["if=/dev/zero", f"of={path}"]
            else:
                words += ["if=/dev/zero"]
                output = stack.enter_context(open(path, "r+b", buffering=0)).fileno()  # noqa: PTH123
            words = ["dd", *words]
            done = finish(["env", "LC_ALL=C", *words], output=output, seconds=PATIENCE_S)
        return parse_dd(done.stderr, case.block * count, " ".join(words))


def parse_dd(text: str, expected: int, words: str) -> Result:
    """dd's last line: `2097152 bytes (2.1 MB, 2.0 MiB) copied, 0.000504 s, 4.2 GB/s`."""
    found = re.search(r"^(\d+) bytes.* copied, ([0-9.e+-]+) s,", text, re.MULTILINE)
    if found is None or int(found[1]) != expected:
        raise BenchError(f"{words}: {' '.join(text.split())}")
    return Result(expected, expected, max(float(found[2]), 1e-9))
