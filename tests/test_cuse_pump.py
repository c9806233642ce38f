"""Devices that the asyncio loop serves by itself, since all their methods are coroutines."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.loop import handler_loop
from cuse_scullv.cuse.pump import AT_ONCE, can_pump

pytestmark = pytest.mark.fake


class Echo(cuse.Device):
    """Gives back what was written last; notes where its methods ran."""

    def __init__(self, name: str = "pumped", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.threads: set[int] = set()
        self.last = b""

    async def open(self, file: cuse.File) -> None:
        self.threads.add(threading.get_native_id())

    async def write(self, file: cuse.File, data: memoryview) -> int:
        self.threads.add(threading.get_native_id())
        self.last = bytes(data)
        return len(data)

    async def read(self, file: cuse.File, size: int) -> bytes:
        self.threads.add(threading.get_native_id())
        return self.last[:size]


class WithIoctl(Echo):
    @cuse.ioctl(cuse.IO("p", 1))
    async def bump(self, file: cuse.File, arg: int) -> int:
        return 7


class WithPlainIoctl(Echo):
    @cuse.ioctl(cuse.IO("p", 1))
    def bump(self, file: cuse.File, arg: int) -> int:
        return 7


class HalfPlain(Echo):
    def read(self, file: cuse.File, size: int) -> bytes:  # type: ignore[override]
        return self.last[:size]


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def on_loop(coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, handler_loop()).result(30)


@pytest.mark.parametrize(
    ("device", "pumped"),
    [
        (Echo(), True),
        (WithIoctl("pumped"), True),
        (WithPlainIoctl("pumped"), False),
        (HalfPlain(), False),
        (cuse.Device("nothing"), False),
    ],
)
def test_only_a_device_that_never_blocks_is_served_by_the_loop(
    device: cuse.Device, pumped: bool
) -> None:
    assert can_pump(device) is pumped


def test_it_takes_no_thread_but_the_loops() -> None:
    on_loop(asyncio.sleep(0))
    device = WithIoctl("pumped")
    with testing.FakeKernel() as kernel:
        before = threads()
        with cuse.Channel(device, fd=kernel.server_fd):
            kernel.init()
            assert threads() == before
            file = kernel.open()
            assert file.write(b"abc") == 3
            assert file.read(10) == b"abc"
            assert file.ioctl(cuse.IO("p", 1)).result == 7
            file.close()
    assert len(device.threads) == 1


def test_many_devices_and_clients_share_the_loop() -> None:
    devices = [Echo(f"pumped{number}") for number in range(4)]

    def use(device: Echo) -> None:
        with testing.serve(device) as kernel:
            file = kernel.open()
            for turn in range(200):
                data = f"{device.name} {turn}".encode()
                assert file.write(data) == len(data)
                assert file.read(100) == data
            file.close()

    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(use, devices))
    assert len(set().union(*(device.threads for device in devices))) == 1


def test_a_device_that_is_opened_on_the_loop_has_threads() -> None:
    device = Echo()

    async def begin(kernel: testing.FakeKernel) -> cuse.Channel:
        channel = cuse.Channel(device, fd=kernel.server_fd)
        channel.start()
        kernel.init()
        channel.wait_ready()  # would wait for itself
        return channel

    with testing.FakeKernel() as kernel:
        channel = on_loop(begin(kernel))
        file = kernel.open()
        assert file.write(b"abc") == 3
        assert file.read(10) == b"abc"
        file.close()
        channel.close()


def test_what_has_come_is_taken_at_once_but_lets_others_have_their_turn() -> None:
    clients = 3 * AT_ONCE
    taken = [0]  # in each turn of the loop
    holds, go = threading.Event(), threading.Event()

    class Counts(Echo):
        async def write(self, file: cuse.File, data: memoryview) -> int:
            taken[-1] += 1
            return len(data)

    async def hold() -> None:
        holds.set()
        go.wait(60)  # blocks the loop
        while sum(taken) < clients:
            await asyncio.sleep(0)
            taken.append(0)

    with testing.FakeKernel() as kernel, ThreadPoolExecutor(clients) as pool:
        os.set_blocking(kernel.server_fd, False)  # as /dev/cuse is
        channel = cuse.Channel(Counts(), fd=kernel.server_fd)
        channel.start()
        kernel.init()
        channel.wait_ready()
        files = [kernel.open() for _ in range(clients)]
        held = asyncio.run_coroutine_threadsafe(hold(), handler_loop())
        assert holds.wait(60)
        answers = [pool.submit(file.write, b"x") for file in files]
        time.sleep(0.5)  # all have asked
        go.set()
        held.result(60)
        assert [answer.result(60) for answer in answers] == [1] * clients
        channel.close()
    assert 1 < max(taken) <= AT_ONCE


class Blocks(Echo):
    """Breaks the rule: its read blocks the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    async def read(self, file: cuse.File, size: int) -> bytes:
        self.go.wait(60)
        return b"late"


def test_a_handler_that_blocks_the_loop_does_not_block_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = Blocks()
    kernel = testing.FakeKernel()
    with kernel, ThreadPoolExecutor(1) as pool:
        channel = cuse.Channel(device, fd=kernel.server_fd)
        channel.start()
        kernel.init()
        channel.wait_ready()
        answer = pool.submit(kernel.open().read, 10)
        time.sleep(0.1)
        with caplog.at_level(logging.ERROR):
            channel.close(grace=0.2)
        with pytest.raises(OSError) as caught:
            answer.result(30)
        assert caught.value.errno in (errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN)
        assert "read() has not ended with the device" in caplog.text
        caplog.clear()
        device.go.set()
    # And the loop goes on.
    with testing.serve(Echo()) as kernel:
        assert kernel.open().write(b"x") == 1


def test_the_channel_that_is_cut_off_tells_its_owner() -> None:
    ended = threading.Event()
    kernel = testing.FakeKernel()
    channel = cuse.Channel(Echo(), fd=kernel.server_fd, on_end=ended.set)
    channel.start()
    kernel.init()
    channel.wait_ready()
    kernel.close()
    assert ended.wait(30)
    assert channel.ended
    channel.close()
