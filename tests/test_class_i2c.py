"""The class i2c: what clients of /dev/i2c-N get, over the fake kernel and by the world's tools."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import headers
from cuse_scullv import cuse
from cuse_scullv.classes import i2c, i2c_message, smbus
from cuse_scullv.classes.i2c import NackError, Read, Write
from cuse_scullv.cuse.testing import BAD, FakeFile, FakeKernel
from nodes import fails
from test_examples import load, run, running
from umockdev import run_described

Serve = Callable[..., FakeKernel]
CHIP = 0x2C
RD, TEN, RECV_LEN = i2c_message.M_RD, i2c_message.M_TEN, i2c_message.M_RECV_LEN


class Recorder(i2c.Adapter):
    """Notes what is on its bus, and answers as it was told to."""

    def __init__(self, *answers: Any) -> None:
        super().__init__("i2c-9")
        self.answers = list(answers)
        self.seen: list[i2c.Message] = []

    def transfer(self, address: int, messages: Sequence[i2c.Message]) -> Any:
        assert address == messages[0].address
        self.seen += messages
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


class Client:
    """A program with the adapter open, of either width."""

    def __init__(self, kernel: FakeKernel, compat: bool = False) -> None:
        self.file: FakeFile = kernel.open(os.O_RDWR)
        self.memory, self.compat = kernel.memory, compat

    def put(self, content: bytes | int) -> int:
        return self.memory.alloc(content, compat=self.compat)

    def ioctl(self, command: int, argument: int) -> int:
        return self.file.ioctl(command, argument, compat=self.compat).result

    def smbus(self, kind: int, reads: bool, command: int = 0, data: bytes = b"") -> bytes:
        """What the data are afterwards, 34 bytes."""
        at = self.put(data.ljust(34, b"\xee"))
        head = struct.pack("=BB2xII" if self.compat else "=BB2xIQ", reads, command, kind, at)
        assert self.ioctl(i2c.I2C_SMBUS, self.put(head)) == 0
        return self.memory.read(at, 34)

    def rdwr(self, *messages: tuple[int, int, int | bytes]) -> list[bytes]:
        """What the buffers of (address, flags, content or size) are afterwards."""
        areas = [(self.put(content), len(bytes(content))) for _, _, content in messages]
        layout = i2c_message.LAYOUT[self.compat]
        table = b"".join(
            layout.pack(address, flags, size, at)
            for (address, flags, _), (at, size) in zip(messages, areas, strict=True)
        )
        head = struct.pack("=II" if self.compat else "=QI4x", self.put(table), len(messages))
        assert self.ioctl(i2c.I2C_RDWR, self.put(head)) == len(messages)
        return [self.memory.read(at, size) for at, size in areas]


WIDTHS = pytest.mark.parametrize("compat", [False, True], ids=["64-bit", "32-bit"])


# --- the header's numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("width", headers.WIDTHS)
def test_numbers_and_layouts_are_those_of_the_headers(width: str) -> None:
    compat = width == "-m32"
    commands = {name: value for name, value in vars(i2c).items() if name.startswith("I2C_")}
    kinds = {
        f"I2C_SMBUS_{name}": value
        for name, value in vars(smbus).items()
        if value in range(9) and name != "M_RD"
    }
    assert (len(commands), len(kinds)) == (9, 9)
    values = (
        commands
        | kinds
        | {
            "I2C_RDWR_IOCTL_MAX_MSGS": i2c.RDWR_MAX,
            "sizeof(struct i2c_rdwr_ioctl_data)": i2c._RDWR[compat].size,
            "sizeof(struct i2c_smbus_ioctl_data)": i2c._SMBUS[compat].size,
            "offsetof(struct i2c_smbus_ioctl_data, data)": 8,
            "I2C_FUNC_I2C": i2c.FUNC_I2C,
            "I2C_FUNC_SMBUS_EMUL_ALL": i2c.FUNC_SMBUS_EMUL_ALL,
            "I2C_FUNC_10BIT_ADDR": i2c.FUNC_10BIT_ADDR,
            "I2C_SMBUS_BLOCK_MAX": i2c_message.BLOCK_MAX,
            "I2C_M_RD": RD,
            "I2C_M_RECV_LEN": RECV_LEN,
            "I2C_M_TEN": TEN,
            "sizeof(union i2c_smbus_data)": smbus.Transaction(smbus.BLOCK_DATA, True, 0).size,
            "sizeof(struct i2c_msg)": i2c_message.LAYOUT[compat].size,
            "offsetof(struct i2c_msg, buf)": 8,
        }
    )
    headers.check(["linux/i2c.h", "linux/i2c-dev.h"], values, width)


# --- ioctls -------------------------------------------------------------------------------------


@WIDTHS
def test_plain_reads_and_writes_go_to_the_address_that_was_set(
    cuse_device: Serve, compat: bool
) -> None:
    bus = Recorder(None, [b"abc"], [bytes(8192)], None)
    client = Client(cuse_device(bus), compat)
    client.ioctl(i2c.I2C_SLAVE, CHIP)
    assert client.file.write(b"\x10data") == 5
    assert client.file.read(3) == b"abc"
    client.ioctl(i2c.I2C_TENBIT, 1)
    client.ioctl(i2c.I2C_SLAVE, 0x3FF)
    assert client.file.read(9000) == bytes(8192)  # what is more is another transfer
    assert client.file.write(bytes(9000)) == 8192
    plain, ten = bus.seen[:2], bus.seen[2:]
    assert plain == [Write(CHIP, b"\x10data"), Read(CHIP, 3)]
    assert ten == [Read(0x3FF, 8192, RD | TEN), Write(0x3FF, bytes(8192), TEN)]
    assert [message.ten_bit for message in bus.seen] == [False, False, True, True]


def test_addresses_that_cannot_be_are_refused(cuse_device: Serve) -> None:
    bus = Recorder()
    bus.claimed = {0x50}
    client = Client(cuse_device(bus))
    for command in (i2c.I2C_SLAVE, i2c.I2C_SLAVE_FORCE):
        with fails(errno.EINVAL):
            client.ioctl(command, 0x80)
    with fails(errno.EBUSY):
        client.ioctl(i2c.I2C_SLAVE, 0x50)
    client.ioctl(i2c.I2C_SLAVE_FORCE, 0x50)
    client.ioctl(i2c.I2C_TENBIT, 1)
    with fails(errno.EINVAL):
        client.ioctl(i2c.I2C_SLAVE, 0x400)
    with fails(errno.ENOTTY):
        client.ioctl(0x0709, 0)
    client.file.write(b"x")
    assert bus.seen == [Write(0x50, b"x", TEN)]


@WIDTHS
def test_functions_are_an_unsigned_long(cuse_device: Serve, compat: bool) -> None:
    client = Client(cuse_device(Recorder()), compat)
    at = client.put(b"\xee" * 12)
    client.ioctl(i2c.I2C_FUNCS, at)
    size = 4 if compat else 8
    assert client.memory.read(at, 12) == (0x0FFF800B).to_bytes(size, "little").ljust(12, b"\xee")


@WIDTHS
def test_a_combined_transfer(cuse_device: Serve, compat: bool) -> None:
    bus = Recorder([b"abcd", b"z"], [b"\3ABCpq", b"!"])
    client = Client(cuse_device(bus), compat)
    buffers = client.rdwr((CHIP, 0, b"\x20"), (CHIP, RD, 4), (0x33, 0, b""), (0x34, RD, 1))
    assert buffers == [b"\x20", b"abcd", b"", b"z"]
    assert bus.seen == [
        Write(CHIP, b"\x20"), Read(CHIP, 4), Write(0x33, b""), Read(0x34, 1),
    ]  # fmt: skip
    # A counted read leaves what the device does not send; 2 more bytes than counted are wanted.
    content = b"\3" + b"\xee" * 39
    first, second = client.rdwr((CHIP, RD | RECV_LEN, content), (CHIP, RD, 1))
    assert first == b"\3ABCpq" + b"\xee" * 34
    assert second == b"!"
    counted = bus.seen[4]
    assert isinstance(counted, Read)
    assert (counted.counted, counted.extra, counted.length) == (True, 2, 35)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [(CHIP, 0, b"x")] * 43,
        [(CHIP, RD, 8193)],
        [(CHIP, RECV_LEN, b"\1" + bytes(40))],  # not a read
        [(CHIP, RD | RECV_LEN, b"\0" + bytes(40))],  # no byte for the count
        [(CHIP, RD | RECV_LEN, b"\2" + bytes(32))],  # no room for 32 bytes and one more
        [(CHIP, RD | RECV_LEN, b"")],
    ],
)
def test_transfers_that_cannot_be_are_refused(
    cuse_device: Serve, messages: list[tuple[int, int, int | bytes]]
) -> None:
    bus = Recorder()
    client = Client(cuse_device(bus))
    with fails(errno.EINVAL):
        client.rdwr(*messages)
    assert bus.seen == []


def test_pointers_to_nowhere(cuse_device: Serve) -> None:
    bus = Recorder()
    client = Client(cuse_device(bus))
    with fails(errno.EINVAL):
        client.ioctl(i2c.I2C_RDWR, client.put(struct.pack("=QI4x", 0, 1)))
    with fails(errno.EINVAL):
        client.ioctl(i2c.I2C_SMBUS, client.put(struct.pack("=BB2xIQ", 1, 0, smbus.BYTE, 0)))
    for command in (i2c.I2C_RDWR, i2c.I2C_SMBUS, i2c.I2C_FUNCS):
        with fails(errno.EFAULT):
            client.file.ioctl(command, BAD)
    nowhere = i2c_message.LAYOUT[False].pack(CHIP, 0, 4, 64)
    with fails(errno.EFAULT):
        client.ioctl(i2c.I2C_RDWR, client.put(struct.pack("=QI4x", client.put(nowhere), 1)))
    assert bus.seen == []


def test_an_adapter_for_smbus_alone(cuse_device: Serve) -> None:
    bus = Recorder([b"\7"])
    bus.functions = i2c.FUNC_SMBUS_EMUL_ALL
    client = Client(cuse_device(bus))
    for call in (lambda: client.file.read(1), lambda: client.file.write(b"x"),
                 lambda: client.rdwr((CHIP, 0, b"x"))):  # fmt: skip
        with fails(errno.EOPNOTSUPP):
            call()
    assert client.smbus(smbus.BYTE, True)[0] == 7


# --- SMBus --------------------------------------------------------------------------------------

BLOCK = b"\3abc"
COUNTED = Read(CHIP, 33, RD | RECV_LEN, True, 0)


@WIDTHS
@pytest.mark.parametrize(
    ("kind", "reads", "data", "messages", "answer", "gets"),
    [
        (smbus.QUICK, False, b"", [Write(CHIP, b"")], None, b""),
        (smbus.QUICK, True, b"", [Read(CHIP, 0)], [b""], b""),
        (smbus.BYTE, False, b"", [Write(CHIP, b"\x10")], None, b""),
        (smbus.BYTE, True, b"", [Read(CHIP, 1)], [b"A"], b"A"),
        (smbus.BYTE_DATA, False, b"A", [Write(CHIP, b"\x10A")], None, b"A"),
        (smbus.BYTE_DATA, True, b"", [Write(CHIP, b"\x10"), Read(CHIP, 1)], [b"A"], b"A"),
        (smbus.WORD_DATA, False, b"AB", [Write(CHIP, b"\x10AB")], None, b"AB"),
        (smbus.WORD_DATA, True, b"", [Write(CHIP, b"\x10"), Read(CHIP, 2)], [b"AB"], b"AB"),
        (smbus.PROC_CALL, False, b"AB", [Write(CHIP, b"\x10AB"), Read(CHIP, 2)], [b"CD"], b"CD"),
        (smbus.BLOCK_DATA, False, BLOCK, [Write(CHIP, b"\x10\3abc")], None, BLOCK),
        (smbus.BLOCK_DATA, True, b"", [Write(CHIP, b"\x10"), COUNTED], [b"\2AB\xcc"], b"\2AB"),
        (smbus.BLOCK_PROC_CALL, False, BLOCK, [Write(CHIP, b"\x10\3abc"), COUNTED],
         [b"\1A"], b"\1Abc"),
        (smbus.I2C_BLOCK_DATA, False, BLOCK, [Write(CHIP, b"\x10abc")], None, BLOCK),
        (smbus.I2C_BLOCK_DATA, True, b"\3", [Write(CHIP, b"\x10"), Read(CHIP, 3)],
         [b"ABC"], b"\3ABC"),
        (smbus.I2C_BLOCK_BROKEN, False, BLOCK, [Write(CHIP, b"\x10abc")], None, BLOCK),
        (smbus.I2C_BLOCK_BROKEN, True, b"", [Write(CHIP, b"\x10"), Read(CHIP, 32)],
         [b"A" * 32], b"\x20" + b"A" * 32),
    ],
)  # fmt: skip
def test_transactions(
    cuse_device: Serve, compat: bool, kind: int, reads: bool, data: bytes,
    messages: list[i2c.Message], answer: Any, gets: bytes,
) -> None:  # fmt: skip
    """Each is the messages that i2c_smbus_xfer_emulated makes of it, and the client's union."""
    bus = Recorder(answer)
    client = Client(cuse_device(bus), compat)
    client.ioctl(i2c.I2C_SLAVE, CHIP)
    assert client.smbus(kind, reads, 0x10, data) == gets.ljust(34, b"\xee")
    assert bus.seen == messages


