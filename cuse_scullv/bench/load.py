"""What clients do, and how fast they did it: client.c as Python sees it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.process import finish, started

# How long a load may take beyond its time, in seconds: beside CPU hogs, in an emulated guest, a
# single call can take long.
PATIENCE_S = 180.0
MEMORY = ":memory"
"""In place of a path: the client's own memory, and memcpy."""


@dataclass(frozen=True, slots=True)
class Result:
    """What all clients did together, and how long they took."""

    bytes: int
    operations: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """The options of client.c, which explains them."""

    op: str
    paths: Sequence[str]
    clients: int = 1
    block: int = 4096
    start: int = 0
    stride: int = 0
    span: int = 1 << 20
    seconds: float = 0.0
    position: str = "file"
    reset: str = "none"
    command: int = 0

    def arguments(self) -> list[str]:
        options = {
            "-o": self.op,
            "-c": self.clients,
            "-b": self.block,
            "-a": self.start,
            "-d": self.stride,
            "-s": self.span,
            "-t": self.seconds,
            "-p": self.position,
            "-r": self.reset,
            "-i": self.command,
        }
        return [word for name, value in options.items() for word in (name, str(value))]

    def run(self, client: Path) -> Result:
        """Raises BenchError where a client fails."""
        command = [str(client), *self.arguments(), *self.paths]
        try:
            done = finish(command, seconds=self.seconds + PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"a client took more than {PATIENCE_S:.0f} s: {self}") from None
        if done.returncode != 0:
            raise BenchError(f"a client failed: {done.stderr.strip()} ({self})")
        moved, operations, nanoseconds = (int(word) for word in done.stdout.split())
        return Result(moved, operations, max(nanoseconds, 1) / 1e9)


@contextmanager
def hogs(program: Path) -> Iterator[None]:
    """A busy loop on every CPU while the context lasts."""
    with ExitStack() as stack:
        with started([str(program)], stdout=subprocess.PIPE) as child:
            stack.enter_context(child)  # which closes the pipe
            stack.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()  # they all run
        yield
