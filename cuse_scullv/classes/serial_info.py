"""SerialInfo: what TIOCGSERIAL tells of a UART, and TIOCSSERIAL sets: of one that is not there.

linux/serial.h: struct serial_struct; tty_io.c: struct serial_struct32, of 32-bit clients."""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple

from .serial_output import ROOM

LAYOUTS = {
    False: struct.Struct("=2iI5iH2Bi2H4xQH2xIQ"),
    True: struct.Struct("=2iI5iH2Bi2HIH2x2I"),
}
"""Of struct serial_struct, by whether the client is a 32-bit one."""

_USER_FLAGS = 0x3430  # linux/tty_flags.h: ASYNC_USR_MASK, ASYNC_LOW_LATENCY among them
_TIMES = {"flags": 0, "custom_divisor": 0, "close_delay": 0, "closing_wait": 0}


class SerialInfo(NamedTuple):
    """The fields of struct serial_struct."""

    type: int = 0  # PORT_UNKNOWN
    line: int = 0
    port: int = 0
    irq: int = 0
    flags: int = 0
    xmit_fifo_size: int = ROOM
    custom_divisor: int = 0
    baud_base: int = 115200
    close_delay: int = 50
    io_type: int = 0
    reserved: int = 0
    hub6: int = 0
    closing_wait: int = 3000
    closing_wait2: int = 0
    iomem_base: int = 0
    iomem_reg_shift: int = 0
    port_high: int = 0
    iomap_base: int = 0

    def replaced(self, new: SerialInfo, is_permitted: bool) -> SerialInfo:
        """This one, as a client sets it (serial_core.c: uart_set_info). OSError EPERM for what not
        all may set, EINVAL for what would be another UART."""
        if (
            not is_permitted
            and self._replace(flags=self.flags ^ _changed_by_users(self, new)) != new
        ):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if self._replace(**_TIMES) != new._replace(**_TIMES):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return new


def _changed_by_users(old: SerialInfo, new: SerialInfo) -> int:
    return (old.flags ^ new.flags) & _USER_FLAGS
