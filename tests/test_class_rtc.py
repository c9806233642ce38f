"""The class rtc: drivers/rtc/dev.c over the fake kernel, and by hwclock and a C program as the
kernel's own selftest on a real node."""

from __future__ import annotations

import asyncio
import datetime
import errno
import logging
import os
import select
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headers
from cuse_scullv import cuse
from cuse_scullv.capability import CAP_SYS_RESOURCE, CAP_SYS_TIME
from cuse_scullv.classes import rtc
from cuse_scullv.classes import rtc_uapi as uapi
from cuse_scullv.classes.rtc_uapi import AF, IRQF, PF, UF, Feature, Param, VoltageLow
from cuse_scullv.cuse.testing import BAD, FakeFile, FakeKernel
from nodes import until
from shell import out, run
from test_class_watchdog import refused
from umockdev import run_described

NAME = "cusertc"
PROGRAM = Path(__file__).parent / "programs/rtc.c"
START = datetime.datetime(2024, 2, 28, 23, 59, 0)
Serve = Callable[..., FakeKernel]


class Clock(rtc.Clock):
    """A clock that stands still, unless it is told how fast to go."""

    def __init__(self, speed: float = 0.0, name: str = NAME) -> None:
        super().__init__(name)
        self.at, self.since, self.rate = START, time.monotonic(), speed
        self.allowed = {CAP_SYS_TIME, CAP_SYS_RESOURCE}
        self.wrong: object = None  # what get() returns

    def get(self) -> Any:
        if self.wrong is not None:
            return self.wrong
        return self.at + datetime.timedelta(seconds=(time.monotonic() - self.since) * self.rate)

    def set(self, moment: datetime.datetime) -> None:
        self.at, self.since = moment, time.monotonic()

    def permits(self, file: cuse.File, capability: int) -> bool:
        return capability in self.allowed


class AsyncClock(Clock):
    async def get(self) -> Any:
        await asyncio.sleep(0)
        return super().get()

    async def set(self, moment: datetime.datetime) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().set(moment)


both = pytest.mark.parametrize("kind", [Clock, AsyncClock])


def fields(moment: datetime.datetime) -> bytes:
    """struct rtc_time, as a client fills it that cares for nothing beyond the seconds."""
    return struct.pack("=9i", moment.second, moment.minute, moment.hour, moment.day,
                       moment.month - 1, moment.year - 1900, -1, -1, -1)  # fmt: skip


def wake(moment: datetime.datetime, enabled: int = 1) -> bytes:
    return struct.pack("=BBxx", enabled, 0) + fields(moment)


def moment_of(data: bytes) -> datetime.datetime:
    second, minute, hour, day, month, year, *_ = struct.unpack("=9i", data)
    return datetime.datetime(year + 1900, month + 1, day, hour, minute, second)


def now(file: FakeFile) -> datetime.datetime:
    return moment_of(file.ioctl(uapi.RD_TIME, b"").data)


def interrupts(file: FakeFile) -> tuple[int, int]:
    """What has happened, and how often: read as an unsigned long."""
    (seen,) = struct.unpack("=Q", file.read(8))
    return seen & 0xFF, seen >> 8