@pytest.mark.parametrize(
    ("kind", "reads", "data"),
    [
        (9, True, b""),
        (smbus.BYTE, 2, b""),
        (smbus.BLOCK_DATA, False, b"\x21"),
        (smbus.BLOCK_PROC_CALL, False, b"\x21"),
        (smbus.I2C_BLOCK_DATA, False, b"\x21"),
        (smbus.I2C_BLOCK_DATA, True, b"\x21"),
    ],
)
def test_transactions_that_cannot_be(
    cuse_device: Serve, kind: int, reads: bool, data: bytes
) -> None:
    bus = Recorder()
    client = Client(cuse_device(bus))
    with fails(errno.EINVAL):
        client.smbus(kind, reads, 0x10, data)
    assert bus.seen == []


def test_a_checksum_is_sent_and_checked(cuse_device: Serve) -> None:
    # CRC-8/SMBUS has the check value 0xf4 for "123456789"; '1' is the address byte of this read.
    assert i2c.checksum(Read(0x18, 8), answer=b"23456789") == b"\xf4"
    read = [Write(CHIP, b"\x10"), Read(CHIP, 2)]
    good = i2c.checksum(*read, answer=b"A")
    block = [Write(CHIP, b"\x10"), COUNTED]
    bus = Recorder(None, [b"A" + good], [b"A" + bytes([good[0] ^ 1])], None,
                   [b"\2AB" + i2c.checksum(*block, answer=b"\2AB")], [b"ABC"],
                   [b"A" + i2c.checksum(Read(CHIP, 2), answer=b"A")])  # fmt: skip
    client = Client(cuse_device(bus))
    client.ioctl(i2c.I2C_SLAVE, CHIP)
    client.ioctl(i2c.I2C_PEC, 1)
    client.smbus(smbus.BYTE_DATA, False, 0x10, b"A")
    assert client.smbus(smbus.BYTE_DATA, True, 0x10)[:2] == b"A\xee"
    with fails(errno.EBADMSG):
        client.smbus(smbus.BYTE_DATA, True, 0x10)
    client.smbus(smbus.QUICK, False)  # has none
    assert client.smbus(smbus.BLOCK_DATA, True, 0x10)[:4] == b"\2AB\xee"
    assert client.smbus(smbus.I2C_BLOCK_DATA, True, 0x10, b"\3")[:4] == b"\3ABC"  # nor has this
    assert client.smbus(smbus.BYTE, True)[:1] == b"A"
    sent = bus.seen[0]
    assert isinstance(sent, Write)
    assert (sent.data[:2], len(sent.data)) == (b"\x10A", 3)
    assert i2c.checksum(sent) == b"\0"  # of bytes with their own checksum
    assert bus.seen[1:3] == read
    client.ioctl(i2c.I2C_PEC, 0)
    bus.answers = [[b"A"]]
    assert client.smbus(smbus.BYTE, True)[:1] == b"A"


