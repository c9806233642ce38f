"""Timer: something that a device does when it is time, on a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("cuse_scullv.classes")


class Timer:
    """Calls a function at the time that was set last; once, so that it may set the next time.

    The thread is begun when a time is set first, and ends at stop(). What the function raises is
    logged. It may be `async def`, and runs on the loop then. A loop that is held up does not hold
    up a function that is `def`: that a watchdog is late is what it is there to say."""

    def __init__(self, name: str, function: Callable[[], Any], doing: str) -> None:
        """For the log: the device's `name`, and what it is `doing`, which the function may set."""
        self._name = name
        self._function = function
        self.doing = doing
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None  # None: before start, after stop
        self._when: float | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """The device is served from now on. On the loop."""
        with self._changed:
            self._loop = asyncio.get_running_loop()
            self._begin()

    async def stop(self) -> None:
        """Nothing is called any more, but for a call that is under way."""
        with self._changed:
            self._loop = self._when = self._thread = None
            self._changed.notify()

    def set(self, when: float | None) -> None:
        """The function is called when time.monotonic() is `when`; None: not at all."""
        with self._changed:
            self._when = when
            self._begin()
            self._changed.notify()

    def _begin(self) -> None:
        if self._loop is not None and self._when is not None and self._thread is None:
            name = f"cuse-timer {self._name}"
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name=name, daemon=True
            )
            self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._wait():
            try:
                result = self._function()
                if inspect.isawaitable(result):
                    asyncio.run_coroutine_threadsafe(_awaited(result), loop).result()
            except BaseException:
                logger.exception("%s: %s raised", self._name, self.doing)

    def _wait(self) -> bool:
        """Until it is time. False: the thread is to end."""
        with self._changed:
            while self._thread is threading.current_thread():
                left = None if self._when is None else self._when - time.monotonic()
                if left is not None and left <= 0:
                    self._when = None
                    return True
                self._changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
            return False


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