def after(seconds: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize("width", headers.WIDTHS)
def test_numbers_and_layouts_are_the_header_s(width: str) -> None:
    commands = {name: int(value) for name, value in vars(uapi).items()
                if isinstance(value, cuse.Command)}  # fmt: skip
    longs = [name.removesuffix("32") for name in commands if name.endswith("32")]
    assert sorted(longs) == ["EPOCH_READ", "EPOCH_SET", "IRQP_READ", "IRQP_SET"]
    narrow = {name: commands.pop(f"{name}32") for name in longs}
    if width == "-m32":
        commands |= narrow
    ours = {f"RTC_{name}": value for name, value in commands.items()}
    ours |= {f"1 << RTC_FEATURE_{feature.name}": int(feature) for feature in Feature}
    ours |= {f"RTC_PARAM_{param.name}": int(param) for param in Param}
    ours |= {f"RTC_VL_{low.name}": int(low) for low in VoltageLow}
    ours |= {"RTC_IRQF": IRQF, "RTC_PF": PF, "RTC_AF": AF, "RTC_UF": UF}
    ours |= {"RTC_MAX_FREQ": uapi.MAX_FREQ, "sizeof(struct rtc_time)": 36,
             "sizeof(struct rtc_wkalrm)": 40, "offsetof(struct rtc_wkalrm, time)": 4,
             "sizeof(struct rtc_param)": 24, "offsetof(struct rtc_param, index)": 16}  # fmt: skip
    assert len(commands) == 20
    headers.check(["linux/rtc.h"], ours, width)


# --- the time -----------------------------------------------------------------------------------


@both
def test_the_time_is_read_and_set(cuse_device: Serve, kind: type[Clock]) -> None:
    clock = kind()
    kernel = cuse_device(clock)
    file = kernel.open()
    assert refused(kernel.open) == errno.EBUSY
    data = file.ioctl(uapi.RD_TIME, b"").data
    assert struct.unpack("=9i", data) == (0, 59, 23, 28, 1, 124, 3, 58, 0)
    file.ioctl(uapi.SET_TIME, fields(datetime.datetime(2038, 1, 19, 3, 14, 8)))
    assert clock.at == datetime.datetime(2038, 1, 19, 3, 14, 8)
    assert now(file) == clock.at
    assert refused(file.ioctl, uapi.SET_TIME, BAD) == errno.EFAULT
    file.close()
    kernel.open()


def test_a_time_zone_is_no_matter(cuse_device: Serve) -> None:
    clock = Clock()
    clock.at = START.replace(tzinfo=datetime.timezone.utc)
    assert now(cuse_device(clock).open()) == START


BAD_TIMES = [
    (5, 69, errno.EINVAL),  # the year, since 1900
    (5, 2**31 - 1900, errno.EINVAL),  # which is below zero, as an int
    (5, 8100, errno.ERANGE),  # beyond datetime's
    (5, 2**31 - 1901, errno.ERANGE),
    (4, 12, errno.EINVAL),
    (4, -1, errno.EINVAL),
    (3, 0, errno.EINVAL),
    (3, 30, errno.EINVAL),  # of February
    (2, 24, errno.EINVAL),
    (1, 60, errno.EINVAL),
    (0, 60, errno.EINVAL),  # no leap seconds (rtc_valid_tm)
    (0, -1, errno.EINVAL),
    (0, -(2**31), errno.EINVAL),
]


@pytest.mark.parametrize(("index", "value", "code"), BAD_TIMES)
def test_what_is_no_time_is_refused(cuse_device: Serve, index: int, value: int, code: int) -> None:
    clock = Clock()
    file = cuse_device(clock).open()
    parts = list(struct.unpack("=9i", fields(START)))
    parts[index] = (value + 2**31) % 2**32 - 2**31
    bad = struct.pack("=9i", *parts)
    assert refused(file.ioctl, uapi.SET_TIME, bad) == code
    assert refused(file.ioctl, uapi.WKALM_SET, b"\1\0\0\0" + bad) == code
    assert (clock.at, clock.alarm) == (START, None)


def test_a_clock_has_a_range(cuse_device: Serve) -> None:
    clock = Clock()
    clock.range_min, clock.range_max = START, after(60)
    file = cuse_device(clock).open()
    for bad in (after(-1), after(61)):
        assert refused(file.ioctl, uapi.SET_TIME, fields(bad)) == errno.ERANGE
        assert refused(file.ioctl, uapi.WKALM_SET, wake(bad)) == errno.ERANGE
    file.ioctl(uapi.SET_TIME, fields(after(60)))


def test_who_may_not_set_it_gets_eacces(cuse_device: Serve) -> None:
    clock = Clock()
    clock.allowed.clear()
    clock.epoch = 1900
    file = cuse_device(clock).open()
    param = struct.pack("=QQII", Param.CORRECTION, 0, 0, 0)
    for command, argument in (
        (uapi.SET_TIME, fields(START)),
        (uapi.PARAM_SET, param),
        (uapi.EPOCH_SET, 2000),
        (uapi.IRQP_SET, 65),
    ):
        assert refused(file.ioctl, command, argument) == errno.EACCES
    file.ioctl(uapi.IRQP_SET, 64)
    clock.max_user_freq = 32
    assert refused(file.ioctl, uapi.PIE_ON) == errno.EACCES


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to drop capabilities")
def test_capabilities_are_those_of_the_caller(cuse_device: Serve) -> None:
    class Real(Clock):
        permits = rtc.Clock.permits

    file = cuse_device(Real()).open()
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "sleep", "600"]
    with subprocess.Popen(words) as plain:
        try:
            until(lambda: Path(f"/proc/{plain.pid}/comm").read_text() == "sleep\n")
            file.pid = plain.pid
            assert refused(file.ioctl, uapi.SET_TIME, fields(START)) == errno.EACCES
        finally:
            plain.kill()


