"""Deadlines: the thread that looks after a device's `timeout`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .request import Request


class Deadlines:
    """Calls `expire(request, timeout)` for requests that are pending `timeout` seconds after start.

    All have the same timeout, so those in `pending` are in the order of their deadlines. A request
    that arrives while the thread sleeps ends after the sleep: nobody needs to wake it."""

    def __init__(
        self,
        timeout: float,
        pending: dict[int, Request],
        expire: Callable[[Request, float], None],
    ) -> None:
        self._timeout = timeout
        self._pending = pending
        self._expire = expire
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="cuse-deadlines", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        pause = self._timeout
        while not self._stop.wait(min(pause, threading.TIMEOUT_MAX)):
            pause = self._look()

    def _look(self) -> float:
        """Expires what is due; seconds until there is something to do again."""
        for request in list(self._pending.values()):
            left = request.started + self._timeout - time.monotonic()
            if left > 0:
                return left
            self._expire(request, self._timeout)
        return self._timeout
