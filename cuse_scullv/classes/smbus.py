"""SMBus transactions as I2C messages, as drivers/i2c/i2c-core-smbus.c: i2c_smbus_xfer_emulated
makes them, with the checksum (PEC) in software. Pure: messages out, answers in."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .i2c_message import BLOCK_MAX, M_RD, Message, Read, Write, counted_read

# Kinds of transactions: I2C_SMBUS_… of linux/i2c.h, `size` of struct i2c_smbus_ioctl_data.
(
    QUICK,
    BYTE,
    BYTE_DATA,
    WORD_DATA,
    PROC_CALL,
    BLOCK_DATA,
    I2C_BLOCK_BROKEN,
    BLOCK_PROC_CALL,
    I2C_BLOCK_DATA,
) = range(9)

_DATA_SIZE = {BYTE: 1, BYTE_DATA: 1, WORD_DATA: 2, PROC_CALL: 2}
_BLOCK_SIZE = BLOCK_MAX + 2  # of union i2c_smbus_data


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a client asks for. `data` is union i2c_smbus_data, as far as the client has to fill it:
    a byte, a word of the machine's order, or a block with its length before it."""

    kind: int
    reads: bool
    command: int
    data: bytes = b""

    @property
    def calls(self) -> bool:
        """It sends data and gets data."""
        return self.kind in (PROC_CALL, BLOCK_PROC_CALL)

    @property
    def has_data(self) -> bool:
        return self.kind != QUICK and (self.kind != BYTE or self.reads)

    @property
    def needs_data(self) -> bool:
        """The client's data are looked at (drivers/i2c/i2c-dev.c: i2cdev_ioctl_smbus)."""
        return self.has_data and (
            self.calls or not self.reads or self.kind in (I2C_BLOCK_DATA, I2C_BLOCK_BROKEN)
        )

    @property
    def gives_data(self) -> bool:
        return self.has_data and (self.calls or self.reads)

    @property
    def size(self) -> int:
        """Bytes of the client's data."""
        return _DATA_SIZE.get(self.kind, _BLOCK_SIZE) if self.has_data else 0


def messages(transaction: Transaction, address: int, flags: int, pec: bool) -> list[Message]:
    """The messages of a transaction. `flags`: I2C_M_TEN or 0. OSError EINVAL for a block that is
    too long."""
    t = transaction
    if t.kind == QUICK:  # the direction is the data
        return [Read(address, 0, flags | M_RD) if t.reads else Write(address, b"", flags)]
    pec = has_pec(t, pec)
    sent = Write(address, bytes([t.command]) + _payload(t), flags)
    if not t.gives_data:
        return [Write(address, sent.data + checksum(sent), flags) if pec else sent]
    wanted = _wanted(t, address, flags, int(pec))
    return [wanted] if t.kind == BYTE else [sent, wanted]


def result(
    transaction: Transaction, sent: Sequence[Message], answers: Sequence[bytes], pec: bool
) -> bytes:
    """What the client gets as its data. OSError EBADMSG for a checksum that is wrong."""
    t = transaction
    if not t.gives_data:
        return b""
    (answer,) = answers
    if has_pec(t, pec):
        answer, received = answer[:-1], answer[-1:]
        if checksum(*sent, answer=answer) != received:
            raise OSError(errno.EBADMSG, "the device's checksum (PEC) is wrong")
    if t.kind == I2C_BLOCK_DATA:
        return t.data[:1] + answer
    return _swapped(answer) if t.kind in (WORD_DATA, PROC_CALL) else answer


def has_pec(transaction: Transaction, pec: bool) -> bool:
    """Whether there is a checksum, where the client wants them."""
    return pec and transaction.kind not in (QUICK, I2C_BLOCK_DATA)


def checksum(*messages: Message, answer: bytes = b"") -> bytes:
    """The PEC byte of messages: CRC-8 of x^8 + x^2 + x + 1 over all bytes on the bus, those of the
    addresses among them (SMBus 3.1, 5.4.1.2). `answer`: what the device sends for the Read."""
    crc = 0
    for message in messages:
        read = isinstance(message, Read)
        crc = _crc8(crc, bytes([message.address << 1 & 0xFE | read]))
        crc = _crc8(crc, answer if isinstance(message, Read) else message.data)
    return bytes([crc])


def _payload(t: Transaction) -> bytes:
    """What follows the command."""
    if not t.needs_data:
        return b""
    if t.kind in (BLOCK_DATA, BLOCK_PROC_CALL, I2C_BLOCK_DATA):
        count = _count(t)
        if t.kind != I2C_BLOCK_DATA:
            return t.data[: count + 1]
        return b"" if t.reads else t.data[1 : count + 1]
    return _swapped(t.data) if t.kind in (WORD_DATA, PROC_CALL) else t.data


def _wanted(t: Transaction, address: int, flags: int, extra: int) -> Read:
    if t.kind in (BLOCK_DATA, BLOCK_PROC_CALL):
        return counted_read(address, extra, flags)
    length = _count(t) if t.kind == I2C_BLOCK_DATA else _DATA_SIZE[t.kind]
    return Read(address, length + extra, flags | M_RD)


def _count(t: Transaction) -> int:
    if t.data[0] > BLOCK_MAX:
        raise OSError(errno.EINVAL, f"a block has at most {BLOCK_MAX} bytes, not {t.data[0]}")
    return t.data[0]


def _swapped(word: bytes) -> bytes:
    """A word of the machine as it is on the bus, low byte first; and back."""
    return struct.pack("<H", *struct.unpack("=H", word))


def _crc8(crc: int, data: bytes) -> int:
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc
