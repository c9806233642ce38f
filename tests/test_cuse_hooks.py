"""started() and stopped(): what a device does beside its requests."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import hooks, testing
from cuse_scullv.cuse.native import NativeChannel
from cuse_scullv.cuse.testing import FakeKernel


class Clock(cuse.Device):
    """Counts by itself, on a thread."""

    def __init__(self) -> None:
        super().__init__("clock")
        self.said: list[str] = []
        self.threads: list[threading.Thread] = []

    def started(self) -> None:
        self.said.append("started")
        self.threads.append(threading.current_thread())

    def stopped(self) -> None:
        self.said.append("stopped")
        self.threads.append(threading.current_thread())

    def read(self, file: cuse.File, size: int) -> bytes:
        self.said.append("read")
        return b""

    def release(self, file: cuse.File) -> None:
        self.said.append("release")


def test_started_comes_before_the_first_request_and_stopped_after_the_last_release() -> None:
    device = Clock()
    with testing.serve(device) as kernel:
        kernel.open().read(1)
    assert device.said == ["started", "read", "release", "stopped"]
    assert device.threads == [threading.current_thread()] * 2


def test_coroutines_run_on_the_loop_and_may_make_tasks() -> None:
    class Ticking(cuse.Device):
        async def started(self) -> None:
            self.ticks = 0
            self.loop = asyncio.get_running_loop()
            self.task = asyncio.create_task(self.tick())

        async def tick(self) -> None:
            while True:
                self.ticks += 1
                self.notify()
                await asyncio.sleep(0.001)

        async def stopped(self) -> None:
            self.task.cancel()
            await asyncio.wait([self.task])

        async def read(self, file: cuse.File, size: int) -> bytes:
            while self.ticks < 3:
                await asyncio.sleep(0.001)
            return b"three"

    device = Ticking("ticking")
    with FakeKernel() as kernel:
        with cuse.Channel(device, fd=kernel.server_fd) as channel:
            assert kernel.open().read(9) == b"three"
            assert channel.loop is device.loop
    assert device.task.cancelled()


def test_the_loop_can_be_had_before_the_start() -> None:
    channel = cuse.Channel(cuse.Device("early"))
    assert channel.loop.is_running()
    done = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "done"), channel.loop)
    assert done.result(60) == "done"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_started_raises_ends_the_start(kind: str) -> None:
    class Broken(cuse.Device):
        stops = 0

        def started(self) -> Any:
            if kind == "def":
                raise PermissionError(errno.EACCES, "no")
            return self.later()

        async def later(self) -> None:
            raise PermissionError(errno.EACCES, "no")

        def stopped(self) -> None:
            self.stops += 1

    device = Broken("broken")
    kernel = FakeKernel()
    with pytest.raises(PermissionError):
        cuse.Channel(device, fd=kernel.server_fd).start()
    assert device.stops == 0
    assert device._session is None  # may be served again
    kernel.close()


def test_a_started_that_hangs_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "STARTED_S", 0.02)

    async def started() -> None:
        await asyncio.sleep(3600)

    kernel = FakeKernel()
    with pytest.raises(cuse.DeviceError, match=r"not ended within 0\.02 s") as caught:
        cuse.Channel(cuse.Device("hangs", started=started), fd=kernel.server_fd).start()
    assert caught.value.errno == errno.ETIMEDOUT
    kernel.close()


def test_a_start_that_fails_later_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def fail(channel: NativeChannel) -> None:
        raise OSError(errno.EAGAIN, "no more threads")

    monkeypatch.setattr(NativeChannel, "begin", fail)
    device = cuse.Device(
        "late", started=lambda: said.append("started"), stopped=lambda: said.append("stopped")
    )
    channel = cuse.Channel(device, fd=FakeKernel().server_fd)
    with pytest.raises(cuse.DeviceError, match="no session for 'late': no more threads"):
        channel.start()
    assert said == ["started", "stopped"]


@pytest.mark.logs_errors
def test_a_fault_in_stopped_is_logged(cuse_log: list[logging.LogRecord]) -> None:
    with testing.serve(cuse.Device("faulty", stopped=lambda: 1 // 0)):
        pass
    assert [record.getMessage() for record in cuse_log] == ["faulty: stopped() raised"]


def test_a_channel_started_on_the_loop_does_not_wait_for_the_loop() -> None:
    begun = threading.Event()

    async def started() -> None:
        begun.set()

    kernel = FakeKernel()
    channel = cuse.Channel(cuse.Device("onloop", started=started), fd=kernel.server_fd)

    async def start() -> None:
        channel.start()

    asyncio.run_coroutine_threadsafe(start(), channel.loop).result(60)
    assert begun.wait(60)
    channel.close()
    kernel.close()


@pytest.mark.real
def test_hooks_are_called_around_a_real_node() -> None:
    device = Clock()
    with cuse.Channel(device), Path("/dev/clock").open("rb", 0) as file:
        assert file.read(1) == b""
    assert device.said[:2] == ["started", "read"]
    assert device.said[-1] == "stopped"
