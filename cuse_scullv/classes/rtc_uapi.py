"""What clients of a real-time clock see: include/uapi/linux/rtc.h, and what a time must be."""

from __future__ import annotations

import ctypes
import datetime
import enum
import errno
from typing import Any

from cuse_scullv import cuse

MAX_FREQ = 8192
"""RTC_MAX_FREQ: periodic interrupts a second, for whoever may have any."""
_INT_MAX = 2**31 - 1
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
"""RTC_IRQF and what happened since the last read: a period, the alarm, a new second."""


class Feature(enum.IntFlag):
    """RTC_FEATURE_*, as RTC_PARAM_GET of RTC_PARAM_FEATURES gives them: bits."""

    ALARM = 1 << 0
    ALARM_RES_MINUTE = 1 << 1
    NEED_WEEK_DAY = 1 << 2
    ALARM_RES_2S = 1 << 3
    UPDATE_INTERRUPT = 1 << 4
    CORRECTION = 1 << 5
    BACKUP_SWITCH_MODE = 1 << 6
    ALARM_WAKEUP_ONLY = 1 << 7


class Param(enum.IntEnum):
    """RTC_PARAM_*."""

    FEATURES = 0
    CORRECTION = 1
    BACKUP_SWITCH_MODE = 2


class VoltageLow(enum.IntFlag):
    """RTC_VL_*."""

    DATA_INVALID = 1 << 0
    BACKUP_LOW = 1 << 1
    BACKUP_EMPTY = 1 << 2
    ACCURACY_LOW = 1 << 3
    BACKUP_SWITCH = 1 << 4


class Time(ctypes.Structure):
    """struct rtc_time: struct tm without a time zone."""

    _fields_ = [
        (f"tm_{field}", ctypes.c_int)
        for field in ("sec", "min", "hour", "mday", "mon", "year", "wday", "yday", "isdst")
    ]


class WakeAlarm(ctypes.Structure):
    """struct rtc_wkalrm."""

    _fields_ = [("enabled", ctypes.c_uint8), ("pending", ctypes.c_uint8), ("time", Time)]


class ParamValue(ctypes.Structure):
    """struct rtc_param; `value` is the union's uvalue."""

    _fields_ = [
        ("param", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("index", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]


AIE_ON, AIE_OFF = cuse.IO("p", 0x01), cuse.IO("p", 0x02)
UIE_ON, UIE_OFF = cuse.IO("p", 0x03), cuse.IO("p", 0x04)
PIE_ON, PIE_OFF = cuse.IO("p", 0x05), cuse.IO("p", 0x06)
ALM_SET, ALM_READ = cuse.IOW("p", 0x07, Time), cuse.IOR("p", 0x08, Time)
RD_TIME, SET_TIME = cuse.IOR("p", 0x09, Time), cuse.IOW("p", 0x0A, Time)
WKALM_SET, WKALM_RD = cuse.IOW("p", 0x0F, WakeAlarm), cuse.IOR("p", 0x10, WakeAlarm)
PARAM_GET, PARAM_SET = cuse.IOW("p", 0x13, ParamValue), cuse.IOW("p", 0x14, ParamValue)
VL_READ, VL_CLR = cuse.IOR("p", 0x13, ctypes.c_uint), cuse.IO("p", 0x14)
# An unsigned long is another size, and the command another number, in 32-bit programs
# (drivers/rtc/dev.c: RTC_IRQP_READ32 and so on). Both SETs take their number by value.
IRQP_READ, IRQP_SET = cuse.IOR("p", 0x0B, ctypes.c_uint64), cuse.IOW("p", 0x0C, ctypes.c_uint64)
EPOCH_READ, EPOCH_SET = cuse.IOR("p", 0x0D, ctypes.c_uint64), cuse.IOW("p", 0x0E, ctypes.c_uint64)
IRQP_READ32, IRQP_SET32 = cuse.IOR("p", 0x0B, ctypes.c_uint32), cuse.IOW("p", 0x0C, ctypes.c_uint32)
EPOCH_READ32, EPOCH_SET32 = (
    cuse.IOR("p", 0x0D, ctypes.c_uint32),
    cuse.IOW("p", 0x0E, ctypes.c_uint32),
)


def to_time(moment: datetime.datetime) -> Time:
    """As clients get it. OSError (EINVAL) before 1970, which is no time of a clock's."""
    if moment.year < 1970:
        raise OSError(errno.EINVAL, "a clock's years begin at 1970")
    fields = moment.timetuple()
    weekday = (fields.tm_wday + 1) % 7  # Sunday is 0
    return Time(
        *reversed(fields[3:6]), fields.tm_mday, fields.tm_mon - 1, fields.tm_year - 1900, weekday,
        fields.tm_yday - 1, 0,
    )  # fmt: skip


def from_time(time: Time) -> datetime.datetime:
    """What a client gave, which need not have tm_wday, tm_yday or tm_isdst. OSError: EINVAL for
    what is no time (drivers/rtc/lib.c: rtc_valid_tm), ERANGE for a year beyond 9999."""
    year = time.tm_year + 1900
    if not 1970 <= year <= _INT_MAX:
        raise OSError(errno.EINVAL, "a clock's years begin at 1970")
    try:
        moment = datetime.datetime(
            # The calendar is the same every 400 years, and goes further than datetime's.
            year if year <= datetime.MAXYEAR else 2000 + year % 400,
            time.tm_mon + 1, time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec,
        )  # fmt: skip
    except (ValueError, OverflowError):
        raise OSError(errno.EINVAL, "no such time") from None
    if year > datetime.MAXYEAR:
        raise OSError(errno.ERANGE, "a year beyond 9999")
    return moment


def checked(moment: Any) -> datetime.datetime:
    """What a get() returned, without its time zone. TypeError for what is no datetime."""
    if not isinstance(moment, datetime.datetime):
        raise TypeError(f"get() returned {moment!r}, not a datetime.datetime")
    return moment.replace(tzinfo=None)


def later(moment: datetime.datetime, delta: datetime.timedelta) -> datetime.datetime:
    """`moment` + `delta`, or the last moment of all where datetime has no later one."""
    try:
        return moment + delta
    except OverflowError:
        return datetime.datetime.max
