"""RTC: a real-time clock, with an alarm and interrupts that clients wait for in read() and poll().

As drivers/rtc/dev.c and interface.c have it, by the numbers of include/uapi/linux/rtc.h (those are
in rtc_uapi.py); rtc(4) has their meaning."""

from __future__ import annotations

import datetime
import errno
import json
import select
import struct
import threading
from typing import Any

from cuse_scullv import cuse
from cuse_scullv.capability import CAP_SYS_RESOURCE, CAP_SYS_TIME

from . import rtc_uapi as uapi
from .needs import check_method
from .rtc_interrupts import Interrupts
from .rtc_uapi import Feature, Param, VoltageLow
from .steps import Steps, either

__all__ = ["Clock", "Feature", "Param", "VoltageLow"]

_DAY = datetime.timedelta(days=1)
_FIRST_EPOCH = 1900


class Clock(cuse.Device):
    """A real-time clock. Define get() and set(), each may be `async def`; alarms and interrupts
    follow what get() says.

    One client has it open at a time; others get EBUSY. To set it takes CAP_SYS_TIME (EACCES)."""

    range_min = datetime.datetime(1970, 1, 1)
    range_max = datetime.datetime(9999, 12, 31, 23, 59, 59)
    """The times that the clock can have: to set another, as time or alarm, is ERANGE."""
    rate = 1.0
    """Of the clock's seconds, how many pass in one of ours: alarms are awaited accordingly."""
    max_user_freq = 64
    """Periodic interrupts a second for clients without CAP_SYS_RESOURCE."""
    features = Feature.ALARM | Feature.UPDATE_INTERRUPT
    """Without ALARM or UPDATE_INTERRUPT their ioctls are EINVAL. CORRECTION and BACKUP_SWITCH_MODE
    come with param_get() and param_set()."""
    voltage_low: VoltageLow | None = None
    """What RTC_VL_READ says and RTC_VL_CLR clears; None: both are ENOTTY."""
    epoch: int | None = None
    """The year that RTC_EPOCH_READ and RTC_EPOCH_SET are about; None: both are ENOTTY."""

    def __init__(self, name: str, **settings: Any) -> None:
        """`settings`: as of cuse.Device. TypeError for a class without get() or set()."""
        check_method(self, Clock, "get", "get(self)")
        check_method(self, Clock, "set", "set(self, moment)")
        super().__init__(name, unrestricted=True, **settings)
        self._interrupts = Interrupts(self)
        self._lock = threading.Lock()
        self._is_open = False  # under _lock

    # --- to be filled in --------------------------------------------------------------------

    def get(self) -> Any:
        """The clock's time, a datetime.datetime: its fields are what clients get, whatever its
        tzinfo. Called at least once a second while an alarm or the update interrupt is on, on a
        thread of the clock's own."""

    def set(self, moment: datetime.datetime) -> Any:
        """A client sets the clock to `moment`, which has no tzinfo and whole seconds."""

    def param_get(self, param: int, index: int) -> Any:
        """RTC_PARAM_GET of what the class does not know itself, RTC_PARAM_CORRECTION (parts in
        10^9, negative ones too) and RTC_PARAM_BACKUP_SWITCH_MODE among it: an int."""
        raise OSError(errno.EINVAL, "no such parameter")

    def param_set(self, param: int, index: int, value: int) -> Any:
        """RTC_PARAM_SET of such; the value of RTC_PARAM_CORRECTION is signed."""
        raise OSError(errno.EINVAL, "no such parameter")

    def permits(self, file: cuse.File, capability: int) -> bool:
        """Whether the caller may do what takes the capability: CAP_SYS_TIME to set time and
        parameters, CAP_SYS_RESOURCE for more than `max_user_freq`; EACCES if not."""
        return file.caller.capable(capability)

    # --- what is so -------------------------------------------------------------------------

    @property
    def alarm(self) -> datetime.datetime | None:
        """When the alarm goes off, by this clock; None: it is not on."""
        return self._interrupts.alarm if self._interrupts.alarm_on else None

    async def started(self) -> None:
        """Call it in a started() of your own: `await super().started()`."""
        await self._interrupts.start()

    async def stopped(self) -> None:
        """Call it in a stopped() of your own: `await super().stopped()`."""
        await self._interrupts.stop()

    # --- the file ---------------------------------------------------------------------------

    def open(self, file: cuse.File) -> None:
        """rtc_dev_open."""
        with self._lock:
            if self._is_open:
                raise OSError(errno.EBUSY, "in use")
            self._is_open = True
        self._interrupts.forget()

    def release(self, file: cuse.File) -> None:
        """rtc_dev_release: nobody hears the interrupts any more. An alarm stays."""
        self._interrupts.silence()
        with self._lock:
            self._is_open = False

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> bytes:
        """rtc_dev_read: an unsigned int, or an unsigned long where there is room for one."""
        if size != 4 and size < 8:
            raise OSError(errno.EINVAL, "take 4 or 8 bytes")
        form = struct.Struct("=I" if size == 4 else "=Q")
        seen = self._interrupts.take(wait=not file.nonblocking)
        return form.pack(seen & (1 << 8 * form.size) - 1)

    def poll(self, file: cuse.File) -> int:
        """rtc_dev_poll."""
        return select.POLLIN | select.POLLRDNORM if self._interrupts.pending else 0

    # --- what outlives a worker -------------------------------------------------------------

    _KEPT = ("epoch", "voltage_low", "_is_open")

    def save(self, file: cuse.File | None) -> bytes:
        """A JSON object: a subclass may add keys of its own, as the time."""
        kept = {key: getattr(self, key) for key in self._KEPT}
        return json.dumps(kept | self._interrupts.save()).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        kept = json.loads(data)
        for key in self._KEPT:
            setattr(self, key, kept[key])
        self._interrupts.restore(kept)

    # --- ioctls: the time -------------------------------------------------------------------

    @cuse.ioctl(uapi.RD_TIME)
    @either
    def _read_time(self, file: cuse.File) -> Steps:
        return uapi.to_time(uapi.checked((yield self.get())))

    @cuse.ioctl(uapi.SET_TIME)
    @either
    def _set_time(self, file: cuse.File, fields: uapi.Time) -> Steps:
        self._need(file, CAP_SYS_TIME)
        yield self.set(self._in_range(uapi.from_time(fields)))
        yield self._interrupts.clock_was_set()

    # --- ioctls: the alarm ------------------------------------------------------------------

    @cuse.ioctl(uapi.ALM_READ)
    def _read_alarm(self, file: cuse.File) -> Any:
        return self._read_wake_alarm(file).time

    @cuse.ioctl(uapi.ALM_SET)
    @either
    def _set_alarm(self, file: cuse.File, fields: uapi.Time) -> Steps:
        """The next such time of day; RTC_AIE_ON turns it on."""
        now = uapi.checked((yield self.get()))
        today = uapi.to_time(now)
        fields.tm_mday, fields.tm_mon, fields.tm_year = today.tm_mday, today.tm_mon, today.tm_year
        alarm = uapi.from_time(fields)
        is_over = alarm < now.replace(microsecond=0)
        self._put_alarm(uapi.later(alarm, _DAY) if is_over else alarm, on=False)

    @cuse.ioctl(uapi.WKALM_RD)
    def _read_wake_alarm(self, file: cuse.File) -> uapi.WakeAlarm:
        self._has(Feature.ALARM)
        return uapi.WakeAlarm(self._interrupts.alarm_on, 0, uapi.to_time(self._interrupts.alarm))

    @cuse.ioctl(uapi.WKALM_SET)
    def _set_wake_alarm(self, file: cuse.File, alarm: uapi.WakeAlarm) -> None:
        self._put_alarm(uapi.from_time(alarm.time), on=bool(alarm.enabled))

    @cuse.ioctl(uapi.AIE_ON)
    def _turn_alarm_on(self, file: cuse.File, arg: int) -> None:
        self._put_alarm(self._interrupts.alarm, on=True)

    @cuse.ioctl(uapi.AIE_OFF)
    def _turn_alarm_off(self, file: cuse.File, arg: int) -> None:
        self._put_alarm(self._interrupts.alarm, on=False)

    def _put_alarm(self, alarm: datetime.datetime, *, on: bool) -> None:
        """rtc_set_alarm: one that is over goes off at once."""
        self._has(Feature.ALARM)
        self._interrupts.set_alarm(self._in_range(alarm), on=on)

    # --- ioctls: updates and periods --------------------------------------------------------

    @cuse.ioctl(uapi.UIE_ON)
    def _turn_updates_on(self, file: cuse.File, arg: int) -> Any:
        self._has(Feature.UPDATE_INTERRUPT)
        return self._interrupts.turn_updates_on()

    @cuse.ioctl(uapi.UIE_OFF)
    def _turn_updates_off(self, file: cuse.File, arg: int) -> None:
        self._has(Feature.UPDATE_INTERRUPT)
        self._interrupts.turn_updates_off()

    @cuse.ioctl(uapi.PIE_ON)
    def _turn_periods_on(self, file: cuse.File, arg: int) -> None:
        if self._interrupts.frequency > self.max_user_freq:
            self._need(file, CAP_SYS_RESOURCE)
        self._interrupts.turn_periods(on=True)

    @cuse.ioctl(uapi.PIE_OFF)
    def _turn_periods_off(self, file: cuse.File, arg: int) -> None:
        self._interrupts.turn_periods(on=False)

    @cuse.ioctl(uapi.IRQP_READ)
    @cuse.ioctl(uapi.IRQP_READ32)
    def _read_frequency(self, file: cuse.File) -> int:
        return self._interrupts.frequency

    @cuse.ioctl(uapi.IRQP_SET, raw=True)
    @cuse.ioctl(uapi.IRQP_SET32, raw=True)
    def _set_frequency(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        if request.arg > self.max_user_freq:
            self._need(file, CAP_SYS_RESOURCE)
        if not 1 <= request.arg <= uapi.MAX_FREQ:
            raise OSError(errno.EINVAL, f"take 1 to {uapi.MAX_FREQ}")
        self._interrupts.set_frequency(request.arg)

    # --- ioctls: the rest -------------------------------------------------------------------

    @cuse.ioctl(uapi.EPOCH_READ)
    @cuse.ioctl(uapi.EPOCH_READ32)
    def _read_epoch(self, file: cuse.File) -> int:
        return _there(self.epoch)

    @cuse.ioctl(uapi.EPOCH_SET, raw=True)
    @cuse.ioctl(uapi.EPOCH_SET32, raw=True)
    def _set_epoch(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        self._need(file, CAP_SYS_TIME)
        _there(self.epoch)
        if not _FIRST_EPOCH <= request.arg < 1 << 32:
            raise OSError(errno.EINVAL, f"no epoch before {_FIRST_EPOCH}, or of more than 32 bits")
        self.epoch = request.arg

    @cuse.ioctl(uapi.VL_READ)
    def _read_voltage_low(self, file: cuse.File) -> int:
        return _there(self.voltage_low)

    @cuse.ioctl(uapi.VL_CLR)
    def _clear_voltage_low(self, file: cuse.File, arg: int) -> None:
        _there(self.voltage_low)
        self.voltage_low = VoltageLow(0)

    @cuse.ioctl(uapi.PARAM_GET, raw=True)
    @either
    def _get_param(self, file: cuse.File, request: cuse.IoctlRequest) -> Steps:
        """By its number the client only writes; it is given the value all the same."""
        asked = _fetch_param(request)
        request.reserve(request.arg, len(bytes(asked)))
        if asked.param != Param.FEATURES:
            value = yield self.param_get(asked.param, asked.index)
        elif asked.index:
            raise OSError(errno.EINVAL, "features have no index")
        else:
            value = int(self.features)
        asked.value = value & (1 << 64) - 1
        return cuse.IoctlReply(0, bytes(asked))

    @cuse.ioctl(uapi.PARAM_SET, raw=True)
    @either
    def _set_param(self, file: cuse.File, request: cuse.IoctlRequest) -> Steps:
        self._need(file, CAP_SYS_TIME)
        asked = _fetch_param(request)
        if asked.param == Param.FEATURES:
            raise OSError(errno.EINVAL, "features cannot be set")
        value = asked.value
        if asked.param == Param.CORRECTION and value >> 63:
            value -= 1 << 64
        yield self.param_set(asked.param, asked.index, value)

    def _need(self, file: cuse.File, capability: int) -> None:
        if not self.permits(file, capability):
            raise PermissionError(errno.EACCES, f"this takes capability {capability}")

    def _has(self, feature: Feature) -> None:
        if not self.features & feature:
            raise OSError(errno.EINVAL, f"a clock without {feature.name}")

    def _in_range(self, moment: datetime.datetime) -> datetime.datetime:
        """rtc_valid_range."""
        if not self.range_min <= moment <= self.range_max:
            raise OSError(errno.ERANGE, "a time that the clock cannot have")
        return moment


def _fetch_param(request: cuse.IoctlRequest) -> uapi.ParamValue:
    size = request.cmd >> 16 & 0x3FFF
    return uapi.ParamValue.from_buffer_copy(request.fetch(request.arg, size))


def _there(value: int | None) -> int:
    """ENOTTY for what the clock has not."""
    if value is None:
        raise OSError(errno.ENOTTY, "not there")
    return value
