"""The class watchdog: drivers/watchdog/watchdog_dev.c over the fake kernel, and by wdctl and a C
program on a real node."""

from __future__ import annotations

import asyncio
import errno
import logging
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headers
from cuse_scullv import cuse
from cuse_scullv.classes import watchdog
from cuse_scullv.classes import watchdog_uapi as uapi
from cuse_scullv.classes.timer import Timer
from cuse_scullv.classes.watchdog import Option
from cuse_scullv.cuse.testing import FakeFile, FakeKernel
from nodes import number, pointer, until
from shell import out

NAME = "cusewatchdog"
PROGRAM = Path(__file__).parent / "programs/watchdog.c"
Serve = Callable[..., FakeKernel]


class Dog(watchdog.Watchdog):
    """Notes what it is told."""

    def __init__(self, **settings: Any) -> None:
        self.calls: list[str] = []
        self.wrong: BaseException | None = None  # what ping() and enabled() raise
        super().__init__(NAME, **settings)

    def note(self, call: str) -> None:
        self.calls.append(call)
        if self.wrong is not None:
            raise self.wrong

    def expired(self) -> None:
        self.calls.append("expired")

    def pretimeout_expired(self) -> None:
        self.calls.append("pretimeout")

    def ping(self) -> None:
        self.note("ping")

    def enabled(self) -> None:
        self.note("enabled")

    def disabled(self) -> None:
        self.note("disabled")


