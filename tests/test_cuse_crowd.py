"""Many clients blocked in handlers, and the one request that frees them, which must get through."""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import Blocked, FakeKernel, serve
from nodes import until

CROWDS = [10, 15, 16, 20, 40, 70, 500]
PROMPT_S = 20.0  # of a machine that may be busy; without what is tested here it is for ever
RESET = cuse.IO("M", 0)


class Mailbox(cuse.Device):
    """That of docs/cuse.md, and an ioctl and a poll that see how many wait."""

    def __init__(self, name: str = "mailbox", **node: Any) -> None:
        super().__init__(name, **node)
        self.messages: list[bytes] = []
        self.changed = cuse.Condition()
        self.blocked = 0

    def take(self, size: int) -> bytes:
        with self.changed:
            self.blocked += 1
            try:
                while not self.messages:
                    self.changed.wait()
            finally:
                self.blocked -= 1
            return self.messages.pop(0)[:size]

    def read(self, file: cuse.File, size: int) -> bytes:
        return self.take(size)

    def write(self, file: cuse.File, data: memoryview) -> None:
        with self.changed:
            self.messages.append(bytes(data))
            self.changed.notify()

    def poll(self, file: cuse.File) -> int:
        return select.POLLOUT

    @cuse.ioctl(RESET)
    def reset(self, file: cuse.File, arg: int) -> None:
        with self.changed:
            self.messages += [b"reset"] * self.blocked
            self.changed.notify_all()


class IntoMailbox(Mailbox):
    def readinto(self, file: cuse.File, buffer: memoryview) -> int:
        data = self.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def crowd(kernel: FakeKernel, device: Mailbox, size: int) -> Iterator[list[Blocked[bytes]]]:
    """`size` clients that are blocked in read()."""
    files = [kernel.open(os.O_RDONLY) for _ in range(size)]
    calls = [kernel.start(file.read, 100) for file in files]
    until(lambda: device.blocked == size)
    yield calls
    for file in files:
        file.close()


@pytest.mark.fake
@pytest.mark.parametrize("size", CROWDS)
@pytest.mark.parametrize("kind", [Mailbox, IntoMailbox])
def test_a_writer_frees_any_number_of_readers(kind: type[Mailbox], size: int) -> None:
    device = kind()
    with serve(device) as kernel:
        writer = kernel.open(os.O_WRONLY)
        with crowd(kernel, device, size) as calls:
            for number in range(size):
                assert writer.write(b"%d" % number)
            got = [call.result(PROMPT_S) for call in calls]
            assert sorted(got) == sorted(b"%d" % number for number in range(size))
        writer.close()


@pytest.mark.fake
@pytest.mark.parametrize("size", [16, 40])
def test_every_other_request_gets_through_too(size: int) -> None:
    device = Mailbox()
    with serve(device) as kernel:
        other = kernel.open(os.O_RDWR)
        with crowd(kernel, device, size) as calls:
            assert other.poll(select.POLLOUT, 0) == select.POLLOUT
            kernel.open(os.O_RDONLY).close()
            calls[0].interrupt()
            with pytest.raises(InterruptedError):
                calls[0].result(PROMPT_S)
            other.ioctl(RESET)
            assert [call.result(PROMPT_S) for call in calls[1:]] == [b"reset"] * (size - 1)
        other.close()


@pytest.mark.fake
@pytest.mark.parametrize("size", [16, 40, 500])
def test_a_deadline_makes_no_difference(size: int) -> None:
    device = Mailbox(timeout=60.0)
    with serve(device) as kernel:
        writer = kernel.open(os.O_RDWR)
        with crowd(kernel, device, size) as calls:
            for _ in calls:
                writer.write(b"x")
            assert [call.result(PROMPT_S) for call in calls] == [b"x"] * size
        writer.close()


@pytest.mark.fake
def test_a_channel_that_closes_frees_them_all() -> None:
    device = Mailbox()
    calls: list[Blocked[bytes]] = []
    with serve(device) as kernel:
        files = [kernel.open(os.O_RDONLY) for _ in range(40)]
        calls += [kernel.start(file.read, 100) for file in files]
        until(lambda: device.blocked == 40)
    for call in calls:
        with pytest.raises(OSError) as caught:
            call.result(PROMPT_S)
        assert caught.value.errno in (errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED)


class Stuck(cuse.Device):
    """Its readers wait for something that the binding knows nothing of."""

    def __init__(self, **node: Any) -> None:
        super().__init__("stuck", **node)
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.blocked = 0

    def read(self, file: cuse.File, size: int) -> bytes:
        with self.lock:
            self.blocked += 1
        self.go.wait()
        return b"x"

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.go.set()


@pytest.mark.fake
@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("size", [2, 3, 70])
def test_handlers_stuck_in_something_of_their_own_lock_nobody_out(
    size: int, timeout: float | None
) -> None:
    device = Stuck(timeout=timeout)
    with serve(device, cuse.Workers(callers=2)) as kernel:
        files = [kernel.open(os.O_RDWR) for _ in range(size + 1)]
        calls = [kernel.start(file.read, 1) for file in files[:-1]]
        until(lambda: device.blocked >= min(2, size))
        assert files[-1].write(b"go") == 2
        assert [call.result(PROMPT_S) for call in calls] == [b"x"] * size
        for file in files:
            file.close()


@pytest.mark.fake
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_crowd_beyond_all_bounds_is_one_warning(
    caplog: pytest.LogCaptureFixture, timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1100
    device = Stuck(timeout=timeout)
    with serve(device) as kernel, caplog.at_level(logging.WARNING, "cuse_scullv"):
        files = [kernel.open(os.O_RDWR) for _ in range(size)]
        calls = [kernel.start(file.read, 1) for file in files]
        until(lambda: bool(caplog.records))
        time.sleep(0.3)
        device.go.set()
        assert [call.result(PROMPT_S) for call in calls] == [b"x"] * size
        for file in files:
            file.close()
    assert len(caplog.records) == 1
    assert "in read()" in caplog.text
    caplog.clear()


@pytest.mark.fake
def test_threads_go_when_nobody_needs_them() -> None:
    device = Mailbox()
    with serve(device, cuse.Workers(callers=4)) as kernel:
        writer = kernel.open(os.O_WRONLY)
        with crowd(kernel, device, 100) as calls:
            many = threads()
            for _ in calls:
                writer.write(b"x")
            for call in calls:
                call.result(PROMPT_S)
        # Who is superfluous sees it when a request comes.
        until(lambda: writer.write(b"x") == 1 and threads() < many - 80)
        writer.close()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.real
def test_a_writer_frees_many_readers_of_a_node() -> None:
    device = Mailbox(f"mailbox{os.getpid()}")
    got: list[bytes] = []

    def read() -> None:
        fd = os.open(f"/dev/{device.name}", os.O_RDONLY)
        got.append(os.read(fd, 100))
        os.close(fd)

    with cuse.Channel(device):
        clients = [threading.Thread(target=read) for _ in range(40)]
        for client in clients:
            client.start()
        until(lambda: device.blocked == len(clients))
        fd = os.open(f"/dev/{device.name}", os.O_WRONLY)
        for _ in clients:
            os.write(fd, b"x")
        os.close(fd)
        for client in clients:
            client.join(PROMPT_S)
    assert got == [b"x"] * len(clients)
