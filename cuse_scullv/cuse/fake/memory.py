"""ClientMemory: the memory of a fake kernel's client, and pointers to nowhere."""

from __future__ import annotations

import errno
import os
import threading
from typing import Final


class Bad:
    """A pointer to no memory of the client: the kernel says EFAULT."""

    def __repr__(self) -> str:
        return "BAD"


BAD: Final = Bad()


class ClientMemory:
    """The memory of the client, for ioctls that follow pointers."""

    _PAGE = 4096

    def __init__(self) -> None:
        self._areas: dict[int, bytearray] = {}
        self._lock = threading.Lock()
        self._next = {False: 0x7F00_0000_0000, True: 0x0800_0000}  # by `compat`, under _lock

    def alloc(self, content: bytes | int, *, compat: bool = False) -> int:
        """The address of a new area that holds `content`, or so many zero bytes; below 4 GiB for
        a 32-bit client (`compat`)."""
        area = bytearray(content)
        with self._lock:
            address = self._next[compat]
            # A guard page between areas: running off the end of one is EFAULT, as in life.
            self._next[compat] += (len(area) // self._PAGE + 2) * self._PAGE
            self._areas[address] = area
        return address

    def read(self, address: int, length: int) -> bytes:
        """The bytes at `address`. OSError EFAULT where there are none."""
        area, offset = self._find(address, length)
        return bytes(area[offset : offset + length])

    def write(self, address: int, data: bytes) -> None:
        """Stores `data` at `address`. OSError EFAULT where there is no memory."""
        area, offset = self._find(address, len(data))
        area[offset : offset + len(data)] = data

    def _find(self, address: int, length: int) -> tuple[bytearray, int]:
        with self._lock:  # another client may alloc meanwhile
            areas = list(self._areas.items())
        for base, area in areas:
            if base <= address and address + length <= base + len(area):
                return area, address - base
        raise oserror(errno.EFAULT)


def oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))
