"""What clients have set in a watchdog, a clock and a source of random bytes outlives a worker."""

from __future__ import annotations

import datetime
import errno
import struct

from cuse_scullv.classes import random, rtc_uapi, watchdog_uapi
from nodes import number, pointer
from test_class_rtc import interrupts, moment_of, now, wake
from test_class_watchdog import get, refused
from test_cuse_recover import serving

SECOND = datetime.timedelta(seconds=1)


def test_a_watchdog_goes_on() -> None:
    with serving("watchdog") as server:
        dog = server.open()
        dog.ioctl(watchdog_uapi.SETTIMEOUT, pointer(2))
        server.kill()
        assert refused(server.open) == errno.EBUSY
        assert get(dog, watchdog_uapi.GETTIMEOUT) == 2
        assert get(dog, watchdog_uapi.GETTIMELEFT) > 0
        assert server.process.stderr is not None
        line = server.process.stderr.readline()
        while b"expired" not in line:  # before it: that a worker has died
            line = server.process.stderr.readline()
        dog.write(b"V")
        server.kill()
        dog.close()
        with server.open() as again:
            assert get(again, watchdog_uapi.GETTIMELEFT) == 2


def test_an_alarm_reaches_a_reader_that_waits_since_before() -> None:
    with serving("rtc") as server:
        clock = server.open()
        alarm = now(clock) + 2 * SECOND
        clock.ioctl(rtc_uapi.WKALM_SET, wake(alarm))
        clock.ioctl(rtc_uapi.IRQP_SET, 32)
        waiting = server.kernel.start(clock.read, 8)
        waiting.wait_sent()
        server.kill()
        (seen,) = struct.unpack("=Q", waiting.result())
        assert seen == rtc_uapi.IRQF | rtc_uapi.AF | 1 << 8
        assert moment_of(clock.ioctl(rtc_uapi.ALM_READ, b"").data) == alarm
        clock.ioctl(rtc_uapi.PIE_ON)
        clock.ioctl(rtc_uapi.UIE_ON)
        server.kill()
        kinds = 0
        while kinds != rtc_uapi.IRQF | rtc_uapi.PF | rtc_uapi.UF:
            kinds |= interrupts(clock)[0]


def test_entropy_stays_credited() -> None:
    with serving("random") as server:
        source = server.open()
        source.ioctl(random.ADDTOENTCNT, pointer(100))
        waiting = server.kernel.start(source.read, 2)
        waiting.wait_sent()
        server.kill()
        assert number(source.ioctl(random.GETENTCNT, b"")) == 100
        source.ioctl(random.ADDTOENTCNT, pointer(156))
        assert waiting.result() == bytes(2)
