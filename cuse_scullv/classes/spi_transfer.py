"""Transfers of an SPI message: struct spi_ioc_transfer of linux/spi/spidev.h."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from cuse_scullv._errors import oserror

from .spi_words import word_bytes

WORD_BITS_MAX = 32
TRANSFER = struct.Struct("=QQIIHBBBBBB")
"""The same for 32-bit programs."""
_POINTER = 0xFFFFFFFF  # of a 32-bit program


class Transfer(NamedTuple):
    """The fields of TRANSFER. Speed and delays are taken, and nobody waits for them."""

    tx: int = 0
    rx: int = 0
    length: int = 0
    speed_hz: int = 0
    delay_us: int = 0
    bits: int = 0
    cs_change: int = 0
    tx_lines: int = 0
    rx_lines: int = 0
    word_delay_us: int = 0
    pad: int = 0

    def width(self, default: int, shares_line: bool) -> int:
        """The bits of its words, `default` unless it says so. OSError EINVAL for a transfer that
        cannot be (drivers/spi/spi.c: __spi_validate); `shares_line`: it has one direction."""
        bits = self.bits or default
        if (
            bits > WORD_BITS_MAX
            or self.length % word_bytes(bits)
            or (self.tx and self.rx and shares_line)
            or (self.tx and self.tx_lines > 1)
            or (self.rx and self.rx_lines > 1)
        ):
            raise oserror(errno.EINVAL)
        return bits


def unpack_transfers(table: bytes, compat: bool) -> list[Transfer]:
    """Those of a message. A 32-bit program (`compat`) may leave rubbish in the upper half of its
    pointers (spidev_compat_ioc_message)."""
    transfers = [Transfer(*fields) for fields in TRANSFER.iter_unpack(table)]
    if not compat:
        return transfers
    return [t._replace(tx=t.tx & _POINTER, rx=t.rx & _POINTER) for t in transfers]
