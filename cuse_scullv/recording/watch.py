"""Watch: a thread that hears when something may have changed for those who poll real devices."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP
_END = -1


class Watch:
    """Calls back at each wake-up that a descriptor's driver gives, edge-triggered (epoll(7)).

    Methods are for any thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._end, select.EPOLLIN)
        self._calls: dict[int, Callable[[], object]] = {}
        self._thread = threading.Thread(target=self._run, name="cuse-watch", daemon=True)
        self._thread.start()

    def add(self, fd: int, call: Callable[[], object]) -> None:
        """`call()` at each wake-up, on the thread of the watch; and soon, if anything is so now. A
        device without poll has no wake-ups: it is always ready."""
        if fd in self._calls:
            return
        self._calls[fd] = call
        # FileExistsError: another thread was quicker. PermissionError: no poll.
        with contextlib.suppress(FileExistsError, PermissionError):
            self._epoll.register(fd, _EVENTS | select.EPOLLET)

    def remove(self, fd: int) -> None:
        """Before `fd` is closed."""
        if self._calls.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # it was never registered: no poll
                self._epoll.unregister(fd)

    def close(self) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._end)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._end:
                    return
                call = self._calls.get(fd)
                if call is not None:
                    call()