@pytest.mark.logs_errors
def test_a_get_that_gives_no_time_is_a_fault(
    cuse_device: Serve, cuse_log: list[logging.LogRecord]
) -> None:
    clock = Clock()
    file = cuse_device(clock).open()
    clock.wrong = 1.5
    assert refused(file.ioctl, uapi.RD_TIME, b"") == errno.EIO
    assert "get() returned 1.5, not a datetime" in str(cuse_log[0].exc_info)
    file.ioctl(uapi.WKALM_SET, wake(START))  # looked for on the clock's own thread
    until(lambda: len(cuse_log) > 1)
    clock.wrong = None
    assert interrupts(file) == (IRQF | AF, 1)
    clock.wrong = datetime.datetime(1969, 1, 1)
    assert refused(file.ioctl, uapi.RD_TIME, b"") == errno.EINVAL


# --- alarms and interrupts ----------------------------------------------------------------------


@both
def test_an_alarm_goes_off_for_read_and_poll(cuse_device: Serve, kind: type[Clock]) -> None:
    clock = kind(speed=20)
    kernel = cuse_device(clock)
    file = kernel.open(os.O_RDONLY | os.O_NONBLOCK)
    assert moment_of(file.ioctl(uapi.ALM_READ, b"").data) == clock.range_min
    assert file.poll() == 0
    assert refused(file.read, 8) == errno.EAGAIN
    file.ioctl(uapi.WKALM_SET, wake(after(6)))
    data = file.ioctl(uapi.WKALM_RD, b"").data
    assert (data[:2], moment_of(data[4:])) == (b"\1\0", after(6))
    assert clock.alarm == after(6)
    assert file.poll(select.POLLIN, 20) == select.POLLIN
    assert now(file) >= after(6)
    assert file.read(4) == struct.pack("=I", IRQF | AF | 1 << 8)
    assert clock.alarm is None
    assert file.ioctl(uapi.WKALM_RD, b"").data[0] == 0
    assert refused(file.read, 8) == errno.EAGAIN
    file.flags &= ~os.O_NONBLOCK
    waiting = kernel.start(file.read, 8)
    file.ioctl(uapi.WKALM_SET, wake(after(0)))  # over: at once
    assert struct.unpack("=Q", waiting.result()) == (IRQF | AF | 1 << 8,)
    interrupted = kernel.start(file.read, 8)
    interrupted.interrupt()
    with pytest.raises(InterruptedError):
        interrupted.result()


def test_an_alarm_of_the_day_is_tomorrow_s_when_it_is_over(cuse_device: Serve) -> None:
    clock = Clock()
    file = cuse_device(clock).open()
    for time_of_day, alarm in ((after(1), after(1)), (after(-1), after(86399)), (START, START)):
        file.ioctl(uapi.ALM_SET, fields(time_of_day.replace(year=2000, month=1, day=1)))
        assert moment_of(file.ioctl(uapi.ALM_READ, b"").data) == alarm
        assert clock.alarm is None
    file.ioctl(uapi.ALM_SET, fields(after(1)))
    file.ioctl(uapi.AIE_ON)
    assert clock.alarm == after(1)
    file.ioctl(uapi.AIE_OFF)
    assert clock.alarm is None
    bad = struct.pack("=9i", 0, 0, 24, 1, 0, 100, 0, 0, 0)
    assert refused(file.ioctl, uapi.ALM_SET, bad) == errno.EINVAL


