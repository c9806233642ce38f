"""Messages whose sizes lie: they are refused, once each, and the device serves on."""

from __future__ import annotations

import errno
import logging
import os
import struct
import time

import pytest

from cuse_scullv import cuse
from cuse_scullv.backing import Backing, Ground
from cuse_scullv.cuse.testing import MAX_REQUEST, FakeKernel, serve
from cuse_scullv.device import ScullDevice, Shared
from cuse_scullv.params import Params

OPEN, READ, WRITE, RELEASE, IOCTL, POLL, BATCH_FORGET, LOOKUP = 14, 15, 16, 18, 39, 40, 42, 1
IN_HEADER = struct.Struct("=IIQQIIIHH")
WRITE_IN = struct.Struct("=QQIIQII")
IOCTL_IN = struct.Struct("=QIIQII")

LIES = {
    "a write that has more than came": (WRITE, WRITE_IN.pack(0, 0, 100_000, 0, 0, 0, 0) + b"few"),
    "a write that has less than came": (WRITE, WRITE_IN.pack(0, 0, 1, 0, 0, 0, 0) + b"more"),
    "an ioctl that copies in what is not there": (IOCTL, IOCTL_IN.pack(0, 0, 1, 0, 1 << 20, 4)),
    "a read without its arguments": (READ, b""),
    "a release that is cut": (RELEASE, bytes(23)),
    "a poll that is cut": (POLL, bytes(8)),
    "an open that is cut": (OPEN, bytes(7)),
}
FOREIGN = {"names to forget": (BATCH_FORGET, b"\xff" * 8), "a name": (LOOKUP, b"x" * 50)}


class Echo(cuse.Device):
    def read(self, file: cuse.File, size: int) -> bytes:
        return b"echo"


@pytest.fixture(params=["foreign", "data path"])
def kernel(request: pytest.FixtureRequest) -> FakeKernel:
    device = Echo("echo")
    if request.param == "data path":
        device = ScullDevice("echo", Shared(Params(), Ground(Backing(), 1, 1 << 20)))
    with serve(device) as running:
        yield running


def answer(kernel: FakeKernel, opcode: int, body: bytes) -> int:
    """The errno that a message gets."""
    request = kernel._send(opcode, body, 0, 0)
    with pytest.raises(OSError) as caught:
        kernel._await(request)
    return caught.value.errno or 0


@pytest.mark.fake
@pytest.mark.parametrize("lie", LIES)
def test_a_message_that_lies_is_refused_and_the_device_serves_on(
    kernel: FakeKernel, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert answer(kernel, *LIES[lie]) == errno.EPROTO
        with kernel.open(os.O_RDONLY) as file:
            assert file.read(4) in (b"echo", b"")
    # It is said on a thread of the channel's, which the client does not wait for.
    deadline = time.monotonic() + 10
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "refused a message" in caplog.text
    caplog.clear()


@pytest.mark.fake
@pytest.mark.parametrize("message", FOREIGN)
def test_what_no_cuse_sends_is_not_known(kernel: FakeKernel, message: str) -> None:
    opcode, body = FOREIGN[message]
    if opcode == BATCH_FORGET:
        kernel._send(opcode, body, 0, 0)  # nobody waits for an answer
    else:
        assert answer(kernel, opcode, body) == errno.ENOSYS
    with kernel.open(os.O_RDONLY) as file:
        assert file.read(4) in (b"echo", b"")


@pytest.mark.fake
def test_a_message_without_a_number_is_not_answered(kernel: FakeKernel) -> None:
    with kernel.open(os.O_RDONLY) as file:
        body = WRITE_IN.pack(file._fh, 0, 4, 0, 0, 0, 0)
        kernel._transmit(IN_HEADER.pack(40 + len(body), READ, 0, 0, 0, 0, 0, 0, 0) + body)
        assert file.read(4) in (b"echo", b"")


@pytest.mark.fake
def test_no_handler_is_asked_for_more_than_a_kernel_asks_for() -> None:
    asked: list[int] = []

    def read(file: cuse.File, size: int) -> bytes:
        asked.append(size)
        return b""

    with serve(cuse.Device("asked", read=read)) as kernel, kernel.open(os.O_RDONLY) as file:
        body = WRITE_IN.pack(file._fh, 0, 0xFFFFFFFF, 0, 0, 0, 0)
        kernel._await(kernel._send(READ, body, 0, 0))
    assert asked == [MAX_REQUEST]


@pytest.mark.fake
@pytest.mark.parametrize("size", [1, 16, 39])
def test_a_message_without_a_whole_header_is_passed_over(kernel: FakeKernel, size: int) -> None:
    kernel._transmit(bytes(size))
    with kernel.open(os.O_RDONLY) as file:
        assert file.read(4) in (b"echo", b"")
