"""Deaths: one thread and one epoll set a process, for the ends of all clients.

A pidfd can be read when its process has ended (pidfd_open(2)), which is after it has closed its
files (kernel/exit.c: do_exit)."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

logger = logging.getLogger("cuse_scullv.cuse")

Died = Callable[[], None]

_lock = threading.Lock()
_deaths: Deaths | None = None  # under _lock
_pid = 0  # of the process that made it: a thread does not survive fork


class Deaths:
    """Calls what was given for a pidfd, once, when its process ends. Any thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._died: dict[int, Died] = {}  # under lock, by pidfd
        threading.Thread(target=self._run, name="cuse-deaths", daemon=True).start()

    def follow(self, pidfd: int, died: Died) -> None:
        """`pidfd` is the caller's, until `died` is called or forget() has returned True."""
        with self._lock:
            self._died[pidfd] = died
            self._epoll.register(pidfd, select.EPOLLIN)

    def forget(self, pidfd: int) -> bool:
        """False: `died` has been called, or is about to be."""
        with self._lock:
            if self._died.pop(pidfd, None) is None:
                return False
            self._epoll.unregister(pidfd)
            return True

    def _run(self) -> None:
        while True:
            for pidfd, _ in self._epoll.poll():
                self._tell(pidfd)

    def _tell(self, pidfd: int) -> None:
        with self._lock:
            died = self._died.pop(pidfd, None)
            if died is None:  # forgotten since
                return
            self._epoll.unregister(pidfd)
        try:
            died()
        except Exception:
            logger.exception("a fault of the session itself, at the death of a client")


def deaths() -> Deaths:
    """Those of this process."""
    global _deaths, _pid
    with _lock:
        if _deaths is None or _pid != os.getpid():
            _deaths, _pid = Deaths(), os.getpid()
        return _deaths