@pytest.mark.parametrize("count", [0, 33])
def test_a_block_of_no_known_length(cuse_device: Serve, count: int) -> None:
    client = Client(cuse_device(Recorder([bytes([count]) + bytes(33)])))
    with fails(errno.EPROTO):
        client.smbus(smbus.BLOCK_DATA, True, 0x10)


# --- the subclass's half ------------------------------------------------------------------------


def test_errors_of_the_device_are_the_clients(cuse_device: Serve) -> None:
    client = Client(cuse_device(Recorder(NackError(), OSError(errno.EIO, "no acknowledge"))))
    with fails(errno.ENXIO):
        client.file.write(b"x")
    with fails(errno.EIO):
        client.file.read(1)


def test_lost_arbitration_is_tried_again(cuse_device: Serve) -> None:
    class Contended(Recorder):
        def transfer(self, address: int, messages: Sequence[i2c.Message]) -> Any:
            if not self.answers:
                raise BlockingIOError
            return super().transfer(address, messages)

    bus = Contended(BlockingIOError(), OSError(errno.EAGAIN, ""), [b"A"])
    client = Client(cuse_device(bus))
    client.ioctl(i2c.I2C_RETRIES, 2)
    assert client.file.read(1) == b"A"
    client.ioctl(i2c.I2C_RETRIES, 0)
    with fails(errno.EAGAIN):
        client.file.read(1)
    client.ioctl(i2c.I2C_RETRIES, 1 << 30)
    client.ioctl(i2c.I2C_TIMEOUT, 1)  # 10 ms
    with fails(errno.EAGAIN):
        client.file.read(1)
    assert bus.retry_s == 0.01
    for command in (i2c.I2C_RETRIES, i2c.I2C_TIMEOUT):
        with fails(errno.EINVAL):
            client.ioctl(command, 1 << 31)


