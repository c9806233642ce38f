"""What clients open, and the servers behind it: ours, libfuse's examples, a tmpfs, plain memory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cuse_scullv.bench.lab import MIB, Lab
from cuse_scullv.bench.load import MEMORY, Load
from cuse_scullv.bench.process import Process, can_open, python, running
from cuse_scullv.ioctl import TRIM

DEVICES = 4
"""Of a target: as many as a case has clients that want one each."""
DEV = Path("/dev")
CUSE_SCULLV = python("cuse_scullv")


@dataclass(frozen=True, slots=True)
class Target:
    """Files that all behave alike. `position` and `reset` are client.c's words."""

    paths: tuple[str, ...]
    position: str
    """How a client gets to its part of the file; "none": it has no part of its own."""
    reset: str
    """How a file is emptied."""
    process: Process | None = None
    """The server of the first path, where there is one."""

    @property
    def keeps_data(self) -> bool:
        """Whether bytes stay where a client wrote them, so that reads need a fill first."""
        return self.position != "none"

    def empty(self, path: str) -> None:
        """Makes the file give its memory back."""
        if self.reset == "none":
            return
        how = os.O_WRONLY if self.reset == "open" else os.O_RDWR
        fd = os.open(path, how | os.O_CLOEXEC)
        try:
            if self.reset == "trim":
                fcntl.ioctl(fd, TRIM)
            elif self.reset == "truncate":
                os.ftruncate(fd, 0)
        finally:
            os.close(fd)


def limit_of(span: int) -> int:
    """--max-bytes for a data set: with room for what is being given back."""
    return span + 64 * MIB


@contextmanager
def _serving(
    lab: Lab,
    folder: Path,
    words: Sequence[str],
    position: str,
    span: int,
    devices: int,
    program: Sequence[str],
) -> Iterator[Target]:
    """What is served below a folder, by `cuse-scullv serve` with these words."""
    name = lab.name()
    names = [name] if devices == 1 else [f"{name}{number}" for number in range(devices)]
    paths = [folder / each for each in names]
    limit = str(limit_of(span or lab.scale.span))
    command = [*program, "serve", "--name", name, "--devices", str(devices), "--max-bytes", limit]
    with running("cuse-scullv serve", [*command, *words]) as process:
        process.wait_until(lambda: can_open(*paths))
        yield Target(tuple(map(str, paths)), position, "trim", process)


@contextmanager
def our_nodes(
    lab: Lab,
    *options: str,
    span: int = 0,
    devices: int = DEVICES,
    program: Sequence[str] = CUSE_SCULLV,
) -> Iterator[Target]:
    """This server's nodes. `options`: of `cuse-scullv serve`; `span`: bytes they must hold;
    `program`: instead of this one."""
    with _serving(lab, DEV, options, "node", span, devices, program) as target:
        yield target


@contextmanager
def our_files(
    lab: Lab,
    *options: str,
    span: int = 0,
    devices: int = DEVICES,
    program: Sequence[str] = CUSE_SCULLV,
) -> Iterator[Target]:
    """This server's file view, without nodes."""
    with lab.mount_point() as folder:
        words = ["--no-node", "--files", str(folder), *options]
        with _serving(lab, folder, words, "file", span, devices, program) as target:
            yield target


@contextmanager
def ours(
    lab: Lab,
    *options: str,
    span: int = 0,
    devices: int = DEVICES,
    program: Sequence[str] = CUSE_SCULLV,
) -> Iterator[Target]:
    """Nodes where the kernel can have them, else the file view."""
    make = our_nodes if lab.has_nodes else our_files
    with make(lab, *options, span=span, devices=devices, program=program) as target:
        yield target


@contextmanager
def example_node(lab: Lab) -> Iterator[tuple[Path, Process]]:
    """One node of libfuse's example cuse.c, its buffer grown to a MiB.

    The example has no position: the offset that CUSE hands it starts at 0 with each system call,
    so it writes and reads the first block of its buffer over and over. Its buffer grows by an
    unlocked realloc(), which several clients would crash; so it is grown beforehand."""
    path = DEV / lab.name()
    command = [str(lab.programs.example("cuse")), "-f", f"--name={path.name}"]
    with running("libfuse's example cuse", command) as process:
        process.wait_until(lambda: can_open(path))
        Load("fresh", [str(path)], block=MIB, span=MIB, position="none").run(lab.client)
        yield path, process


@contextmanager
def example_nodes(lab: Lab, devices: int = DEVICES) -> Iterator[Target]:
    """The example's nodes: a process each, for that is how many devices it serves."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(example_node(lab)) for _ in range(devices)]
        paths = tuple(str(path) for path, _ in nodes)
        yield Target(paths, "none", "none", nodes[0][1])


@contextmanager
def tmpfs_files(lab: Lab, devices: int = DEVICES) -> Iterator[Target]:
    """Files of a tmpfs: no server at all."""
    with lab.memory_folder() as folder:
        yield Target(make_files(folder, devices), "file", "truncate")


@contextmanager
def passthrough_files(lab: Lab, devices: int = DEVICES) -> Iterator[Target]:
    """The same through libfuse's example passthrough_ll.c, with nothing cached by the kernel."""
    program = str(lab.programs.example("passthrough_ll"))
    with lab.memory_folder() as source, lab.mount_point() as folder:
        names = [Path(path).name for path in make_files(source, devices)]
        paths = [folder / name for name in names]
        command = [program, "-f", "-o", f"source={source},cache=never", str(folder)]
        with running("libfuse's example passthrough_ll", command) as process:
            process.wait_until(lambda: can_open(*paths))
            yield Target(tuple(map(str, paths)), "file", "truncate", process)


@contextmanager
def example(lab: Lab, devices: int = DEVICES) -> Iterator[Target]:
    """The example of libfuse that is the peer of `ours`."""
    make = example_nodes if lab.has_nodes else passthrough_files
    with make(lab, devices) as target:
        yield target


def example_name(lab: Lab) -> str:
    return "libfuse cuse.c" if lab.has_nodes else "passthrough_ll"


@contextmanager
def memory(lab: Lab) -> Iterator[Target]:
    """No file at all: memcpy to and from memory of the client's own."""
    yield Target((MEMORY,), "none", "none")


def make_files(folder: Path, count: int) -> tuple[str, ...]:
    """Empty files in a folder."""
    paths = [folder / f"file{number}" for number in range(count)]
    for path in paths:
        path.touch()
    return tuple(map(str, paths))
