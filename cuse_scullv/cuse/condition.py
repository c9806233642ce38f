"""Condition: what a blocking handler waits on; its wait ends when the client is interrupted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, TypeVar

from .current import current
from .waiter import Waiter

T = TypeVar("T")


class Condition:
    """threading.Condition for handlers: `wait` raises when the client no longer waits.

    Inside a handler, wait() and wait_for() raise OSError with errno EINTR when a signal hits the
    client, ETIMEDOUT when the device's `timeout` is over, and ENODEV when the device goes away. A
    handler that lets it pass answers the client with that errno. Elsewhere they only wait.
    """

    def __init__(self, lock: threading.Lock | None = None) -> None:
        """`lock` may be shared between conditions, as of threading.Condition; not an RLock."""
        self._lock: Final = lock or threading.Lock()
        self._waiters: deque[Waiter] = deque()

    def __enter__(self) -> Condition:
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Gives the lock up, sleeps until notified, takes it again. False: `timeout` s passed.

        OSError as the class says; the lock is held then too."""
        if not self._lock.locked():
            raise RuntimeError("wait() needs the lock: `with condition:`")
        request = current.get()
        waiter = Waiter()
        self._waiters.append(waiter)
        self._lock.release()
        try:
            woken = waiter.sleep_for(request, timeout)
        finally:
            self._lock.acquire()
            with contextlib.suppress(ValueError):  # notify has taken it out
                self._waiters.remove(waiter)
        if request is not None and request.cancelled:
            # Somebody may have meant us with notify(1): let another have it.
            self.notify()
            request.check()
        return woken

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Waits until `predicate()` is true, and returns it; its last value after `timeout` s."""
        end = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wakes up to `n` that wait. The lock must be held."""
        if not self._lock.locked():
            raise RuntimeError("notify() needs the lock: `with condition:`")
        for _ in range(min(n, len(self._waiters))):
            self._waiters.popleft().wake()

    def notify_all(self) -> None:
        """Wakes all that wait. The lock must be held."""
        self.notify(len(self._waiters))


def sleep(seconds: float) -> None:
    """time.sleep for handlers: raises OSError when the client no longer waits, as Condition."""
    condition = Condition()
    with condition:
        condition.wait(seconds)