class Lost(i2c.Adapter):
    def transfer(self, address: int, messages: Sequence[i2c.Message]) -> None:
        raise BlockingIOError


class AsyncLost(i2c.Adapter):
    async def transfer(self, address: int, messages: Sequence[i2c.Message]) -> None:
        raise BlockingIOError


@pytest.mark.parametrize("kind", [Lost, AsyncLost])
def test_who_tries_for_long_can_be_interrupted(cuse_device: Serve, kind: type[i2c.Adapter]) -> None:
    kernel = cuse_device(kind("i2c-9"))
    client = Client(kernel)
    for command in (i2c.I2C_RETRIES, i2c.I2C_TIMEOUT):
        client.ioctl(command, (1 << 31) - 1)
    call = kernel.start(client.file.write, b"x")
    call.wait_sent()
    call.interrupt()
    with fails(errno.EINTR):
        call.result()


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([b"AB"], "transfer() gave 2 bytes for a read of 3"),
        ([b"ABCD"], "transfer() gave 4 bytes for a read of 3"),
        ([b"ABC", b"A"], "transfer() gave 2 answers to 1 reads"),
        (None, "transfer() gave 0 answers to 1 reads"),
        (b"ABC", "transfer() is to give a list with bytes for each Read, or yield them"),
        (7, "transfer() is to give a list with bytes for each Read, or yield them"),
    ],
)
def test_what_is_no_answer_is_eio_and_said(
    cuse_device: Serve, cuse_log: list[Any], answer: Any, said: str
) -> None:
    client = Client(cuse_device(Recorder(answer)))
    with fails(errno.EIO):
        client.file.read(3)
    assert said in str(cuse_log[-1].exc_info[1])


