"""Countdown: the heartbeat of a watchdog, that pings begin anew, and what is called at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from .timer import Timer


class Countdown:
    """Of one watchdog. It does not run at first."""

    def __init__(
        self,
        name: str,
        heartbeat: int,
        pretimeout: int,
        expired: Callable[[], Any],
        pretimeout_expired: Callable[[], Any],
    ) -> None:
        """`name`: of the device. Seconds; what is called at the end, and `pretimeout` s before."""
        self.heartbeat, self.pretimeout = heartbeat, pretimeout
        self._expired, self._pretimeout_expired = expired, pretimeout_expired
        self._lock = threading.Lock()  # of all
        self._timer = Timer(name, self._time_is_up, "expired()")
        self._end: float | None = None  # time.monotonic(); None: it does not run
        self._was_warned = self._is_over = False  # of this heartbeat
        self._was_pinged = False

    async def start(self) -> None:
        """The device is served."""
        await self._timer.start()

    async def stop(self) -> None:
        """The device is not served any more."""
        await self._timer.stop()

    # --- what is so -------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return self._end is not None

    @property
    def left(self) -> float:
        """Seconds until the end; 0.0 after it, and where it does not run."""
        end = self._end
        return 0.0 if end is None else max(0.0, end - time.monotonic())

    def take_ping(self) -> bool:
        """Whether there was a ping since this was asked last."""
        with self._lock:
            was_pinged, self._was_pinged = self._was_pinged, False
            return was_pinged

    # --- what is to be ----------------------------------------------------------------------

    def begin(self) -> bool:
        """It runs from now on. False: it did already, and goes on as it was."""
        with self._lock:
            if self._end is not None:
                return False
            self._restart()
            return True

    def ping(self) -> bool:
        """Begins it anew. False: it does not run."""
        with self._lock:
            if self._end is None:
                return False
            self._restart()
            return True

    def end(self) -> bool:
        """It does not run any more. False: it did not."""
        with self._lock:
            runs, self._end = self.runs, None
            self._aim()
            return runs

    def set_heartbeat(self, seconds: int) -> None:
        """From the next ping on. A pretimeout for which it has no room is taken away."""
        with self._lock:
            self.heartbeat = seconds
            if self.pretimeout >= seconds:
                self.pretimeout = 0

    def set_pretimeout(self, seconds: int) -> bool:
        """False: there is no room for it."""
        with self._lock:
            if not 0 <= seconds < self.heartbeat:
                return False
            self.pretimeout, self._was_warned = seconds, False
            self._aim()
            return True

    def _restart(self) -> None:
        """Under the lock."""
        self._end = time.monotonic() + self.heartbeat
        self._was_pinged = True
        self._was_warned = self._is_over = False
        self._aim()

    # --- its end ----------------------------------------------------------------------------

    def _aim(self) -> None:
        """Sets the timer to what comes next. Under the lock."""
        if self._end is None or self._is_over:
            self._timer.set(None)
        else:
            self._timer.set(self._end - (0 if self._was_warned else self.pretimeout))

    def _time_is_up(self) -> Any:
        with self._lock:
            if self._end is None or self._is_over:
                return None
            left = self._end - time.monotonic()
            if left <= 0:
                self._is_over = True
                call = self._expired
            elif left <= self.pretimeout and not self._was_warned:
                self._was_warned = True
                call = self._pretimeout_expired
            else:  # there was a ping meanwhile, which has set the timer
                return None
            self._aim()
        self._timer.doing = f"{call.__name__}()"
        return call()

    # --- what outlives a worker -------------------------------------------------------------

    _KEPT = ("heartbeat", "pretimeout", "_end", "_was_warned", "_is_over", "_was_pinged")

    def save(self) -> dict[str, Any]:
        """For restore(); JSON can have it."""
        with self._lock:
            return {key: getattr(self, key) for key in self._KEPT}

    def restore(self, kept: dict[str, Any]) -> None:
        with self._lock:
            for key in self._KEPT:
                setattr(self, key, kept[key])
            self._aim()
