"""The class spi: what clients of /dev/spidevB.C get, over the fake kernel and by the tools."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

import headers
from cuse_scullv import cuse
from cuse_scullv.classes import spi
from cuse_scullv.classes.spi_transfer import TRANSFER, Transfer
from cuse_scullv.cuse.testing import BAD, FakeFile, FakeKernel
from nodes import fails
from test_examples import load, run, running

Serve = Callable[..., FakeKernel]
SIZES = {"MODE": (1, 1), "LSB_FIRST": (2, 1), "BITS_PER_WORD": (3, 1), "MAX_SPEED_HZ": (4, 4),
         "MODE32": (5, 4)}  # fmt: skip
READS = {name: cuse.IOR("k", number, size) for name, (number, size) in SIZES.items()}
WRITES = {name: cuse.IOW("k", number, size) for name, (number, size) in SIZES.items()}


class Inverter(spi.Device):
    """Gives back what comes, every bit inverted, and notes what happens on the bus."""

    def __init__(self, bits: int = 8) -> None:
        super().__init__("spidev9.0")
        self.ones = (1 << bits) - 1
        self.seen: list[Any] = []

    def transfer(self, words: spi.Words) -> Any:
        self.seen.append(words)
        return [word ^ self.ones for word in words]

    def deselected(self) -> None:
        self.seen.append("deselected")


class Client:
    """A program with the device open, of either width."""

    def __init__(self, kernel: FakeKernel, compat: bool = False) -> None:
        self.file: FakeFile = kernel.open(os.O_RDWR)
        self.memory, self.compat = kernel.memory, compat

    def get(self, name: str) -> int:
        at = self.memory.alloc(8)
        self.file.ioctl(READS[name], at)
        return int.from_bytes(self.memory.read(at, READS[name].size), "little")

    def set(self, name: str, value: int) -> None:
        content = value.to_bytes(WRITES[name].size, "little")
        self.file.ioctl(WRITES[name], self.memory.alloc(content))

    def message(self, *transfers: dict[str, Any]) -> tuple[int, list[bytes]]:
        """What ioctl(2) returned, and what came in. Of each transfer: `tx` bytes, `rx` whether it
        is to be received, and other fields."""
        made = [self._transfer(**transfer) for transfer in transfers]
        table = b"".join(TRANSFER.pack(*transfer) for transfer in made)
        at = self.memory.alloc(table, compat=self.compat)
        command = spi.MESSAGE | len(table) << 16
        result = self.file.ioctl(command, at, compat=self.compat).result
        rubbish = 0xDEAD0000_00000000 if self.compat else 0
        return result, [self.memory.read(t.rx - rubbish, t.length) for t in made if t.rx]

    def _transfer(self, tx: bytes | None = None, rx: bool = False, **fields: int) -> Transfer:
        length = fields.pop("length", len(tx or b""))
        rubbish = 0xDEAD0000_00000000 if self.compat else 0  # in the upper half of a pointer
        put = self.memory.alloc
        return Transfer(
            tx=put(tx, compat=self.compat) + rubbish if tx is not None else 0,
            rx=put(length, compat=self.compat) + rubbish if rx else 0,
            length=length,
            **fields,
        )


# --- the header's numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("width", headers.WIDTHS)
def test_numbers_and_layouts_are_those_of_the_headers(width: str) -> None:
    several = "SPI_TX_DUAL|SPI_TX_QUAD|SPI_TX_OCTAL|SPI_RX_DUAL|SPI_RX_QUAD|SPI_RX_OCTAL"
    values = (
        {f"SPI_IOC_RD_{name}": int(command) for name, command in READS.items()}
        | {f"SPI_IOC_WR_{name}": int(command) for name, command in WRITES.items()}
        | {f"SPI_IOC_MESSAGE({n})": spi.MESSAGE | n * 32 << 16 for n in (0, 1, 3, 511)}
        | {
            "SPI_IOC_MESSAGE(512)": int(spi.MESSAGE),  # it has no room for the size
            "sizeof(struct spi_ioc_transfer)": TRANSFER.size,
            "offsetof(struct spi_ioc_transfer, cs_change)": 27,
            "SPI_CPHA": spi.CPHA,
            "SPI_LSB_FIRST": spi.LSB_FIRST,
            "SPI_3WIRE": spi.THREE_WIRE,
            "SPI_LOOP": spi.LOOP,
            "SPI_READY": spi.READY,
            several: spi.MANY_LINES,
        }
    )
    headers.check(["linux/spi/spidev.h"], values, width)
    assert set(spi.Device._ioctls) == {*READS.values(), *WRITES.values()}


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compat", [False, True], ids=["64-bit", "32-bit"])
def test_transfers_with_the_chip_selected_are_one(cuse_device: Serve, compat: bool) -> None:
    device = Inverter()
    client = Client(cuse_device(device), compat)
    got = client.message(
        {"tx": b"\x9f"}, {"rx": True, "length": 3}, {"tx": b"\1\2", "rx": True, "speed_hz": 5}
    )
    assert got == (6, [b"\xff\xff\xff", b"\xfe\xfd"])
    assert device.seen == [b"\x9f\0\0\0\1\2", "deselected"]


def test_cs_change_ends_a_selection_or_keeps_the_last(cuse_device: Serve) -> None:
    device = Inverter()
    client = Client(cuse_device(device))
    client.message({"tx": b"a"}, {"tx": b"b", "cs_change": 1}, {"tx": b"c", "cs_change": 1})
    assert device.seen == [b"ab", "deselected", b"c"]
    client.message({"tx": b"d"})
    assert device.seen[3:] == [b"d", "deselected"]


def test_a_transfer_that_fails_ends_the_selection(cuse_device: Serve) -> None:
    class Broken(Inverter):
        def transfer(self, words: spi.Words) -> Any:
            raise OSError(errno.EIO, "no clock")

    device = Broken()
    client = Client(cuse_device(device))
    with fails(errno.EIO):
        client.message({"tx": b"a", "cs_change": 1}, {"tx": b"b", "cs_change": 1})
    assert device.seen == ["deselected"]


def test_plain_reads_and_writes(cuse_device: Serve) -> None:
    device = Inverter()
    client = Client(cuse_device(device))
    assert client.file.write(b"abc") == 3
    assert client.file.read(4096) == b"\xff" * 4096
    for call in (lambda: client.file.read(4097), lambda: client.file.write(bytes(4097))):
        with fails(errno.EMSGSIZE):
            call()
    assert device.seen == [b"abc", "deselected", bytes(4096), "deselected"]


@pytest.mark.parametrize(
    ("bits", "sent", "words", "got"),
    [
        (7, b"\xff\x01", b"\x7f\x01", b"\x00\x7e"),
        (12, b"\xff\xff\x01\x00", (0xFFF, 1), b"\x00\x00\xfe\x0f"),
        (16, b"\x34\x12", (0x1234,), b"\xcb\xed"),
        (32, b"\x01\0\0\0", (1,), b"\xfe\xff\xff\xff"),
    ],
)
def test_words_of_other_widths(
    cuse_device: Serve, bits: int, sent: bytes, words: spi.Words, got: bytes
) -> None:
    device = Inverter(bits)
    client = Client(cuse_device(device))
    assert client.message({"tx": sent, "rx": True, "bits": bits}) == (len(sent), [got])
    client.set("BITS_PER_WORD", bits)
    assert client.message({"tx": sent, "rx": True}) == (len(sent), [got])
    assert device.seen[::2] == [words, words]


def test_words_of_several_widths_in_one_selection(cuse_device: Serve) -> None:
    device = Inverter(8)
    client = Client(cuse_device(device))
    got = client.message({"tx": b"\1"}, {"tx": b"\2\0", "rx": True, "bits": 16})
    assert got == (3, [b"\xfd\0"])
    assert device.seen[0] == (1, 2)


def test_nothing_to_clock(cuse_device: Serve) -> None:
    device = Inverter()
    client = Client(cuse_device(device))
    assert client.message() == (0, [])
    assert client.message({"length": 0, "delay_us": 5}) == (0, [])
    assert client.message({"length": 1 << 30}) == (1 << 30, [])  # no buffers: a delay
    assert device.seen == ["deselected", "deselected"]


@pytest.mark.parametrize(
    ("code", "transfers"),
    [
        (errno.EMSGSIZE, [{"tx": bytes(4000)}, {"tx": bytes(97)}]),
        (errno.EMSGSIZE, [{"rx": True, "length": 4097}]),
        (errno.EMSGSIZE, [{"length": 1 << 31}]),
        (errno.EMSGSIZE, [{"tx": b"x", "rx": True}] * 128),
        (errno.EINVAL, [{"tx": b"abc", "bits": 16}]),
        (errno.EINVAL, [{"tx": b"abcd", "bits": 33}]),
        (errno.EINVAL, [{"tx": b"ab", "tx_lines": 2}]),
        (errno.EINVAL, [{"length": 2, "rx": True, "rx_lines": 4}]),
    ],
)
def test_messages_that_cannot_be(
    cuse_device: Serve, code: int, transfers: list[dict[str, Any]]
) -> None:
    device = Inverter()
    client = Client(cuse_device(device))
    with fails(code):
        client.message(*transfers)
    assert device.seen == []
    # As many as fit, and as long.
    assert client.message(*[{"tx": b"x"}] * 127, *[{"rx": True, "length": 8}] * 128)[0] == 1151
    assert client.message({"tx": bytes(4096), "rx": True})[0] == 4096


def test_commands_that_cannot_be(cuse_device: Serve) -> None:
    client = Client(cuse_device(Inverter()))
    at = client.memory.alloc(64)
    for command, code in (
        (spi.MESSAGE | 33 << 16, errno.EINVAL),
        (spi.MESSAGE | 32 << 16 | 6, errno.ENOTTY),
        (0x5401, errno.ENOTTY),
        (cuse.IOR("k", 0, 32), errno.ENOTTY),
    ):
        with fails(code):
            client.file.ioctl(command, at)
    with fails(errno.EFAULT):
        client.file.ioctl(spi.MESSAGE | 32 << 16, BAD)


# --- settings -----------------------------------------------------------------------------------


def test_settings_are_the_devices_and_are_checked(cuse_device: Serve) -> None:
    device = Inverter()
    kernel = cuse_device(device)
    client, other = Client(kernel), Client(kernel)
    names = ("MODE", "MODE32", "LSB_FIRST", "BITS_PER_WORD", "MAX_SPEED_HZ")
    assert [client.get(name) for name in names] == [0, 0, 0, 8, 1_000_000]
    client.set("MODE", spi.CPHA | spi.CPOL)
    client.set("LSB_FIRST", 7)
    client.set("BITS_PER_WORD", 12)
    client.set("MAX_SPEED_HZ", 5)
    assert [other.get(name) for name in names] == [11, 11, 1, 12, 5]
    for name, value in (
        ("MODE", spi.NO_CS),
        ("MODE32", 1 << 17),
        ("MODE32", spi.THREE_WIRE | 1 << 8),
        ("BITS_PER_WORD", 33),
        ("MAX_SPEED_HZ", 0),
    ):
        with fails(errno.EINVAL):
            other.set(name, value)
    assert [other.get(name) for name in names] == [11, 11, 1, 12, 5]
    client.set("MODE32", 1 << 8 | spi.CPOL)  # SPI_TX_DUAL: there is one line
    client.set("LSB_FIRST", 0)
    client.set("BITS_PER_WORD", 0)
    assert [other.get(name) for name in names] == [2, 2, 0, 8, 5]
    client.file.close()
    assert other.get("MAX_SPEED_HZ") == 5
    other.file.close()
    assert Client(kernel).get("MAX_SPEED_HZ") == 1_000_000  # the last one has closed it


def test_three_wires_and_the_loop(cuse_device: Serve) -> None:
    device = Inverter()
    client = Client(cuse_device(device))
    client.set("MODE", spi.LOOP)
    assert client.message({"tx": b"abc", "rx": True}) == (3, [b"abc"])
    client.set("MODE", spi.THREE_WIRE)
    with fails(errno.EINVAL):
        client.message({"tx": b"abc", "rx": True})
    assert client.message({"tx": b"a"}, {"rx": True, "length": 1}) == (2, [b"\xff"])
    assert device.seen == ["deselected", b"a\0", "deselected"]


class Careful(spi.Device):
    """All that a device may define, as coroutines."""

    settings = spi.Settings(mode=spi.CPOL, max_speed_hz=100)

    async def transfer(self, words: spi.Words) -> bytes:
        await asyncio.sleep(0.001)
        return bytes(reversed(words))

    async def deselected(self) -> None:
        await asyncio.sleep(0)

    async def setup(self, settings: spi.Settings) -> None:
        await asyncio.sleep(0)
        if settings.max_speed_hz > 100:
            raise OSError(errno.EINVAL, "too fast")


def test_coroutines_and_a_refused_setup(cuse_device: Serve) -> None:
    device = Careful("spidev9.0")
    client = Client(cuse_device(device))
    assert client.message({"tx": b"abc", "rx": True}) == (3, [b"cba"])
    assert client.file.read(2) == b"\0\0"
    assert client.file.write(b"ab") == 2
    with fails(errno.EINVAL):
        client.set("MAX_SPEED_HZ", 101)
    client.set("MAX_SPEED_HZ", 99)
    assert device.settings == dataclasses.replace(Careful.settings, max_speed_hz=99)


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"ab", "transfer() is to give as many words as it gets, 3"),
        (7, "transfer() is to give as many words as it gets, 3"),
        ([1, 2, 256], "transfer() gave what are no words of 8 bits"),
        ([1, 2, "3"], "transfer() gave what are no words of 8 bits"),
    ],
)
def test_what_is_no_answer_is_eio_and_said(
    cuse_device: Serve, cuse_log: list[Any], answer: Any, said: str
) -> None:
    class Wrong(spi.Device):
        def transfer(self, words: spi.Words) -> Any:
            return answer

    client = Client(cuse_device(Wrong("spidev9.0")))
    with fails(errno.EIO):
        client.file.read(3)
    assert said == str(cuse_log[-1].exc_info[1])


def test_a_device_that_only_listens(cuse_device: Serve) -> None:
    class Display(spi.Device):
        def transfer(self, words: spi.Words) -> None:
            pass

    assert Client(cuse_device(Display("spidev9.0"))).file.read(3) == b"\0\0\0"


def test_a_class_without_transfer_is_said_when_it_is_made() -> None:
    class Bare(spi.Device):
        pass

    with pytest.raises(TypeError, match=r"^Bare has no transfer\(\): define `def transfer\("):
        Bare("spidev9.0")


# --- the example, and tools ---------------------------------------------------------------------


def test_flash(cuse_device: Serve) -> None:
    client = Client(cuse_device(load("spi_flash").Flash("spidev9.0")))
    client.file.write(b"\x02\0\0\0lost")  # not enabled
    for command in (b"\x06", b"\x02\0\x01\xfeabcd"):  # the page's end: it wraps
        client.file.write(command)
    assert client.message({"tx": b"\x03\0\1\xfd"}, {"rx": True, "length": 4})[1] == [b"\xffab\xff"]
    assert client.message({"tx": b"\x03\0\1\0"}, {"rx": True, "length": 2})[1] == [b"cd"]
    assert client.message({"tx": b"\x9f\0\0\0", "rx": True})[1] == [b"\0\xef\x40\x10"]
    client.file.write(b"\x06")
    assert client.message({"tx": b"\x05\0", "rx": True})[1] == [b"\0\2"]
    client.file.write(b"\xc7")
    assert client.message({"tx": b"\x03\0\1\0"}, {"rx": True, "length": 2})[1] == [b"\xff\xff"]


@pytest.mark.real
def test_spi_tools_and_spidev() -> None:
    import spidev

    node = "/dev/spidev9.0"
    with running("spi_flash", name="spidev9.0"):
        settings = b": mode=0, lsb=0, bits=8, speed=1000000, spiready=0\n"
        assert run("spi-config", "-d", node, "-q") == node.encode() + settings
        pipe = ["spi-pipe", "-d", node, "-b", "4", "-n", "1"]
        assert run(*pipe, stdin=b"\x9f\0\0\0") == b"\0\xef\x40\x10"
        with contextlib.closing(spidev.SpiDev()) as bus:
            bus.open(9, 0)
            bus.mode, bus.max_speed_hz, bus.lsbfirst = 3, 500_000, True
            assert (bus.mode, bus.max_speed_hz, bus.lsbfirst) == (3, 500_000, True)
            assert bus.xfer2([0x9F, 0, 0, 0]) == [0, 0xEF, 0x40, 0x10]
            assert bus.xfer([0x9F, 0, 0, 0]) == [0, 0xEF, 0x40, 0x10]
            bus.writebytes([0x06])
            bus.writebytes2(bytes([0x02, 0, 1, 0]) + b"hello")
            assert bytes(bus.xfer3([0x03, 0, 1, 0] + [0] * 4000)[4:9]) == b"hello"
            with fails(errno.EINVAL):
                bus.no_cs = True