class Sync(i2c.Adapter):
    busy = False

    def transfer(self, address: int, messages: Sequence[i2c.Message]) -> Iterator[bytes]:
        assert not self.busy
        self.busy = True
        cuse.sleep(0.002)
        yield bytes([address])
        self.busy = False


class Async(i2c.Adapter):
    busy = False

    async def transfer(self, address: int, messages: Sequence[i2c.Message]) -> list[bytes]:
        assert not self.busy
        self.busy = True
        await asyncio.sleep(0.002)
        self.busy = False
        return [bytes([address])]


class AsyncGenerator(i2c.Adapter):
    async def transfer(self, address: int, messages: Sequence[i2c.Message]) -> Any:
        await asyncio.sleep(0)
        yield bytes([address])


@pytest.mark.parametrize("kind", [Sync, Async, AsyncGenerator])
def test_transfers_come_one_at_a_time(cuse_device: Serve, kind: type[i2c.Adapter]) -> None:
    kernel = cuse_device(kind("i2c-9"))
    clients = [Client(kernel) for _ in range(4)]
    for address, client in enumerate(clients, 1):
        client.ioctl(i2c.I2C_SLAVE, address)

    def read(client: Client) -> list[bytes]:
        return [client.file.read(1) for _ in range(10)]

    calls = [kernel.start(read, client) for client in clients]
    for address, call in enumerate(calls, 1):
        assert call.result() == [bytes([address])] * 10
    assert clients[0].smbus(smbus.BYTE, True)[0] == 1
    assert clients[1].rdwr((9, RD, 1)) == [b"\x09"]


