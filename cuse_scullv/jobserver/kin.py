"""Kin: what /proc says of a process's start and of its ancestors (proc(5): /proc/PID/stat)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from cuse_scullv.procfs import stat_fields

PROC = Path("/proc")
_PPID = 4 - 3  # of the fields behind the name, which are counted from 3
_START = 22 - 3


def start_of(pid: int) -> int:
    """When the process started, in clock ticks since the machine did. ProcessLookupError."""
    return _field(pid, _START)


def ancestors_of(pid: int) -> Iterator[int]:
    """Its parent, the parent's parent and so on, without the first process of all. Where one dies
    meanwhile they end."""
    try:
        while (pid := _field(pid, _PPID)) > 1:
            yield pid
    except ProcessLookupError:
        return


def _field(pid: int, number: int) -> int:
    try:
        return int(stat_fields(PROC / str(pid))[number])
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(errno.ESRCH, f"no process {pid} can be seen") from None
