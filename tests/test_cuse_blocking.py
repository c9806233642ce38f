"""Handlers that wait: interrupts, deadlines, the end of the device. `def` and `async def` alike."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.fake import wire
from cuse_scullv.cuse.testing import FakeFile, FakeKernel
from nodes import until

pytestmark = pytest.mark.fake

LONG = 3600.0  # seconds: longer than any test


def interrupt(kernel: FakeKernel, unique: int) -> None:
    """INTERRUPT of a request that the server has not seen yet: on a real channel another thread
    may have taken it."""
    body = wire.INTERRUPT_IN.pack(unique)
    number = unique | wire.INTERRUPT_BIT
    length = wire.IN_HEADER.size + len(body)
    header = wire.IN_HEADER.pack(length, wire.OP_INTERRUPT, number, 0, 0, 0, 0, 0, 0)
    kernel._transmit(header + body)


class Waits(cuse.Device):
    """Each read waits until there is a message, unless O_NONBLOCK."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("waits", **settings)
        self.changed = cuse.Condition()
        self.messages: list[bytes] = []
        self.waiting = threading.Semaphore(0)
        self.ended: list[int | None] = []

    def read(self, file: cuse.File, size: int) -> bytes:
        with self.changed:
            while not self.messages:
                if file.nonblocking:
                    raise BlockingIOError
                self.waiting.release()
                try:
                    self.changed.wait()
                except OSError as error:
                    self.ended.append(error.errno)
                    raise
            return self.messages.pop(0)

    def write(self, file: cuse.File, data: memoryview) -> None:
        with self.changed:
            self.messages.append(bytes(data))
            self.changed.notify()


