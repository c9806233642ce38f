"""The class hidraw: what clients of /dev/hidrawN get, over the fake kernel and by hid-tools, hidapi
and umockdev."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headers
from cuse_scullv import cuse
from cuse_scullv.classes import hid_descriptor, hidraw
from cuse_scullv.cuse.testing import BAD, FakeFile, FakeKernel
from nodes import fails
from test_examples import load, running
from umockdev import run_described

Serve = Callable[..., FakeKernel]
NUMBERED = bytes.fromhex("0600ff0901a10115002501750895018501090281020902910285022564 0903b102c0")
PLAIN = bytes.fromhex("0600ff0901a1010902150025017508950181 02c0")
IN_OUT = select.POLLIN | select.POLLOUT


class Gadget(hidraw.Device):
    """Keeps what it gets, and gives it back."""

    descriptor = NUMBERED
    bus, vendor, product = hidraw.BUS_BLUETOOTH, 0xFFFE, 0x8001
    title, phys, uniq = "Gädget", "desk/input0", ""

    def __init__(self, name: str = "hidraw9") -> None:
        super().__init__(name)
        self.kept: dict[tuple[str, int], bytes] = {}

    def output(self, number: int, data: bytes) -> None:
        self.kept["output", number] = data

    def get_output(self, number: int) -> bytes:
        return self.kept["output", number]

    def set_feature(self, number: int, data: bytes) -> None:
        self.kept["feature", number] = data

    def get_feature(self, number: int) -> bytes:
        return self.kept["feature", number]

    def set_input(self, number: int, data: bytes) -> None:
        self.send_input(data, number)


class AsyncGadget(Gadget):
    async def output(self, number: int, data: bytes) -> None:
        await asyncio.sleep(0.001)
        super().output(number, data)

    async def get_feature(self, number: int) -> bytes:
        await asyncio.sleep(0.001)
        return super().get_feature(number)


def sized(command: int, size: int) -> int:
    return command | size << 16


def call(file: FakeFile, command: int, content: bytes, compat: bool = False) -> tuple[int, bytes]:
    """What a command with a length returned, and what its buffer is then."""
    memory = file.kernel.memory
    at = memory.alloc(content, compat=compat)
    result = file.ioctl(sized(command, len(content)), at, compat=compat).result
    return result, memory.read(at, len(content))


# --- the header's numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("width", headers.WIDTHS)
def test_numbers_and_layouts_are_those_of_the_headers(width: str) -> None:
    lengths = {
        "GRAWNAME": hidraw.RAWNAME, "GRAWPHYS": hidraw.RAWPHYS, "GRAWUNIQ": hidraw.RAWUNIQ,
        "SFEATURE": hidraw.SFEATURE, "GFEATURE": hidraw.GFEATURE, "SINPUT": hidraw.SINPUT,
        "GINPUT": hidraw.GINPUT, "SOUTPUT": hidraw.SOUTPUT, "GOUTPUT": hidraw.GOUTPUT,
    }  # fmt: skip
    values = {f"HIDIOC{name}(77)": sized(to, 77) for name, to in lengths.items()} | {
        "HIDIOCGRDESCSIZE": int(hidraw.RDESC_SIZE),
        "HIDIOCGRDESC": int(hidraw.RDESC),
        "HIDIOCGRAWINFO": int(hidraw.RAWINFO),
        "_IOW('H', 0x0D, int)": int(hidraw.REVOKE),  # HIDIOCREVOKE, since Linux 6.12
        "sizeof(struct hidraw_devinfo)": hidraw.DEVINFO.size,
        "HID_MAX_DESCRIPTOR_SIZE": hid_descriptor.DESCRIPTOR_MAX,
        "BUS_USB": hidraw.BUS_USB,
        "BUS_BLUETOOTH": hidraw.BUS_BLUETOOTH,
        "BUS_VIRTUAL": hidraw.BUS_VIRTUAL,
        "BUS_I2C": hidraw.BUS_I2C,
    }
    headers.check(["linux/input.h", "linux/hidraw.h"], values, width)


# --- what the device is -------------------------------------------------------------------------


def test_what_the_device_is(cuse_device: Serve) -> None:
    kernel = cuse_device(Gadget())
    file, memory = kernel.open(), kernel.memory
    assert call(file, hidraw.RDESC_SIZE & ~(0x3FFF << 16), bytes(4))[1] == bytes(
        [len(NUMBERED), 0, 0, 0]
    )
    at = memory.alloc(hidraw.RDESC.size)
    for wanted in (len(NUMBERED), 5, 4095):
        memory.write(at, wanted.to_bytes(4, "little") + b"\xee" * 4096)
        assert file.ioctl(hidraw.RDESC, at).result == 0
        part = NUMBERED[:wanted]
        assert memory.read(at + 4, 4096) == part.ljust(4096, b"\xee")
    memory.write(at, (4096).to_bytes(4, "little"))
    with fails(errno.EINVAL):
        file.ioctl(hidraw.RDESC, at)
    assert call(file, hidraw.RAWINFO & ~(0x3FFF << 16), bytes(8))[1] == b"\5\0\0\0\xfe\xff\1\x80"
    assert call(file, hidraw.RAWNAME, bytes(64)) == (8, "Gädget".encode().ljust(64, b"\0"))
    assert call(file, hidraw.RAWPHYS, bytes(4)) == (4, b"desk")
    assert call(file, hidraw.RAWUNIQ, b"\xee\xee") == (1, b"\0\xee")


def test_commands_that_cannot_be(cuse_device: Serve) -> None:
    file = cuse_device(Gadget()).open()
    for command, code in (
        (0x5401, errno.EINVAL),  # TCGETS, as of isatty()
        (cuse.IO("H", 0x7F), errno.ENOTTY),
        (sized(hidraw.GFEATURE, 1), errno.EINVAL),
        (sized(hidraw.SOUTPUT, 1), errno.EINVAL),
    ):
        with fails(code):
            file.ioctl(command, file.kernel.memory.alloc(16))
    for command in (hidraw.RDESC, hidraw.RAWINFO, sized(hidraw.RAWNAME, 9),
                    sized(hidraw.GFEATURE, 9), sized(hidraw.SFEATURE, 9)):  # fmt: skip
        with fails(errno.EFAULT):
            file.ioctl(command, BAD)


# --- reports ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Gadget, AsyncGadget])
@pytest.mark.parametrize("compat", [False, True], ids=["64-bit", "32-bit"])
def test_reports_both_ways(cuse_device: Serve, kind: type[Gadget], compat: bool) -> None:
    device = kind()
    file = cuse_device(device).open(os.O_RDWR | os.O_NONBLOCK)
    assert file.write(b"\1abc") == 4
    assert device.kept["output", 1] == b"abc"
    assert call(file, hidraw.SOUTPUT, b"\1xyz", compat) == (4, b"\1xyz")
    assert call(file, hidraw.GOUTPUT, b"\1" + b"\xee" * 7, compat) == (4, b"\1xyz\xee\xee\xee\xee")
    assert call(file, hidraw.SFEATURE, b"\2pq", compat)[0] == 3
    assert call(file, hidraw.GFEATURE, b"\2\0", compat) == (2, b"\2p")
    with fails(errno.EPIPE):
        call(file, hidraw.GINPUT, b"\1" + bytes(9), compat)  # none was sent
    assert call(file, hidraw.SINPUT, b"\1in", compat)[0] == 3
    assert file.read(64) == b"\1in"
    assert call(file, hidraw.GINPUT, b"\1" + bytes(4), compat) == (3, b"\1in\0\0")


def test_what_a_device_does_not_have_is_a_stall(cuse_device: Serve) -> None:
    class Plain(hidraw.Device):
        descriptor = PLAIN

    file = cuse_device(Plain("hidraw9")).open()
    with fails(errno.EPIPE):
        file.write(b"\0x")
    for command in (hidraw.SOUTPUT, hidraw.GOUTPUT, hidraw.SINPUT, hidraw.GINPUT,
                    hidraw.SFEATURE, hidraw.GFEATURE):  # fmt: skip
        with fails(errno.EPIPE):
            call(file, command, bytes(9))
    for size in (1, 16385):
        with fails(errno.EINVAL):
            file.write(bytes(size))


def test_each_reader_has_its_own_ring(cuse_device: Serve) -> None:
    class Plain(hidraw.Device):
        descriptor = PLAIN

    device = Plain("hidraw9")
    kernel = cuse_device(device)
    one = kernel.open(os.O_RDONLY | os.O_NONBLOCK)
    device.send_input(b"early")
    other = kernel.open(os.O_RDONLY | os.O_NONBLOCK)
    assert (one.poll(IN_OUT), other.poll(IN_OUT)) == (IN_OUT, select.POLLOUT)
    assert one.read(64) == b"early"
    with pytest.raises(BlockingIOError):
        other.read(64)
    for number in range(70):
        device.send_input(bytes([number]))
    assert [one.read(64)[0] for _ in range(63)] == list(range(63))  # later ones were lost
    with pytest.raises(BlockingIOError):
        one.read(64)
    assert other.read(64) == b"\0"
    device.send_input(b"long")
    assert one.read(2) == b"lo"  # the rest of the report is lost
    assert one.poll(IN_OUT) == select.POLLOUT


def test_readers_wait_and_are_woken(cuse_device: Serve) -> None:
    device = Gadget()
    kernel = cuse_device(device)
    readers = [kernel.start(kernel.open(os.O_RDONLY).read, 64) for _ in range(3)]
    poller = kernel.open(os.O_RDONLY)
    polling = kernel.start(poller.poll, select.POLLIN, 60)
    readers[2].interrupt()
    with pytest.raises(InterruptedError):
        readers[2].result()
    device.send_input(b"x", 1)
    assert [reader.result() for reader in readers[:2]] == [b"\1x", b"\1x"]
    assert polling.result() == select.POLLIN


def test_a_file_that_was_revoked(cuse_device: Serve) -> None:
    device = Gadget()
    kernel = cuse_device(device)
    file, other = kernel.open(), kernel.open()
    blocked = kernel.start(file.read, 64)
    with fails(errno.EINVAL):
        file.ioctl(hidraw.REVOKE, 1)
    file.ioctl(hidraw.REVOKE, 0)
    with fails(errno.ENODEV):
        blocked.result()
    device.send_input(b"x", 1)
    for use in (lambda: file.read(9), lambda: file.write(b"\1x"),
                lambda: file.ioctl(hidraw.REVOKE, 0)):  # fmt: skip
        with fails(errno.ENODEV):
            use()
    assert file.poll(IN_OUT) == select.POLLERR | select.POLLHUP
    assert other.read(9) == b"\1x"
    file.close()
    device.send_input(b"y", 1)
    assert other.read(9) == b"\1y"


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Bad.descriptor is no report descriptor: it has 0 bytes, not 1 to 4096"),
        ({"descriptor": bytes(4097)}, "it has 4097 bytes, not 1 to 4096"),
        ({"descriptor": PLAIN + b"\x85"}, "it ends in the item that begins at byte 20"),
        ({"descriptor": b"\xfe\x05\x00abc"}, "it ends in the item that begins at byte 0"),
        ({"descriptor": b"\xfe"}, "it ends in the item that begins at byte 0"),
        ({"descriptor": PLAIN, "vendor": 0x10000}, "are to be ints of 32, 16 and 16 bits"),
    ],
)
def test_mistakes_are_said_when_a_device_is_made(body: dict[str, Any], said: str) -> None:
    kind = type("Bad", (hidraw.Device,), body)
    with pytest.raises(cuse.DeviceError, match=re.escape(said)) as caught:
        kind("hidraw9")
    assert caught.value.errno == errno.EINVAL


def test_a_method_that_would_hide_a_part_of_the_class_is_said() -> None:
    class Hider(hidraw.Device):
        descriptor = PLAIN

        def _text(self) -> None: ...

    with pytest.raises(
        TypeError, match=r"^Hider\._text would hide a part of its base Device: call"
    ):
        Hider("hidraw9")


def test_reports_that_cannot_be_sent() -> None:
    class Plain(hidraw.Device):
        descriptor = PLAIN + b"\xfe\x01\x00x"  # a long item is passed over

    with pytest.raises(ValueError, match="no report 1: the descriptor has 0, as they are not"):
        Plain("hidraw9").send_input(b"x", 1)
    with pytest.raises(ValueError, match="no report 0: the descriptor has 1, 2"):
        Gadget().send_input(b"x")
    for data in (b"", bytes(16384)):
        with pytest.raises(ValueError, match="a report has 1 to 16384 bytes"):
            Gadget().send_input(data, 1)


@pytest.mark.logs_errors
def test_a_feature_that_is_no_bytes_is_said(cuse_device: Serve, cuse_log: list[Any]) -> None:
    class Wrong(hidraw.Device):
        descriptor = PLAIN

        def get_feature(self, number: int) -> Any:
            return 7

    with fails(errno.EIO):
        call(cuse_device(Wrong("hidraw9")).open(), hidraw.GFEATURE, bytes(4))
    assert str(cuse_log[-1].exc_info[1]) == "get_feature() is to return bytes, not int"


# --- the example, and tools ---------------------------------------------------------------------


def test_lamp(cuse_device: Serve) -> None:
    file = cuse_device(load("hid_lamp").Lamp("hidraw9")).open()
    file.write(b"\1\1")
    assert file.read(64) == b"\1\1"
    assert call(file, hidraw.GFEATURE, b"\2\0") == (2, b"\2\x64")
    assert call(file, hidraw.SFEATURE, b"\2\x28")[0] == 2
    assert call(file, hidraw.GFEATURE, b"\2\0") == (2, b"\2\x28")
    for bad in (b"\2\x65", b"\3\1"):
        with fails(errno.EPIPE):
            call(file, hidraw.SFEATURE, bad)
    with fails(errno.EPIPE):
        call(file, hidraw.GFEATURE, b"\1\0")


@pytest.mark.real
def test_hidapi_and_hid_tools(tmp_path: Path) -> None:
    import hidraw as hidapi  # the back end of that name, of PyPI's hidapi

    node = "/dev/hidraw9"
    with running("hid_lamp", name="hidraw9"):
        device = hidapi.device()
        device.open_path(node.encode())
        assert device.write([1, 1]) == 2
        assert device.read(64, 60_000) == [1, 1]
        assert device.read(64, 1) == []
        assert device.send_feature_report([2, 40]) == 2
        assert device.get_feature_report(2, 10) == [2, 40]
        assert bytes(device.get_report_descriptor()) == load("hid_lamp").DESCRIPTOR
        with subprocess.Popen(["hid-recorder", node], stdout=subprocess.PIPE) as recorder:
            assert recorder.stdout is not None
            said = b""
            while b"I: 3 1209 0001\n" not in said:
                said += recorder.stdout.readline()
            device.write([1, 0])
            while not re.search(rb"\nE: \S+ 2 01 00\n", said):
                said += recorder.stdout.readline()
            recorder.terminate()
        assert b"N: Example Lamp\n" in said
        device.close()
        program = "import hidraw; d = hidraw.device(); d.open(0x1209, 1); print(d.write([1, 1]))"
        assert run_described("hidraw.md", tmp_path, sys.executable, "-c", program) == b"2\n"