class AsyncDog(Dog):
    async def expired(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().expired()

    async def ping(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().ping()

    async def enabled(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().enabled()

    async def status(self) -> Option:  # type: ignore[override]
        return Option.FANFAULT


both = pytest.mark.parametrize("kind", [Dog, AsyncDog])


def refused(call: Callable[..., object], *arguments: object) -> int:
    """The errno that the call fails with."""
    with pytest.raises(OSError) as caught:
        call(*arguments)
    assert caught.value.errno is not None
    return caught.value.errno


def get(file: FakeFile, command: int) -> int:
    return number(file.ioctl(command, b""))


@pytest.mark.parametrize("width", headers.WIDTHS)
def test_numbers_and_layouts_are_the_header_s(width: str) -> None:
    commands = {f"WDIOC_{name}": int(value) for name, value in vars(uapi).items()
                if isinstance(value, cuse.Command)}  # fmt: skip
    options = {f"WDIOF_{option.name}": int(option) for option in Option}
    layout = {
        "sizeof(struct watchdog_info)": 40, "offsetof(struct watchdog_info, identity)": 8,
        "WDIOS_DISABLECARD": uapi.DISABLECARD, "WDIOS_ENABLECARD": uapi.ENABLECARD,
    }  # fmt: skip
    ours = commands | options | layout
    assert len(commands) == 11
    assert len(options) == 12
    headers.check(["linux/watchdog.h"], ours, width)


@both
def test_it_runs_while_it_is_open_until_it_is_closed_by_magic(
    cuse_device: Serve, kind: type[Dog]
) -> None:
    dog = kind()
    kernel = cuse_device(dog)
    assert not dog.active
    file = kernel.open()
    assert dog.active
    assert 59 < dog.timeleft <= 60
    assert refused(kernel.open) == errno.EBUSY
    assert file.write(b"xxx") == 3
    assert file.ioctl(uapi.KEEPALIVE, 0) == (0, b"")
    assert file.write(b"nowV") == 4
    file.close()
    assert not dog.active
    assert dog.calls == ["enabled", "ping", "ping", "ping", "disabled"]
    with kernel.open():
        assert dog.active


def test_a_close_without_magic_leaves_it_running(cuse_device: Serve) -> None:
    dog = Dog()
    kernel = cuse_device(dog)
    file = kernel.open()
    file.write(b"V")
    file.write(b"not any more")
    file.close()
    assert dog.active
    file = kernel.open()
    assert dog.calls == ["enabled", "ping", "ping", "ping"]
    file.write(b"V")
    file.close()
    assert not dog.active


def test_nowayout_means_that(cuse_device: Serve) -> None:
    dog = Dog(nowayout=True)
    file = cuse_device(dog).open()
    file.write(b"V")
    assert refused(file.ioctl, uapi.SETOPTIONS, pointer(uapi.DISABLECARD)) == errno.EBUSY
    file.close()
    assert dog.active
    assert dog.calls == ["enabled", "ping", "ping"]


def test_without_magic_close_each_close_stops_it(cuse_device: Serve) -> None:
    class Plain(Dog):
        options = Option.SETTIMEOUT

    dog = Plain()
    file = cuse_device(dog).open()
    assert refused(file.ioctl, uapi.KEEPALIVE, 0) == errno.EOPNOTSUPP
    assert refused(file.ioctl, uapi.SETPRETIMEOUT, pointer(1)) == errno.EOPNOTSUPP
    file.close()
    assert dog.calls == ["enabled", "disabled"]


@both
def test_what_it_says_of_itself(cuse_device: Serve, kind: type[Dog]) -> None:
    dog = kind()
    dog.boot_status = Option.CARDRESET
    dog.firmware_version = 7
    dog.identity = "a dog"
    file = cuse_device(dog).open()
    info = uapi.Info.from_buffer_copy(file.ioctl(uapi.GETSUPPORT, b"").data)
    assert (info.identity, info.firmware_version, info.options) == (b"a dog", 7, dog.options)
    status = Option.CARDRESET if kind is Dog else Option.FANFAULT
    assert get(file, uapi.GETSTATUS) == status | Option.KEEPALIVEPING
    assert get(file, uapi.GETSTATUS) == status
    file.write(b"V")
    assert get(file, uapi.GETSTATUS) == status | Option.KEEPALIVEPING | Option.MAGICCLOSE
    assert get(file, uapi.GETBOOTSTATUS) == Option.CARDRESET
    assert refused(file.ioctl, uapi.GETTEMP, b"") == errno.ENOTTY
    dog.temperature = lambda: 451  # type: ignore[method-assign]
    assert get(file, uapi.GETTEMP) == 451
    assert refused(file.ioctl, cuse.IO("W", 11)) == errno.ENOTTY
    assert refused(file.read, 1) == errno.EINVAL


@both
def test_heartbeats_and_pretimeouts(cuse_device: Serve, kind: type[Dog]) -> None:
    dog = kind(heartbeat=30)
    file = cuse_device(dog).open()
    assert get(file, uapi.GETTIMEOUT) == get(file, uapi.GETTIMELEFT) == 30
    assert number(file.ioctl(uapi.SETTIMEOUT, pointer(10))) == 10
    assert dog.calls == ["enabled", "ping"]
    assert get(file, uapi.GETTIMELEFT) == 10
    for bad in (0, -1, 65536):
        assert refused(file.ioctl, uapi.SETTIMEOUT, pointer(bad)) == errno.EINVAL
    assert number(file.ioctl(uapi.SETPRETIMEOUT, pointer(9))) == 9
    for bad in (10, -1):
        assert refused(file.ioctl, uapi.SETPRETIMEOUT, pointer(bad)) == errno.EINVAL
    assert get(file, uapi.GETPRETIMEOUT) == 9
    file.ioctl(uapi.SETTIMEOUT, pointer(9))  # in which it has no room
    assert get(file, uapi.GETPRETIMEOUT) == 0
    dog.options = Option.MAGICCLOSE
    assert refused(file.ioctl, uapi.SETTIMEOUT, pointer(10)) == errno.EOPNOTSUPP


def test_set_options_stops_and_starts_it(cuse_device: Serve) -> None:
    dog = Dog()
    file = cuse_device(dog).open()
    file.ioctl(uapi.SETOPTIONS, pointer(uapi.DISABLECARD))
    assert not dog.active
    assert get(file, uapi.GETTIMELEFT) == 0
    file.write(b"a ping to what does not run is nothing")
    file.ioctl(uapi.SETOPTIONS, pointer(uapi.ENABLECARD))
    file.ioctl(uapi.SETOPTIONS, pointer(uapi.ENABLECARD))
    assert dog.active
    assert dog.calls == ["enabled", "disabled", "enabled"]


def test_it_expires_once_a_heartbeat(cuse_device: Serve) -> None:
    dog = AsyncDog(heartbeat=2, pretimeout=1)
    kernel = cuse_device(dog)
    began = time.monotonic()
    file = kernel.open()
    until(lambda: "pretimeout" in dog.calls)
    assert time.monotonic() - began >= 1
    file.ioctl(uapi.SETTIMEOUT, pointer(1))  # the pretimeout has no room then
    until(lambda: "expired" in dog.calls)
    assert time.monotonic() - began >= 2
    file.ioctl(uapi.SETPRETIMEOUT, pointer(0))
    assert get(file, uapi.GETTIMELEFT) == 0
    time.sleep(0.1)
    assert dog.calls == ["enabled", "pretimeout", "ping", "expired"]
    file.write(b"sorry")
    assert get(file, uapi.GETTIMELEFT) == 1


@both
def test_what_a_method_raises_is_the_client_s(cuse_device: Serve, kind: type[Dog]) -> None:
    dog = kind()
    kernel = cuse_device(dog)
    dog.wrong = OSError(errno.EREMOTEIO, "the bus is gone")
    assert refused(kernel.open) == errno.EREMOTEIO
    assert not dog.active
    dog.wrong = None
    file = kernel.open()
    dog.wrong = OSError(errno.EREMOTEIO, "the bus is gone")
    assert refused(file.write, b"x") == errno.EREMOTEIO
    assert refused(file.ioctl, uapi.SETTIMEOUT, pointer(5)) == errno.EREMOTEIO
    dog.wrong = None


@pytest.mark.logs_errors
def test_an_expired_that_fails_is_logged(
    cuse_device: Serve, cuse_log: list[logging.LogRecord]
) -> None:
    class Lame(Dog):
        def pretimeout_expired(self) -> None:
            raise ValueError("cannot bark")

    dog = Lame(heartbeat=2, pretimeout=1)
    file = cuse_device(dog).open()
    file.ioctl(uapi.SETTIMEOUT, pointer(2))
    until(lambda: "expired" in dog.calls)
    assert cuse_log[0].getMessage() == f"{NAME}: pretimeout_expired() raised"


def test_without_expired_it_is_none() -> None:
    class Mute(watchdog.Watchdog):
        pass

    with pytest.raises(TypeError, match=r"Mute has no expired\(\): define `def expired\(self\)`"):
        Mute(NAME)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"heartbeat": 0}, "heartbeat 0: take 1 to 65535"),
        ({"heartbeat": 5, "pretimeout": 5}, "pretimeout 5: take 0 to 4"),
        ({"pretimeout": -1}, "pretimeout -1: take 0 to 59"),
    ],
)
def test_values_that_cannot_be_are_a_sentence(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(cuse.DeviceError, match=sentence) as caught:
        Dog(**settings)
    assert caught.value.errno == errno.EINVAL


def test_an_identity_that_is_too_long_is_a_sentence() -> None:
    class Wordy(Dog):
        identity = "w" * 32

    with pytest.raises(cuse.DeviceError, match="take 31 bytes at most"):
        Wordy()


@pytest.mark.real
def test_wdctl_and_a_c_program(tmp_path: Path) -> None:
    subprocess.run(["gcc", "-Wall", "-o", tmp_path / "watchdog", PROGRAM], check=True)
    dog = Dog(heartbeat=30)
    dog.identity = "a dog"
    node = f"/dev/{NAME}"
    with cuse.Channel(dog):
        shown = b" ".join(out("wdctl", node).split())
        assert b"Identity: a dog [version 0] Timeout: 30 seconds Timeleft: 30 seconds" in shown
        assert b"KEEPALIVEPING Keep alive ping reply 1 0 MAGICCLOSE" in shown
        assert b"35 seconds" in out("wdctl", "--settimeout", "35", node)
        assert not dog.active
        assert out(str(tmp_path / "watchdog"), node) == b"a dog 35 5 4 0 busy V\n"
        assert not dog.active


def test_a_timer_that_is_set_after_all_time_can_be_set_again() -> None:
    loop = asyncio.new_event_loop()
    went_off = threading.Event()
    timer = Timer("timer", went_off.set, "it")
    loop.run_until_complete(timer.start())
    timer.set(time.monotonic() + 1e30)
    assert not went_off.wait(0.05)
    timer.set(time.monotonic())
    assert went_off.wait(60)
    loop.run_until_complete(timer.stop())
    loop.close()
