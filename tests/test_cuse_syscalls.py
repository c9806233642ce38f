"""System calls in handlers: they end with their client, lose nothing, and hold nobody up."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import syscalls
from cuse_scullv.cuse.testing import FakeKernel

Serve = Callable[..., FakeKernel]

LONG = 60.0


class Pipe(cuse.Device):
    """Both ends of a pipe of the host's, whose calls block."""

    def __init__(self, timeout: float | None = None) -> None:
        super().__init__("pipe", timeout=timeout)
        self.output, self.input = os.pipe()

    def read(self, file: cuse.File, size: int) -> bytes:
        return syscalls.read(self.output, size)

    def write(self, file: cuse.File, data: memoryview) -> int:
        return syscalls.write(self.input, data)


@pytest.fixture(params=[None, LONG], ids=["channel", "pool"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    """Its methods run on the channel's threads, or, with a deadline, on those of a pool."""
    device = Pipe(request.param)
    yield device
    os.close(device.input)
    os.close(device.output)


def test_a_blocked_read_gets_what_comes(cuse_device: Serve, pipe: Pipe) -> None:
    kernel = cuse_device(pipe)
    file = kernel.open()
    call = kernel.start(file.read, 100)
    assert not call.wait(0.05)
    assert file.write(b"hello") == 5
    assert call.result() == b"hello"


def test_a_signal_ends_a_blocked_read_and_loses_nothing(cuse_device: Serve, pipe: Pipe) -> None:
    kernel = cuse_device(pipe)
    file = kernel.open()
    for _ in range(20):
        call = kernel.start(file.read, 100)
        call.interrupt()  # before the thread is in its call, or after
        with pytest.raises(InterruptedError):
            call.result()
    file.write(b"still there")
    assert file.read(100) == b"still there"


def test_a_signal_leaves_what_a_write_has_done(cuse_device: Serve, pipe: Pipe) -> None:
    kernel = cuse_device(pipe)
    file = kernel.open()
    room = fcntl.fcntl(pipe.input, fcntl.F_GETPIPE_SZ)
    assert room < 1 << 17
    call = kernel.start(file.write, bytes(1 << 17))
    assert not call.wait(0.1)
    call.interrupt()
    assert call.result() == room


def test_a_hundred_blocked_calls_hold_nobody_up(cuse_device: Serve, pipe: Pipe) -> None:
    kernel = cuse_device(pipe)
    file = kernel.open()
    calls = [kernel.start(file.read, 1) for _ in range(100)]
    begun = time.monotonic()
    assert file.write(b"x" * 60) == 60
    assert time.monotonic() - begun < LONG / 2
    for _ in range(40):
        file.write(b"x")
    assert [call.result() for call in calls] == [b"x"] * 100


def test_the_end_of_the_device_ends_a_blocked_call() -> None:
    device = Pipe()
    with FakeKernel() as kernel:
        channel = cuse.Channel(device, fd=kernel.server_fd)
        channel.start()
        kernel.init()
        file = kernel.open()
        call = kernel.start(file.read, 1)
        assert not call.wait(0.05)
        begun = time.monotonic()
        channel.close(grace=LONG)
        assert time.monotonic() - begun < LONG / 2
        with pytest.raises(OSError) as caught:
            call.result()
        assert caught.value.errno == errno.ENODEV


@pytest.mark.logs_errors
def test_a_deadline_ends_a_blocked_call_and_frees_its_thread(cuse_device: Serve) -> None:
    device = Pipe(timeout=0.1)
    ended = threading.Event()
    real_read = device.read

    def read(file: cuse.File, size: int) -> bytes:
        try:
            return real_read(file, size)
        finally:
            ended.set()

    device.read = read  # type: ignore[method-assign]
    file = cuse_device(device).open()
    with pytest.raises(TimeoutError):
        file.read(1)
    assert ended.wait(LONG)


def test_an_open_waits_and_is_interrupted(cuse_device: Serve, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    device = cuse.Device(
        "fifo",
        open=lambda file: syscalls.open(fifo, os.O_RDONLY),
        release=lambda file: os.close(file.state),
    )
    kernel = cuse_device(device)
    interrupted, waiting = kernel.start(kernel.open), kernel.start(kernel.open)
    interrupted.interrupt()
    with pytest.raises(InterruptedError):
        interrupted.result()
    assert not waiting.wait(0.05)
    os.close(os.open(fifo, os.O_WRONLY))
    waiting.result().close()


def test_a_call_of_nobody_is_the_plain_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        syscalls.open(tmp_path / "none", os.O_RDWR | os.O_CREAT)
    assert caught.value.filename == str(tmp_path / "none")
    fd = syscalls.open("/dev/null", os.O_RDWR)
    try:
        assert not os.get_inheritable(fd)
        assert syscalls.write(fd, b"abc") == 3
        assert syscalls.read(fd, 10) == b""
        with pytest.raises(OSError) as failed:
            syscalls.ioctl(fd, 0x5401, bytearray(36))
        assert failed.value.errno == errno.ENOTTY
    finally:
        os.close(fd)
    with pytest.raises(OSError) as bad:
        syscalls.read(fd, 1)
    assert bad.value.errno == errno.EBADF


def test_an_ioctl_takes_memory_or_a_value() -> None:
    master, slave = os.openpty()
    try:
        size = bytearray(8)
        syscalls.ioctl(slave, 0x5413, size)  # TIOCGWINSZ
        assert size == bytes(8)
        syscalls.ioctl(slave, 0x5414, bytearray(b"\x18\0\x50\0\0\0\0\0"))  # TIOCSWINSZ
        syscalls.ioctl(slave, 0x5413, size)
        assert size[:4] == b"\x18\0\x50\0"
        assert syscalls.ioctl(slave, 0x540B, 2) == 0  # TCFLSH, both queues
        with pytest.raises(OSError) as caught:
            syscalls.ioctl(slave, 0x540B, -1)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(master)
        os.close(slave)
