"""Device classes whose clients send whatever they like: each call ends with an answer that the
kernel's driver could give, and nothing is a fault of the class (the log would say so)."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.classes import hidraw, i2c, i2c_message, spi, spi_transfer
from cuse_scullv.cuse.testing import FakeFile, FakeKernel

Serve = Callable[..., FakeKernel]
CALLS = 700
DRIVERS = {errno.EINVAL, errno.EFAULT, errno.ENOTTY, errno.EMSGSIZE, errno.EBADMSG, errno.EPROTO}
KERNEL = {errno.ENOMEM, errno.EIO}  # more than 128 KiB; a 32-bit client's area beyond 4 GiB


class Bus(i2c.Adapter):
    def transfer(self, address: int, messages: Any) -> Any:
        for message in messages:
            if isinstance(message, i2c.Read):
                yield random.randbytes(message.length)


class Chip(spi.Device):
    def transfer(self, words: spi.Words) -> Any:
        return words


class Gadget(hidraw.Device):
    descriptor = b"\x06\x00\xff"

    def output(self, number: int, data: bytes) -> None:
        pass

    def get_feature(self, number: int) -> bytes:
        return bytes(number)

    set_feature = set_input = output  # type: ignore[assignment]
    get_input = get_output = get_feature


class Liar:
    """A client's memory, and commands, at random."""

    def __init__(self, kernel: FakeKernel, dice: random.Random) -> None:
        self.memory, self.dice = kernel.memory, dice
        self.areas = {
            compat: [self.memory.alloc(dice.randbytes(9000), compat=compat) for _ in range(4)]
            for compat in (False, True)
        }

    def pointer(self, compat: bool) -> int:
        if self.dice.random() < 0.1:
            return self.dice.choice([0, 1, 2**32 - 1, 2**64 - 1, 2**63]) & (
                2**32 - 1 if compat else -1
            )
        return self.dice.choice(self.areas[compat]) + self.dice.choice([0, 0, 1, 8000])

    def small(self, *more: int) -> int:
        return self.dice.choice([0, 1, 2, 7, 8, 32, 33, *more])

    def i2c(self, compat: bool) -> tuple[int, bytes]:
        rolled = self.dice.random()
        if rolled < 0.4:
            count = self.small(42, 43)
            table = b"".join(
                i2c_message.LAYOUT[compat].pack(
                    self.small(1023),
                    self.dice.choice([0, 1, 0x400, 0x401, 0x11, 0xFFFF]),
                    self.small(40, 8192, 8193, 65535),
                    self.pointer(compat),
                )
                for _ in range(count)
            )
            at = self.memory.alloc(table, compat=compat)
            return i2c.I2C_RDWR, i2c._RDWR[compat].pack(at, count)
        if rolled < 0.8:
            fields = (self.small(), self.small(255), self.small(3, 4, 5, 6), self.pointer(compat))
            return i2c.I2C_SMBUS, i2c._SMBUS[compat].pack(*fields)
        return self.dice.choice([i2c.I2C_PEC, i2c.I2C_TENBIT, i2c.I2C_SLAVE, i2c.I2C_FUNCS]), b""

    def spi(self, compat: bool) -> tuple[int, bytes]:
        if self.dice.random() < 0.3:
            name = self.dice.choice(list(spi.Device._ioctls))
            return name, struct.pack("=I", self.dice.choice([0, 1, 16, 255, 2**32 - 1]))
        count = self.dice.choice([0, 1, 2, 5, 200])
        table = b"".join(
            spi_transfer.TRANSFER.pack(
                *(self.dice.choice([0, self.pointer(compat)]) for _ in range(2)),
                self.small(4096, 4097, 2**32 - 1), 0, 0,
                self.dice.choice([0, 0, 0, 1, 7, 12, 32, 255]),
                *(self.dice.choice([0, 0, 0, 1, 2]) for _ in range(5)),
            )
            for _ in range(count)
        )  # fmt: skip
        return spi.MESSAGE | (len(table) + self.dice.choice([0, 0, 0, 1])) << 16, table + b"\0"

    def hidraw(self, compat: bool) -> tuple[int, bytes]:
        size = self.small(16383)
        number = self.dice.randrange(14) if self.dice.random() < 0.95 else 255
        command = self.dice.randrange(4) << 30 | size << 16 | ord("H") << 8 | number
        if command == hidraw.REVOKE:
            command += 1
        return command, self.dice.randbytes(size + 4)


def attempt(file: FakeFile, command: int, argument: int, compat: bool) -> int:
    """The errno; 0: it was done."""
    try:
        result, _ = file.ioctl(command, argument, compat=compat)
    except OSError as error:
        return error.errno or -1
    assert 0 <= result < 2**31
    return 0


@pytest.mark.parametrize(
    "device", [Bus("i2c-9"), Chip("spidev9.0"), Gadget("hidraw9")], ids=["i2c", "spi", "hidraw"]
)
def test_whatever_a_client_sends(cuse_device: Serve, device: cuse.Device) -> None:
    kernel = cuse_device(device)
    liar = Liar(kernel, random.Random(1))
    tell = getattr(liar, type(device).__mro__[1].__module__.rpartition(".")[2])
    files = [kernel.open(), kernel.open()]
    done = 0
    for _ in range(CALLS):
        compat = liar.dice.random() < 0.5
        command, content = tell(compat)
        at = kernel.memory.alloc(content, compat=compat) if content else liar.small(127, 128)
        code = attempt(liar.dice.choice(files), command, at, compat)
        assert code in {0} | DRIVERS | KERNEL, (hex(command), content)
        done += code == 0
    assert done > CALLS / 10  # not all was refused at the door