def test_who_waits_for_the_bus_can_be_interrupted(cuse_device: Serve) -> None:
    held, go = threading.Event(), threading.Event()

    class Slow(i2c.Adapter):
        def transfer(self, address: int, messages: Sequence[i2c.Message]) -> None:
            held.set()
            go.wait(60)

    kernel = cuse_device(Slow("i2c-9"))
    first = kernel.start(kernel.open(os.O_WRONLY).write, b"x")
    held.wait(60)
    second = kernel.start(kernel.open(os.O_WRONLY).write, b"y")
    time.sleep(0.02)
    second.interrupt()
    with fails(errno.EINTR):
        second.result()
    go.set()
    assert first.result() == 1


@pytest.mark.logs_errors
def test_a_def_method_that_waits_in_asyncio_is_said(
    cuse_device: Serve, cuse_log: list[Any]
) -> None:
    class Mixed(i2c.Adapter):
        def transfer(self, address: int, messages: Sequence[i2c.Message]) -> Any:
            return asyncio.sleep(1)

    client = Client(cuse_device(Mixed("i2c-9")))
    with fails(errno.EIO):
        client.file.write(b"x")
    assert "is to be `async def`" in str(cuse_log[-1].exc_info[1])


def test_a_class_without_transfer_is_said_when_it_is_made() -> None:
    class Bare(i2c.Adapter):
        pass

    class Spelt(i2c.Adapter):
        transfer = None  # type: ignore[assignment]

    form = r"define `def transfer\(self, address, messages\)`"
    with pytest.raises(TypeError, match=rf"^Bare has no transfer\(\): {form}$"):
        Bare("i2c-9")
    with pytest.raises(TypeError, match=rf"^Spelt.transfer is of type NoneType, .* {form}$"):
        Spelt("i2c-9")


# --- the example, and tools ---------------------------------------------------------------------


def test_eeprom(cuse_device: Serve) -> None:
    client = Client(cuse_device(load("eeprom").Eeprom("i2c-9")))
    client.ioctl(i2c.I2C_SLAVE, 0x50)
    client.file.write(b"\xfeABCD")
    assert client.rdwr((0x50, 0, b"\xfe"), (0x50, RD, 5)) == [b"\xfe", b"ABCD\xff"]
    with fails(errno.ENXIO):
        client.rdwr((0x51, RD, 5))


@pytest.mark.real
def test_i2c_tools_and_smbus2(tmp_path: Path) -> None:
    import smbus2

    with running("eeprom", name="i2c-9"):
        table = run("i2cdetect", "-y", "9").decode()
        assert [word for word in table.split() if word == "50"] == ["50"]
        assert b"SMBus Block Process Call         yes" in run("i2cdetect", "-F", "9")
        run("i2cset", "-y", "9", "0x50", "0x20", "1", "2", "3", "4", "i")
        run("i2cset", "-y", "9", "0x50", "0x10", "0x1234", "w")
        assert run("i2cget", "-y", "9", "0x50", "0x10", "w") == b"0x1234\n"
        assert b"34 12" in run("i2cdump", "-y", "-r", "0x10-0x11", "9", "0x50", "b")
        words = ["w1@0x50", "0x20", "r4"]
        assert run("i2ctransfer", "-y", "9", *words) == b"0x01 0x02 0x03 0x04\n"
        run("i2cget", "-y", "9", "0x51", "0", status=2)
        by_name = run_described("i2c.md", tmp_path, "i2cget", "-y", "cuse bus", "0x50", "0x20")
        assert by_name == b"0x01\n"
        with smbus2.SMBus(9) as bus:
            bus.write_i2c_block_data(0x50, 0x40, list(range(32)))
            assert bus.read_i2c_block_data(0x50, 0x40, 32) == list(range(32))
            bus.write_block_data(0x50, 0x60, [7, 8, 9])
            assert bus.read_block_data(0x50, 0x60) == [7, 8, 9]
            bus.write_byte(0x50, 0x41)
            assert bus.read_byte(0x50) == 1
            write, read = smbus2.i2c_msg.write(0x50, [0x40]), smbus2.i2c_msg.read(0x50, 250)
            bus.i2c_rdwr(write, read)
            assert list(itertools.islice(read, 32)) == list(range(32))
            with fails(errno.ENXIO):
                bus.read_byte(0x51)
