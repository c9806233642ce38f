"""Polls: who waits in poll(2) on which open file, to be woken once."""

from __future__ import annotations

import threading

from cuse_scullv._native import lib


class Polls:
    """The kernel's poll handles by file number; the lock is a leaf."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: dict[int, int] = {}  # under _lock
        self._ended = False

    def set(self, number: int, poll: int) -> None:
        """Puts `poll` (0: none) in the place of the file's handle, which is given back."""
        with self._lock:
            old = self._handles.pop(number, 0)
            if poll and not self._ended:
                self._handles[number] = poll
            elif poll:
                lib.call_drop_poll(poll)
        if old:
            lib.call_drop_poll(old)

    def wake(self, number: int) -> None:
        """One wake-up a handle: who is woken asks again, and brings another."""
        # Under the lock, so that the channel does not end meanwhile.
        with self._lock:
            poll = self._handles.pop(number, 0)
            if poll:
                lib.call_notify_poll(poll)
                lib.call_drop_poll(poll)

    def wake_all(self) -> None:
        for number in list(self._handles):
            self.wake(number)

    def end(self) -> None:
        """Gives all back, and takes no more."""
        with self._lock:
            self._ended = True
            handles, self._handles = self._handles, {}
            for poll in handles.values():
                lib.call_drop_poll(poll)