class AsyncWaits(cuse.Device):
    """The same on asyncio."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("waits", **settings)
        self.changed = asyncio.Condition()
        self.messages: list[bytes] = []
        self.waiting = threading.Semaphore(0)
        self.ended: list[int | None] = []

    async def read(self, file: cuse.File, size: int) -> bytes:
        async with self.changed:
            while not self.messages:
                if file.nonblocking:
                    raise BlockingIOError
                self.waiting.release()
                try:
                    await self.changed.wait()
                except asyncio.CancelledError:
                    self.ended.append(None)
                    raise
            return self.messages.pop(0)

    async def write(self, file: cuse.File, data: memoryview) -> None:
        async with self.changed:
            self.messages.append(bytes(data))
            self.changed.notify()


Device = Callable[..., "Waits | AsyncWaits"]
both = pytest.mark.parametrize("device_type", [Waits, AsyncWaits])


def code_of(call: testing.Blocked[Any]) -> int | None:
    """The errno that a blocked call ends with."""
    with pytest.raises(OSError) as caught:
        call.result()
    return caught.value.errno


@both
def test_a_read_blocks_until_there_is_something(
    cuse_device: Callable[..., FakeKernel], device_type: Device
) -> None:
    device = device_type()
    kernel = cuse_device(device)
    file = kernel.open()
    call = kernel.start(file.read, 10)
    assert device.waiting.acquire(timeout=60)
    assert not call.done
    assert kernel.open().write(b"news") == 4
    assert call.result() == b"news"


@both
def test_o_nonblock_is_eagain(cuse_device: Callable[..., FakeKernel], device_type: Device) -> None:
    file = cuse_device(device_type()).open(os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        file.read(10)
    file.write(b"x")
    assert file.read(10) == b"x"


@both
def test_an_interrupted_call_ends_with_eintr(
    cuse_device: Callable[..., FakeKernel], device_type: Device
) -> None:
    device = device_type()
    kernel = cuse_device(device)
    file = kernel.open()
    call, other = kernel.start(file.read, 10), kernel.start(file.read, 10)
    for _ in range(2):
        assert device.waiting.acquire(timeout=60)
    call.interrupt()
    assert code_of(call) == errno.EINTR
    file.write(b"other")
    assert other.result() == b"other"
    assert device.ended == [errno.EINTR if device_type is Waits else None]


@both
def test_an_interrupt_that_comes_at_once_is_not_lost(
    cuse_device: Callable[..., FakeKernel], device_type: Device
) -> None:
    kernel = cuse_device(device_type())
    file = kernel.open()
    for _ in range(200):
        call = kernel.start(file.read, 10)
        call.interrupt()
        assert code_of(call) == errno.EINTR


@both
def test_interrupts_and_answers_may_race(
    cuse_device: Callable[..., FakeKernel], device_type: Device
) -> None:
    """Each call has one answer, and no message is given to nobody but one whose reader left."""
    device = device_type()
    kernel = cuse_device(device)
    file, writer = kernel.open(), kernel.open()
    got = 0
    for index in range(200):
        call = kernel.start(file.read, 10)
        if index % 2:
            assert device.waiting.acquire(timeout=60)
        interrupt = kernel.start(call.interrupt)
        writer.write(b"message")
        try:
            got += call.result() == b"message"
        except InterruptedError:
            assert kernel.start(file.read, 10).result() == b"message"
            got += 1
        interrupt.result()
    assert got == 200
    assert device.messages == []


@both
def test_closing_the_device_ends_blocked_calls(device_type: Device) -> None:
    device = device_type()
    with testing.FakeKernel() as kernel:
        with cuse.Channel(device, fd=kernel.server_fd):
            file = kernel.open()
            call = kernel.start(file.read, 10)
            assert device.waiting.acquire(timeout=60)
        assert code_of(call) == errno.ENODEV
        with pytest.raises(OSError) as caught:
            file.read(1)
        assert caught.value.errno == errno.ENOTCONN


def test_a_device_can_be_served_again() -> None:
    device = Waits()
    for _ in range(3):
        with testing.serve(device) as kernel, kernel.open() as file:
            file.write(b"x")
            assert file.read(1) == b"x"


def test_a_device_is_served_once_at_a_time(cuse_device: Callable[..., FakeKernel]) -> None:
    device = Waits()
    cuse_device(device)
    with testing.FakeKernel() as kernel:
        with pytest.raises(cuse.DeviceError, match="served already") as caught:
            cuse.Channel(device, fd=kernel.server_fd).start()
    assert caught.value.errno == errno.EBUSY


# --- conditions ---------------------------------------------------------------------------------


def test_a_condition_waits_outside_handlers_too() -> None:
    condition = cuse.Condition()
    with condition:
        assert not condition.wait(0.01)
        assert condition.wait_for(lambda: 0, 0.01) == 0
    done: list[bool] = []

    def wait() -> None:
        with condition:
            condition.wait_for(lambda: done, 60)
            done.append(True)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    with condition:
        done.append(True)
        condition.notify_all()
    for thread in threads:
        thread.join(60)
    assert len(done) == 4


def test_a_condition_is_used_under_its_lock() -> None:
    condition = cuse.Condition()
    with pytest.raises(RuntimeError, match="needs the lock"):
        condition.wait()
    with pytest.raises(RuntimeError, match="needs the lock"):
        condition.notify()


def test_conditions_may_share_a_lock() -> None:
    lock = threading.Lock()
    one, other = cuse.Condition(lock), cuse.Condition(lock)
    with one:
        other.notify()
        assert not one.wait(0.01)


@pytest.mark.parametrize("seconds", [LONG, 1e30])
def test_sleep_ends_with_the_call(cuse_device: Callable[..., FakeKernel], seconds: float) -> None:
    asleep = threading.Semaphore(0)

    def read(file: cuse.File, size: int) -> bytes:
        asleep.release()
        cuse.sleep(seconds)
        return b""

    kernel = cuse_device(cuse.Device("sleeps", read=read))
    call = kernel.start(kernel.open().read, 1)
    assert asleep.acquire(timeout=60)
    call.interrupt()
    assert code_of(call) == errno.EINTR


def test_a_deadline_after_all_time(cuse_device: Callable[..., FakeKernel]) -> None:
    device = cuse.Device("late", timeout=1e30, read=lambda file, size: b"in time")
    kernel = cuse_device(device)
    assert kernel.open().read(7) == b"in time"
    assert "cuse-deadlines" in [thread.name for thread in threading.enumerate()]


def test_a_handler_may_look_whether_it_is_interrupted(
    cuse_device: Callable[..., FakeKernel],
) -> None:
    looking = threading.Semaphore(0)

    def read(file: cuse.File, size: int) -> bytes:
        looking.release()
        until(lambda: file.interrupted)
        return b"half"  # what was done counts

    kernel = cuse_device(cuse.Device("looks", read=read))
    call = kernel.start(kernel.open().read, 10)
    assert looking.acquire(timeout=60)
    call.interrupt()
    assert call.result() == b"half"


# --- async --------------------------------------------------------------------------------------


def test_async_handlers_run_on_one_loop(cuse_device: Callable[..., FakeKernel]) -> None:
    loops: set[int] = set()

    async def read(file: cuse.File, size: int) -> bytes:
        await asyncio.sleep(0)
        loops.add(id(asyncio.get_running_loop()))
        return str(file.caller.uid).encode()

    one = cuse_device(cuse.Device("one", read=read)).open()
    other = cuse_device(cuse.Device("other", read=read)).open()
    one.uid, other.uid = 1, 2
    assert (one.read(10), other.read(10)) == (b"1", b"2")
    assert len(loops) == 1


def test_any_number_of_async_calls_may_block(cuse_device: Callable[..., FakeKernel]) -> None:
    device = AsyncWaits()
    kernel = cuse_device(device, cuse.Workers(callers=1))
    file = kernel.open()
    calls = [kernel.start(file.read, 10) for _ in range(40)]
    for _ in calls:
        assert device.waiting.acquire(timeout=60)
    for _ in calls:
        file.write(b"x")
    assert [call.result() for call in calls] == [b"x"] * 40


def test_all_methods_may_be_async(cuse_device: Callable[..., FakeKernel]) -> None:
    class Device(cuse.Device):
        async def open(self, file: cuse.File) -> bytearray:
            return bytearray()

        async def release(self, file: cuse.File) -> None:
            released.append(bytes(file.state))

        async def readinto(self, file: cuse.File, buffer: memoryview) -> int:
            n = min(len(buffer), len(file.state))
            buffer[:n] = file.state[:n]
            return n

        async def write(self, file: cuse.File, data: memoryview) -> int:
            file.state[:] = data
            return len(data)

        @cuse.ioctl(cuse.IOWR("a", 1, "i"))
        async def double(self, file: cuse.File, value: int) -> int:
            return value * 2

        async def poll(self, file: cuse.File) -> int:
            return 5

    released: list[bytes] = []
    file = cuse_device(Device("async")).open()
    assert file.write(b"abc") == 3
    assert file.read(2) == b"ab"
    assert file.ioctl(cuse.IOWR("a", 1, "i"), (21).to_bytes(4, "little")).data[0] == 42
    assert file.poll() == 5
    file.close()
    assert released == [b"abc"]


@pytest.mark.logs_errors
@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("x")])
def test_whatever_an_async_handler_raises_the_loop_lives_on(
    cuse_device: Callable[..., FakeKernel],
    cuse_log: list[logging.LogRecord],
    error: BaseException,
) -> None:
    async def read(file: cuse.File, size: int) -> bytes:
        if size == 1:
            raise error
        return b"fine"

    file = cuse_device(cuse.Device("bad", read=read)).open()
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EIO
    assert "bad: read() raised" in cuse_log[0].getMessage()
    assert file.read(10) == b"fine"


ASK = cuse.IOR("b", 1, "=i")


class Late(cuse.Device):
    """Its coroutines are called by `def` methods, and wait for a loop that is busy."""

    def __init__(self) -> None:
        super().__init__("late")
        self.busy, self.go = threading.Event(), threading.Event()
        self.begun: list[str] = []

    async def read(self, file: cuse.File, size: int) -> bytes:
        self.busy.set()
        self.go.wait(60)
        return b""

    def write(self, file: cuse.File, data: memoryview) -> Any:
        return self.later("write")

    @cuse.ioctl(ASK)
    async def ask(self, file: cuse.File) -> int:
        return await self.later("ask")

    async def later(self, what: str) -> int:
        self.begun.append(what)
        return 1


def test_what_was_interrupted_before_it_began_does_not(
    cuse_device: Callable[..., FakeKernel], recwarn: pytest.WarningsRecorder
) -> None:
    device = Late()
    kernel = cuse_device(device)
    blocks = kernel.start(kernel.open().read, 1)
    assert device.busy.wait(60)
    calls = [kernel.start(kernel.open().write, b"x"), kernel.start(kernel.open().ioctl, ASK, b"")]
    for call in calls:
        call.wait_sent()
        call.interrupt()
    assert not device.begun
    time.sleep(0.05)  # the interrupts come by another thread
    device.go.set()
    for call in calls:
        with pytest.raises(InterruptedError):
            call.result()
    assert blocks.result() == b""
    gc.collect()
    assert device.begun == []
    assert [str(warning.message) for warning in recwarn] == []  # as "was never awaited"
    assert kernel.open().write(b"x") == 1
    assert kernel.open().ioctl(ASK, b"").data == b"\1\0\0\0"


@pytest.mark.logs_errors
def test_a_handler_that_cancels_itself_is_a_fault(
    cuse_device: Callable[..., FakeKernel], cuse_log: list[logging.LogRecord]
) -> None:
    async def read(file: cuse.File, size: int) -> bytes:
        raise asyncio.CancelledError

    file = cuse_device(cuse.Device("bad", read=read)).open()
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EIO
    assert "was cancelled" in cuse_log[0].getMessage()


# --- deadlines ----------------------------------------------------------------------------------


@both
@pytest.mark.logs_errors
def test_a_method_past_its_deadline_is_etimedout(
    cuse_device: Callable[..., FakeKernel],
    cuse_log: list[logging.LogRecord],
    device_type: Device,
) -> None:
    device = device_type(timeout=1)
    file = cuse_device(device).open()
    with pytest.raises(TimeoutError):
        file.read(1)
    assert "waits: read() has not answered within 1 s" in cuse_log[0].getMessage()
    until(lambda: len(device.ended) == 1)  # the handler was told
    file.write(b"x")
    assert file.read(1) == b"x"


@pytest.mark.logs_errors
def test_handlers_that_hang_take_no_thread_from_others(
    cuse_device: Callable[..., FakeKernel], cuse_log: list[logging.LogRecord]
) -> None:
    hang = threading.Event()

    def read(file: cuse.File, size: int) -> bytes:
        if size == 1:
            hang.wait(LONG)
        return b"x"

    device = cuse.Device("hangs", read=read, timeout=1)
    kernel = cuse_device(device, cuse.Workers(callers=2))
    file = kernel.open()
    calls = [kernel.start(file.read, 1) for _ in range(6)]
    for call in calls:
        with pytest.raises(TimeoutError):
            call.result()
    assert file.read(2) == b"x"
    hang.set()
    until(lambda: sum("too late" in record.getMessage() for record in cuse_log) >= 2)


@pytest.mark.logs_errors
def test_an_open_that_comes_too_late_is_released(cuse_device: Callable[..., FakeKernel]) -> None:
    hang = threading.Event()
    released: list[object] = []

    def open_(file: cuse.File) -> str:
        hang.wait(LONG)
        return "state"

    kernel = cuse_device(
        cuse.Device(
            "late", open=open_, release=lambda file: released.append(file.state), timeout=0.05
        )
    )
    with pytest.raises(TimeoutError):
        kernel.open()
    hang.set()
    until(lambda: released == ["state"])


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async"])
def test_a_release_runs_though_its_client_was_interrupted_before(
    cuse_device: Callable[..., FakeKernel], is_async: bool
) -> None:
    released: list[object] = []

    def release(file: cuse.File) -> None:
        released.append(file)

    async def async_release(file: cuse.File) -> None:
        released.append(file)

    kernel = cuse_device(cuse.Device("left", release=async_release if is_async else release))
    for opened in range(1, 20):
        file = kernel.open()
        interrupt(kernel, kernel._unique + wire.UNIQUE_STEP)  # the RELEASE that comes next
        file.close()
        assert len(released) == opened


def test_a_deadline_is_no_hurry(cuse_device: Callable[..., FakeKernel]) -> None:
    device = Waits(timeout=60)
    file = cuse_device(device).open()
    for _ in range(100):
        file.write(b"x")
        assert file.read(1) == b"x"


def opened_in_time(kernel: FakeKernel) -> FakeFile:
    """A busy machine may not manage even that within the device's time."""
    while True:
        with suppress(TimeoutError):
            return kernel.open()


