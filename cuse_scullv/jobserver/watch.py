"""Watch: tells of the deaths of processes, on the asyncio loop that it is used on.

The binding's own client_gone() is for those who use an open file; who has a token has it also when
he has closed all his files, and when it was another worker that gave it to him."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Set

from .kin import start_of


class Watch:
    """Processes, each by one pidfd until it dies. For tasks of one loop."""

    def __init__(self, died: Callable[[int, int], object]) -> None:
        """`died(pid, start)` is called when one has died; also from within follow()."""
        self._died = died
        self._fds: dict[int, tuple[int, int]] = {}  # pidfd and start, by pid

    def follow(self, pid: int, start: int) -> None:
        """That is to be told of when it dies. Where there are no descriptors left it is not, so ask
        again now and then; to ask twice for the same is to ask once."""
        _, known = self._fds.get(pid, (-1, -1))
        if known == start:
            return
        if known >= 0:  # it has died, and the loop has not heard of it
            self._end(pid)
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._died(pid, start)
            return
        except OSError:
            return
        self._fds[pid] = fd, start
        if not _is(pid, start):
            self._end(pid)
            return
        asyncio.get_running_loop().add_reader(fd, self._end, pid)

    def keep(self, pids: Set[int]) -> None:
        """Of others than these nobody is to be told any more."""
        for pid in self._fds.keys() - pids:
            self._forget(pid)

    def _end(self, pid: int) -> None:
        self._died(pid, self._forget(pid))

    def _forget(self, pid: int) -> int:
        """When it started."""
        fd, start = self._fds.pop(pid)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        return start


def _is(pid: int, start: int) -> bool:
    """Whether the process of that number is the one that started then."""
    try:
        return start_of(pid) == start
    except ProcessLookupError:
        return False