@both
def test_setting_the_clock_past_the_alarm_sets_it_off(
    cuse_device: Serve, kind: type[Clock]
) -> None:
    clock = kind()
    file = cuse_device(clock).open()
    file.ioctl(uapi.WKALM_SET, wake(after(3600)))
    file.ioctl(uapi.UIE_ON)
    file.ioctl(uapi.SET_TIME, fields(after(3600)))
    assert interrupts(file) == (IRQF | AF, 1)
    clock.at = after(3602)  # by itself: looked at once a second
    assert interrupts(file) == (IRQF | UF, 2)


@both
def test_new_seconds_and_periods_are_counted(cuse_device: Serve, kind: type[Clock]) -> None:
    clock = kind(speed=40)
    kernel = cuse_device(clock)
    file = kernel.open()
    file.ioctl(uapi.UIE_ON)
    file.ioctl(uapi.UIE_ON)
    seconds = 0
    while seconds < 3:
        kind_of, count = interrupts(file)
        assert kind_of == IRQF | UF
        seconds += count
    assert now(file) >= after(3)
    file.ioctl(uapi.UIE_OFF)
    file.flags |= os.O_NONBLOCK
    file.poll(select.POLLIN, 0.05)
    with_rest = file.poll()
    assert with_rest in (0, select.POLLIN)  # one that had begun before
    if with_rest:
        file.read(8)
    file.ioctl(uapi.IRQP_SET, 1000)
    assert struct.unpack("=Q", file.ioctl(uapi.IRQP_READ, b"").data) == (1000,)
    began = time.monotonic()
    file.ioctl(uapi.PIE_ON)
    file.ioctl(uapi.PIE_ON)
    periods = 0
    while periods < 50:
        assert file.poll(select.POLLIN, 20)
        kind_of, count = interrupts(file)
        assert kind_of == IRQF | PF
        periods += count
    passed = (time.monotonic() - began) * 1000
    assert periods <= passed + 1
    file.ioctl(uapi.IRQP_SET, 500)
    file.close()  # and with it they end
    file = kernel.open(os.O_RDONLY | os.O_NONBLOCK)
    assert file.poll(select.POLLIN, 0.02) == 0
    for bad in (0, 8193, 1 << 40):
        assert refused(file.ioctl, uapi.IRQP_SET, bad) == errno.EINVAL


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_reads_are_of_an_int_or_a_long(cuse_device: Serve, size: int) -> None:
    assert refused(cuse_device(Clock()).open().read, size) == errno.EINVAL


def test_a_32_bit_client(cuse_device: Serve) -> None:
    clock = Clock()
    clock.epoch = 1980
    file = cuse_device(clock).open()
    file.ioctl(uapi.IRQP_SET32, 8192, compat=True)
    assert file.ioctl(uapi.IRQP_READ32, b"", compat=True).data == struct.pack("=I", 8192)
    file.ioctl(uapi.EPOCH_SET32, 2000, compat=True)
    assert file.ioctl(uapi.EPOCH_READ32, b"", compat=True).data == struct.pack("=I", 2000)


# --- what a clock may have ----------------------------------------------------------------------


def test_what_a_clock_has_not(cuse_device: Serve) -> None:
    clock = Clock()
    clock.features = Feature(0)
    file = cuse_device(clock).open()
    for command in (uapi.UIE_ON, uapi.UIE_OFF, uapi.AIE_ON, uapi.AIE_OFF):
        assert refused(file.ioctl, command) == errno.EINVAL
    assert refused(file.ioctl, uapi.WKALM_SET, wake(START)) == errno.EINVAL
    assert refused(file.ioctl, uapi.WKALM_RD, b"") == errno.EINVAL
    for command in (uapi.EPOCH_READ, uapi.EPOCH_SET, uapi.VL_READ, uapi.VL_CLR):
        assert refused(file.ioctl, command, 4096) == errno.ENOTTY
    for command in (cuse.IO("p", 0x0F), cuse.IOR("p", 0x11, 32), cuse.IO("p", 0x20)):
        assert refused(file.ioctl, command) == errno.ENOTTY  # RTC_WIE_ON, RTC_PLL_GET


