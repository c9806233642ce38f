"""cuse.run: what is async, in methods that are not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeKernel

Serve = Callable[..., FakeKernel]


class Mixed(cuse.Device):
    def __init__(self) -> None:
        super().__init__("mixed")
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def wait(self, file: cuse.File) -> bytes:
        self.begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def who(self, file: cuse.File) -> bytes:
        await asyncio.sleep(0)
        return f"{file.caller.uid} {threading.current_thread().name}".encode()

    def read(self, file: cuse.File, size: int) -> bytes:
        return cuse.run(self.who(file) if size > 1 else self.wait(file))

    async def fail(self) -> None:
        raise OSError(5, "async")

    def write(self, file: cuse.File, data: memoryview) -> None:
        cuse.run(self.fail())


def test_it_gives_what_the_coroutine_does_with_the_request_at_hand(cuse_device: Serve) -> None:
    kernel = cuse_device(Mixed())
    kernel.uid = 1234
    file = kernel.open()
    assert file.read(100) == b"1234 cuse-asyncio"
    with pytest.raises(OSError, match="Input/output error"):
        file.write(b"x")


def test_it_ends_when_the_client_is_interrupted(cuse_device: Serve) -> None:
    device = Mixed()
    kernel = cuse_device(device)
    call = kernel.start(kernel.open().read, 1)
    assert device.begun.wait(60)
    call.interrupt()
    with pytest.raises(InterruptedError):
        call.result()
    assert device.cancelled.wait(60)


def test_it_only_waits_elsewhere_and_not_on_the_loop_itself() -> None:
    async def inner() -> int:
        return 7

    async def outer() -> int:
        return cuse.run(inner())

    assert cuse.run(inner()) == 7
    with pytest.raises(RuntimeError, match="await instead"):
        cuse.run(outer())