@pytest.mark.logs_errors
@pytest.mark.parametrize("asynchronous", [False, True])
def test_each_call_is_answered_once_whatever_races(
    cuse_device: Callable[..., FakeKernel], asynchronous: bool
) -> None:
    """Answers, deadlines and interrupts at the same time; the fake kernel finds a second answer."""
    random = Random(20)
    timeout = 0.01

    def read(file: cuse.File, size: int) -> bytes:
        (cuse.sleep if size % 2 else time.sleep)(random.uniform(0, 2 * timeout))
        return bytes(size)

    async def read_async(file: cuse.File, size: int) -> bytes:
        await asyncio.sleep(random.uniform(0, 2 * timeout))
        return bytes(size)

    device = cuse.Device("races", read=read_async if asynchronous else read, timeout=timeout)
    kernel = cuse_device(device)
    file = opened_in_time(kernel)
    outcomes: set[int | None] = set()
    for _ in range(15):
        calls = [kernel.start(file.read, size) for size in range(1, 9)]
        for call in random.sample(calls, 3):
            call.interrupt()
        for size, call in enumerate(calls, start=1):
            try:
                assert len(call.result()) == size
                outcomes.add(None)
            except OSError as error:
                outcomes.add(error.errno)
    assert outcomes <= {None, errno.EINTR, errno.ETIMEDOUT}


@pytest.mark.logs_errors
def test_a_handler_that_ignores_the_end_is_left_behind(
    cuse_log: list[logging.LogRecord],
) -> None:
    hang, hanging = threading.Event(), threading.Event()

    def read(file: cuse.File, size: int) -> bytes:
        hanging.set()
        hang.wait(LONG)
        return b"x"

    with testing.FakeKernel() as kernel:
        channel = cuse.Channel(cuse.Device("hangs", read=read), fd=kernel.server_fd)
        channel.start()
        call = kernel.start(kernel.open().read, 1)
        assert hanging.wait(60)
        channel.close(grace=0.1)
        assert code_of(call) == errno.ENODEV
        assert any("has not ended with the device" in r.getMessage() for r in cuse_log)
        hang.set()