def test_epoch_and_voltage(cuse_device: Serve) -> None:
    clock = Clock()
    clock.epoch, clock.voltage_low = 1900, VoltageLow.BACKUP_LOW
    file = cuse_device(clock).open()
    file.ioctl(uapi.EPOCH_SET, 2000)
    assert struct.unpack("=Q", file.ioctl(uapi.EPOCH_READ, b"").data) == (2000,)
    for bad in (1899, 1 << 32):
        assert refused(file.ioctl, uapi.EPOCH_SET, bad) == errno.EINVAL
    assert file.ioctl(uapi.VL_READ, b"").data == struct.pack("=I", VoltageLow.BACKUP_LOW)
    file.ioctl(uapi.VL_CLR)
    assert file.ioctl(uapi.VL_READ, b"").data == bytes(4)


def test_parameters(cuse_device: Serve) -> None:
    class Corrected(Clock):
        correction = 0

        def param_get(self, param: int, index: int) -> Any:
            if param == Param.CORRECTION and not index:
                return self.correction
            return super().param_get(param, index)

        def param_set(self, param: int, index: int, value: int) -> Any:
            if param != Param.CORRECTION or index:
                return super().param_set(param, index, value)
            self.correction = value
            return None

    clock = Corrected()
    kernel = cuse_device(clock)
    file = kernel.open()
    layout = struct.Struct("=QqII")

    def get(param: int, index: int = 0) -> int:
        room = kernel.memory.alloc(layout.pack(param, 0, index, 0))
        file.ioctl(uapi.PARAM_GET, room)
        return int(layout.unpack(kernel.memory.read(room, layout.size))[1])

    assert get(Param.FEATURES) == Feature.ALARM | Feature.UPDATE_INTERRUPT
    file.ioctl(uapi.PARAM_SET, layout.pack(Param.CORRECTION, -20, 0, 0))
    assert clock.correction == get(Param.CORRECTION) == -20
    for param, index in ((Param.FEATURES, 1), (Param.CORRECTION, 1), (9, 0)):
        assert refused(get, param, index) == errno.EINVAL
        bad = layout.pack(param, 0, index, 0)
        assert refused(file.ioctl, uapi.PARAM_SET, bad) == errno.EINVAL


@pytest.mark.parametrize("missing", ["get", "set"])
def test_without_get_or_set_it_is_none(missing: str) -> None:
    there = {"get", "set"} - {missing}
    half = type("Half", (rtc.Clock,), {name: getattr(Clock, name) for name in there})
    with pytest.raises(TypeError, match=rf"Half has no {missing}\(\): define `def {missing}"):
        half(NAME)


# --- on a real node -----------------------------------------------------------------------------


@pytest.mark.real
def test_hwclock_and_a_c_program(tmp_path: Path) -> None:
    subprocess.run(["gcc", "-Wall", "-o", tmp_path / "rtc", PROGRAM], check=True)
    clock = Clock(speed=10, name="rtc9")
    with cuse.Channel(clock):
        assert out(str(tmp_path / "rtc"), "/dev/rtc9") == (
            b"2024-2-28 wday 3 yday 58, 3 seconds, alarm 1, wake alarm 1, off, 64 Hz,"
            b" Resource temporarily unavailable\n"
        )
        hwclock = ("hwclock", "--utc", "--noadjfile", "--rtc", "/dev/rtc9")
        assert out(*hwclock, "--show").startswith(b"2024-02-2")
        out(*hwclock, "--systohc")
        system = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        assert abs(clock.at - system) < datetime.timedelta(minutes=1)
        # Debian 12's hwclock ends with status 1 after that.
        features = run(*hwclock, "--param-get", "features").stdout
        assert features == b"The RTC parameter 0x0 is set to 0x11.\n"
        rtcwake = ("rtcwake", "--utc", "--device", "rtc9", "--mode")
        assert b"wakeup using" in out(*rtcwake, "on", "--seconds", "5")
        assert clock.alarm is None
        assert run_described("rtc.md", tmp_path, *rtcwake, "show") == b"alarm: off\n"
