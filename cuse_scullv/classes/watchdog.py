"""Watchdog: a timer that a client has to restart again and again, and what happens when it fails.

As drivers/watchdog/watchdog_dev.c has it, by the numbers of include/uapi/linux/watchdog.h (those
are in watchdog_uapi.py); Documentation/watchdog/watchdog-api.rst has their meaning."""

from __future__ import annotations

import errno
import json
import math
import threading
from typing import Any

from cuse_scullv import cuse

from . import watchdog_uapi as uapi
from .needs import check_method
from .steps import Steps, either
from .watchdog_countdown import Countdown
from .watchdog_uapi import Option

__all__ = ["Option", "Watchdog"]

_MAGIC = b"V"


class Watchdog(cuse.Device):
    """A watchdog. Define expired(), and of the rest what is wanted; each may be `async def`.

    One client has it open at a time (others get EBUSY), and it runs from then on. The client
    writes, or says WDIOC_KEEPALIVE, at least every `heartbeat` seconds. It stops when the client
    closes it after having written a V ("magic close"); else it runs on, until expired()."""

    identity = "cuse-scullv watchdog"
    """What wdctl shows: at most 31 bytes."""
    firmware_version = 0
    options = Option.SETTIMEOUT | Option.MAGICCLOSE | Option.KEEPALIVEPING | Option.PRETIMEOUT
    """What it can do. Without MAGICCLOSE each close stops it; without SETTIMEOUT, PRETIMEOUT or
    KEEPALIVEPING these ioctls are EOPNOTSUPP."""
    min_heartbeat, max_heartbeat = 1, 65535
    """Seconds: what a client may set; EINVAL beyond."""
    boot_status = Option(0)
    """Why the machine was reset last, as WDIOC_GETBOOTSTATUS says: CARDRESET is a watchdog."""

    def __init__(
        self,
        name: str,
        *,
        heartbeat: int = 60,
        pretimeout: int = 0,
        nowayout: bool = False,
        **settings: Any,
    ) -> None:
        """`heartbeat`: seconds, which clients may change (WDIOC_SETTIMEOUT; `timeout` is another
        thing, the deadline of the device's methods). `pretimeout`: seconds before the end at which
        pretimeout_expired() is called; 0 is never. `nowayout`: it cannot be stopped once it runs.
        `settings`: as of cuse.Device.

        Raises TypeError for a class without expired(), DeviceError (EINVAL) for a value that
        cannot be."""
        check_method(self, Watchdog, "expired", "expired(self)")
        super().__init__(name, unrestricted=True, **settings)
        self._check(heartbeat, pretimeout)
        self.nowayout = nowayout
        self._countdown = Countdown(
            name, heartbeat, pretimeout, self.expired, self.pretimeout_expired
        )
        self._lock = threading.Lock()  # of the two below
        self._is_open = self._may_stop = False

    def _check(self, heartbeat: int, pretimeout: int) -> None:
        wrong = ""
        if not self._allows(heartbeat):
            wrong = f"heartbeat {heartbeat}: take {self.min_heartbeat} to {self.max_heartbeat}"
        elif not 0 <= pretimeout < heartbeat:
            wrong = f"pretimeout {pretimeout}: take 0 to {heartbeat - 1}"
        elif len(self.identity.encode()) > uapi.IDENTITY_MAX:
            wrong = f"identity {self.identity!r}: take {uapi.IDENTITY_MAX} bytes at most"
        if wrong:
            raise cuse.DeviceError(errno.EINVAL, f"{self.name} cannot have the {wrong}")

    # --- to be filled in --------------------------------------------------------------------

    def expired(self) -> Any:
        """The client has let the heartbeat pass. Called once, on a thread of the watchdog's own;
        the next ping begins another heartbeat. What it raises is logged."""

    def ping(self) -> Any:
        """The client has shown that it lives: a write, WDIOC_KEEPALIVE, a new heartbeat. What it
        raises is the client's errno."""

    def pretimeout_expired(self) -> Any:
        """expired() comes in `pretimeout` seconds, unless the client pings. As expired()."""

    def enabled(self) -> Any:
        """It begins to run: it was opened, or WDIOS_ENABLECARD. What it raises is the client's
        errno, and it does not run then."""

    def disabled(self) -> Any:
        """It has been stopped: magic close, or WDIOS_DISABLECARD."""

    def status(self) -> Any:
        """An Option: what WDIOC_GETSTATUS says of the device, beside what is known of pings."""
        return self.boot_status & uapi.REASONS

    def temperature(self) -> Any:
        """Degrees Fahrenheit, for WDIOC_GETTEMP; ENOTTY where it is not defined."""
        raise OSError(errno.ENOTTY, "no thermometer")

    # --- what is so -------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """It runs: who has it open has to ping."""
        return self._countdown.runs

    @property
    def timeleft(self) -> float:
        """Seconds until expired(); 0.0 after that, and where it does not run."""
        return self._countdown.left

    @property
    def heartbeat(self) -> int:
        """Seconds, as clients have set it last."""
        return self._countdown.heartbeat

    @property
    def pretimeout(self) -> int:
        """Seconds before the end of the heartbeat; 0: none."""
        return self._countdown.pretimeout

    # --- starting and stopping --------------------------------------------------------------

    async def started(self) -> None:
        """Call it in a started() of your own: `await super().started()`."""
        await self._countdown.start()

    async def stopped(self) -> None:
        """Call it in a stopped() of your own: `await super().stopped()`."""
        await self._countdown.stop()

    @either
    def _start(self) -> Steps:
        """watchdog_start."""
        if not self._countdown.begin():
            return
        try:
            yield self.enabled()
        except BaseException:
            self._countdown.end()
            raise

    def _stop(self) -> Any:
        """watchdog_stop."""
        if self.nowayout and self.active:
            raise OSError(errno.EBUSY, "nowayout")
        return self.disabled() if self._countdown.end() else None

    def _keep_alive(self) -> Any:
        """watchdog_ping: nothing where it does not run."""
        return self.ping() if self._countdown.ping() else None

    # --- the file ---------------------------------------------------------------------------

    @either
    def open(self, file: cuse.File) -> Steps:
        """watchdog_open: EBUSY where another client has it."""
        with self._lock:
            if self._is_open:
                raise OSError(errno.EBUSY, "in use")
            self._is_open = True
        try:
            yield self._start()
        except BaseException:
            with self._lock:
                self._is_open = False
            raise

    @either
    def release(self, file: cuse.File) -> Steps:
        """watchdog_release: stops it where it may be; else it runs on, with a ping."""
        with self._lock:
            stops = self._may_stop or not self.options & Option.MAGICCLOSE
            self._may_stop = False
        try:
            yield self._stop() if stops and not self.nowayout else self._keep_alive()
        finally:
            self._is_open = False

    @either
    def write(self, file: cuse.File, data: memoryview) -> Steps:
        """watchdog_write: any bytes are a ping; a V among the last ones lets close() stop it."""
        with self._lock:
            self._may_stop = _MAGIC in bytes(data)
        yield self._keep_alive()

    # --- what outlives a worker -------------------------------------------------------------

    def save(self, file: cuse.File | None) -> bytes:
        """A JSON object: a subclass may add keys of its own."""
        kept = {"is_open": self._is_open, "may_stop": self._may_stop}
        return json.dumps(kept | self._countdown.save()).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        kept = json.loads(data)
        self._is_open, self._may_stop = kept["is_open"], kept["may_stop"]
        self._countdown.restore(kept)

    # --- ioctls -----------------------------------------------------------------------------

    @cuse.ioctl(uapi.GETSUPPORT)
    def _get_support(self, file: cuse.File) -> uapi.Info:
        return uapi.Info(self.options, self.firmware_version, self.identity.encode())

    @cuse.ioctl(uapi.GETSTATUS)
    @either
    def _get_status(self, file: cuse.File) -> Steps:
        status = yield self.status()
        if self._may_stop:
            status |= Option.MAGICCLOSE
        if self._countdown.take_ping():
            status |= Option.KEEPALIVEPING
        return int(status)

    @cuse.ioctl(uapi.GETBOOTSTATUS)
    def _get_boot_status(self, file: cuse.File) -> int:
        return int(self.boot_status)

    @cuse.ioctl(uapi.GETTEMP)
    def _get_temperature(self, file: cuse.File) -> Any:
        return self.temperature()

    @cuse.ioctl(uapi.SETOPTIONS, raw=True)
    @either
    def _set_options(self, file: cuse.File, request: cuse.IoctlRequest) -> Steps:
        wanted = int.from_bytes(request.fetch(request.arg, 4), "little")
        if wanted & uapi.DISABLECARD:
            yield self._stop()
        if wanted & uapi.ENABLECARD:
            yield self._start()

    @cuse.ioctl(uapi.KEEPALIVE, raw=True)
    @either
    def _ping(self, file: cuse.File, request: cuse.IoctlRequest) -> Steps:
        self._need(Option.KEEPALIVEPING)
        yield self._keep_alive()

    @cuse.ioctl(uapi.SETTIMEOUT)
    @either
    def _set_heartbeat(self, file: cuse.File, seconds: int) -> Steps:
        self._need(Option.SETTIMEOUT)
        if not self._allows(seconds):
            raise OSError(errno.EINVAL, "no such heartbeat")
        self._countdown.set_heartbeat(seconds)
        yield self._keep_alive()
        return self.heartbeat

    @cuse.ioctl(uapi.GETTIMEOUT)
    def _get_heartbeat(self, file: cuse.File) -> int:
        return self.heartbeat

    @cuse.ioctl(uapi.SETPRETIMEOUT)
    def _set_pretimeout(self, file: cuse.File, seconds: int) -> int:
        self._need(Option.PRETIMEOUT)
        if not self._countdown.set_pretimeout(seconds):
            raise OSError(errno.EINVAL, "no such pretimeout")
        return seconds

    @cuse.ioctl(uapi.GETPRETIMEOUT)
    def _get_pretimeout(self, file: cuse.File) -> int:
        return self.pretimeout

    @cuse.ioctl(uapi.GETTIMELEFT)
    def _get_timeleft(self, file: cuse.File) -> int:
        return math.ceil(self.timeleft)

    def _need(self, option: Option) -> None:
        if not self.options & option:
            raise OSError(errno.EOPNOTSUPP, f"a watchdog without {option.name}")

    def _allows(self, heartbeat: int) -> bool:
        return self.min_heartbeat <= heartbeat <= self.max_heartbeat
