"""Waiter: one thread asleep in a handler."""

from __future__ import annotations

import contextlib
import threading
from threading import TIMEOUT_MAX

from .current import Running, pausing


class Waiter:
    """Woken by who it waits for, by an interrupt, or by both: once is enough."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def sleep(self, timeout: float | None) -> bool:
        """False: `timeout` seconds passed, or as many as a lock can wait, some 292 years."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, TIMEOUT_MAX))

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # awake already
            self._lock.release()

    def sleep_for(self, request: Running | None, timeout: float | None) -> bool:
        """sleep, where the handler of `request` waits: its end wakes too, and it holds nobody up
        meanwhile. Not with a lock held that others need to end."""
        try:
            if request is not None:
                request.waiter = self
                if request.cancelled:
                    self.wake()
            with pausing(request):
                return self.sleep(timeout)
        finally:
            if request is not None:
                request.waiter = None
