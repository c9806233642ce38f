"""What all suites of a run share: how large they measure, a folder, programs, and what this kernel
can do."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.process import finish
from cuse_scullv.bench.programs import Programs
from cuse_scullv.procfs import lines_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
IN_GUEST = "tools/guest --smp -- cuse-scullv bench"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. Sizes in bytes."""

    blocks: tuple[int, ...] = (512, 4 * KIB, 64 * KIB, 128 * KIB, MIB)
    few_blocks: tuple[int, ...] = (512, 128 * KIB, MIB)
    """Where a suite has many other things to vary."""
    clients: tuple[int, ...] = (1, 2, 4)
    seconds: float = 0.2
    """Of one sample."""
    span: int = 192 * MIB
    """Of one server, all clients together."""
    large: int = GIB
    """Of what is measured with a large device."""
    idle_seconds: float = 3.0

    def fit(self, available: int) -> Scale:
        """The scale for a machine that has so many bytes of memory to spare: data sets stay well
        below it, and are a power of two where they are cut."""
        large, span = self.large, self.span
        while large > max(available // 3, MIB):
            large //= 2
        while span > max(available // 8, 8 * MIB):
            span //= 2
        return replace(self, large=large, span=span)


FULL = Scale()
QUICK = Scale(
    blocks=(512, 128 * KIB),
    few_blocks=(128 * KIB,),
    clients=(1, 2),
    seconds=0.02,
    span=8 * MIB,
    large=32 * MIB,
    idle_seconds=0.3,
)


@dataclass
class Lab:
    """The folder is for the run alone, and goes with it."""

    folder: Path
    scale: Scale
    programs: Programs = field(init=False)

    def __post_init__(self) -> None:
        self.programs = Programs(self.folder)
        self._numbers = itertools.count()

    def name(self) -> str:
        """A name that no other node has."""
        return f"scullvbench{os.getpid()}x{next(self._numbers)}"

    @property
    def large_text(self) -> str:
        """The scale's `large`, for the names of cases and contenders."""
        large = self.scale.large
        return f"{large // GIB} GiB" if large % GIB == 0 else f"{large // MIB} MiB"

    @property
    def client(self) -> Path:
        return self.programs.own("client")

    @contextmanager
    def mount_point(self) -> Iterator[Path]:
        """An empty folder; what is still mounted there in the end is not any more."""
        path = self.folder / f"mount{next(self._numbers)}"
        path.mkdir()
        try:
            yield path
        finally:
            unmount(path)

    @contextmanager
    def memory_folder(self) -> Iterator[Path]:
        """A new folder on a tmpfs that has room for a few data sets: one that is there, or one
        that is mounted for it."""
        need = max(4 * self.scale.span, self.scale.large) + 64 * MIB
        with self.mount_point() as path:
            command = ["mount", "-t", "tmpfs", "-o", f"size={need}", "scullv-bench", str(path)]
            done = finish(command)
            if done.returncode != 0:
                raise BenchError(f"cannot mount a tmpfs to compare with: {done.stderr.strip()}")
            yield path

    @property
    def has_nodes(self) -> bool:
        """Which of the two kinds of device suites that can do with either take."""
        return node_trouble() is None


def unmount(path: Path) -> None:
    """Ends a mount that a server left behind. Does nothing where there is none."""
    # Not os.path.ismount: a mount whose server is gone cannot be looked at.
    if any(line.split(" ")[4] == str(path) for line in open_mounts()):
        finish(["umount", "-l", str(path)])


def open_mounts() -> list[str]:
    return lines_of(Path("/proc/self/mountinfo"))


def trouble_with(device: str) -> int:
    """0, or the errno of opening `device` to serve."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def node_trouble() -> str | None:
    """Why nodes cannot be made here, and what to type; None: they can."""
    code = trouble_with("/dev/cuse")
    if code == 0:
        return None
    if code in (errno.EACCES, errno.EPERM):
        return f"/dev/cuse: {os.strerror(code)}: type the command after 'sudo', or {IN_GUEST}"
    return f"this kernel has no CUSE (/dev/cuse: {os.strerror(code)}): type {IN_GUEST}"


def file_trouble() -> str | None:
    """Why file views cannot be mounted here, and what to type; None: they can."""
    if os.geteuid() != 0:
        return "mounting what is compared takes root: type the command after 'sudo'"
    code = trouble_with("/dev/fuse")
    if code == 0:
        return None
    return f"this kernel has no FUSE (/dev/fuse: {os.strerror(code)}): type {IN_GUEST}"
