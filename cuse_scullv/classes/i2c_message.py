"""Messages of an I2C transfer, as Python values and as bytes (struct i2c_msg of linux/i2c.h)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

BLOCK_MAX = 32  # I2C_SMBUS_BLOCK_MAX
M_RD, M_TEN, M_RECV_LEN = 0x0001, 0x0010, 0x0400  # I2C_M_…
LAYOUT = {False: struct.Struct("=HHH2xQ"), True: struct.Struct("=HHH2xI")}
"""struct i2c_msg: address, flags, length, pointer; by whether the client is a 32-bit program."""


class NackError(OSError):
    """No device answers at the address: ENXIO (Documentation/i2c/fault-codes.rst)."""

    def __init__(self) -> None:
        super().__init__(errno.ENXIO, "no device answers at this address")


@dataclass(frozen=True, slots=True)
class Write:
    """The controller sends `data`."""

    address: int
    data: bytes
    """0 to 8,192 bytes; none: SMBus's quick command, by which i2cdetect looks for devices."""
    flags: int = 0
    """I2C_M_… of linux/i2c.h."""

    @property
    def ten_bit(self) -> bool:
        return bool(self.flags & M_TEN)


@dataclass(frozen=True, slots=True)
class Read:
    """The device sends `length` bytes."""

    address: int
    length: int
    """0 to 8,192; where it is `counted` the most that there may be."""
    flags: int = M_RD
    counted: bool = False
    """The first byte says how many follow, 1 to 32 (SMBus block reads; I2C_M_RECV_LEN). What is
    beyond those and `extra` is cut off: a device may give `length` bytes whatever is asked."""
    extra: int = 0
    """Bytes after those that are counted: the checksum, PEC."""

    @property
    def ten_bit(self) -> bool:
        return bool(self.flags & M_TEN)


Message: TypeAlias = "Write | Read"


def counted_read(address: int, extra: int = 0, flags: int = 0) -> Read:
    """A read whose first byte says how many follow, and `extra` after them."""
    return Read(address, 1 + BLOCK_MAX + extra, flags | M_RD | M_RECV_LEN, True, extra)


def check_answers(messages: Sequence[Message], answers: object) -> list[bytes]:
    """What transfer() returned, as bytes for each Read of `messages`.

    ValueError where it is anything else; OSError EPROTO for a count that SMBus does not know."""
    reads = [message for message in messages if isinstance(message, Read)]
    if answers is None:
        answers = []
    if isinstance(answers, (bytes, bytearray, memoryview)) or not isinstance(answers, Sequence):
        raise ValueError("transfer() is to give a list with bytes for each Read, or yield them")
    if len(answers) != len(reads):
        raise ValueError(f"transfer() gave {len(answers)} answers to {len(reads)} reads")
    return [_cut(read, bytes(answer)) for read, answer in zip(reads, answers, strict=True)]


def _cut(read: Read, answer: bytes) -> bytes:
    wanted = read.length
    if read.counted:
        if not answer or not 1 <= answer[0] <= BLOCK_MAX:
            raise OSError(errno.EPROTO, "a block read begins with its length, 1 to 32")
        wanted = 1 + answer[0] + read.extra
    if len(answer) < wanted or (len(answer) > wanted and not read.counted):
        raise ValueError(f"transfer() gave {len(answer)} bytes for a read of {wanted}")
    return answer[:wanted]
