"""What a server costs besides time per byte: ioctls, trim, memory, CPU when idle, start-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.lab import MIB, Lab
from cuse_scullv.bench.load import Load
from cuse_scullv.bench.process import Process
from cuse_scullv.bench.rounds import Contender, Plan
from cuse_scullv.bench.sample import Case
from cuse_scullv.bench.target import Target, example, example_name, ours, tmpfs_files
from cuse_scullv.bench.transfers import Opener
from cuse_scullv.ioctl import NUMBERS

IOCTL = Case("ioctl that gets a number", unit="1/s")
MEMORY = Case("memory per byte stored", unit="B/B")
IDLE = Case("CPU when idle", unit="%")
START_UP = Case("start-up until usable", unit="s")

GET_ORDER = NUMBERS["SCULLV_IOCQORDER"]
FIOC_GET_SIZE = 0x80084500
"""_IOR('E', 0, size_t) of the ioctl.h that libfuse's example cuse.c includes."""


def trim_case(lab: Lab) -> Case:
    """Emptying a large device, or file."""
    return Case(f"trim of {lab.large_text}", unit="s")


class Costs(Contender):
    """The costs of one kind of target."""

    def __init__(
        self, name: str, lab: Lab, opener: Opener, *, command: int = 0, stores: bool, serves: bool
    ) -> None:
        """`command`: an ioctl that changes nothing, 0: there is none. `stores`: the target holds
        as much as is written to it, in memory of its own. `serves`: it has a process."""
        super().__init__(name)
        self.lab = lab
        self._opener = opener
        self._command = command
        self._figures: dict[Case, Callable[[], float]] = {}
        if command:
            self._figures[IOCTL] = self._ioctls
        if stores:
            self._figures |= {trim_case(lab): self._trim, MEMORY: self._memory}
        if serves:
            self._figures |= {IDLE: self._idle, START_UP: self._start_up}

    def can(self, case: Case) -> bool:
        return case in self._figures

    def start(self, stack: ExitStack) -> None:
        self.target: Target = stack.enter_context(self._opener())

    def measure(self, case: Case) -> float:
        return self._figures[case]()

    @property
    def path(self) -> str:
        return self.target.paths[0]

    @property
    def process(self) -> Process:
        if self.target.process is None:
            raise BenchError(f"{self.name} has no process")
        return self.target.process

    def _fill(self, target: Target) -> None:
        span = self.lab.scale.large
        paths = target.paths[:1]
        Load("fresh", paths, block=MIB, span=span, position=target.position).run(self.lab.client)

    def _ioctls(self) -> float:
        result = Load(
            "ioctl",
            [self.path],
            seconds=self.lab.scale.seconds,
            position="none",
            command=self._command,
        ).run(self.lab.client)
        return result.operations / result.seconds

    def _trim(self) -> float:
        """Seconds until a full device is empty."""
        self._fill(self.target)
        began = time.monotonic()
        self.target.empty(self.path)
        return time.monotonic() - began

    def _memory(self) -> float:
        """What a full device takes, server and index and all, over what an empty one takes: of a
        new server, for one that was full keeps some memory at hand."""
        with self._opener() as target:
            before = held_by(target)
            self._fill(target)
            return (held_by(target) - before) / self.lab.scale.large

    def _idle(self) -> float:
        """Per cent of one CPU, of a server that nobody calls; just after it was busy."""
        busy = Load("write", [self.path], seconds=0.1, span=MIB, position=self.target.position)
        busy.run(self.lab.client)
        cpu, began = self.process.cpu_seconds(), time.monotonic()
        time.sleep(self.lab.scale.idle_seconds)
        return 100 * (self.process.cpu_seconds() - cpu) / (time.monotonic() - began)

    def _start_up(self) -> float:
        """Seconds from starting another server until all its devices can be opened."""
        with self._opener() as target:
            return target.process.start_seconds if target.process else 0.0


def held_by(target: Target) -> int:
    """Bytes of memory, of the server's process, or of the first file."""
    if target.process is not None:
        return target.process.resident_bytes()
    return Path(target.paths[0]).stat().st_blocks * 512  # stat(2): blocks of 512 bytes


def plan(lab: Lab) -> Plan:
    """This server; libfuse's example, which has ioctls as a node and none as a file; a tmpfs."""
    command = FIOC_GET_SIZE if lab.has_nodes else 0
    large = lab.scale.large
    return Plan(
        [IOCTL, trim_case(lab), MEMORY, IDLE, START_UP],
        [
            Costs(
                "cuse-scullv",
                lab,
                lambda: ours(lab, span=large, devices=1),
                command=GET_ORDER,
                stores=True,
                serves=True,
            ),
            Costs(
                example_name(lab),
                lab,
                lambda: example(lab, devices=1),
                command=command,
                stores=False,
                serves=True,
            ),
            Costs("tmpfs", lab, lambda: tmpfs_files(lab, devices=1), stores=True, serves=False),
        ],
    )
