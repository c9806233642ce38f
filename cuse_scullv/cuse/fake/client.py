"""FakeClient: what the server can see of a client of the fake kernel (remote.Remote)."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from ..remote import Area
from ..system_call import NUMBERS
from .memory import ClientMemory

_BUFFER = 0x7E00_0000_0000  # where the data of a read or write are; ClientMemory begins above


class FakeClient:
    """A client in a system call."""

    def __init__(
        self, memory: ClientMemory, direction: int | None = None, size: int = 0, data: bytes = b""
    ) -> None:
        """`direction`: system_call.READ or WRITE of `size` bytes, a write's `data`; None: it is in
        another one."""
        self._memory = memory
        self._direction = direction
        self._size = size
        self._data = data

    def system_call(self) -> str:
        ways = NUMBERS.get(platform.machine())
        if self._direction is None or ways is None:
            return "-1 0x0 0x0\n"
        number = ways[self._direction][0][0]
        return f"{number} 0x3 {_BUFFER:#x} {self._size:#x} 0x0 0x0 0x0 0x7ffe0000 0x55550000\n"

    def read(self, areas: Sequence[Area]) -> bytearray:
        found = bytearray()
        for address, length in areas:
            start = address - _BUFFER
            if start >= 0 and start + length <= len(self._data):
                found += self._data[start : start + length]
                continue
            try:
                found += self._memory.read(address, length)
            except OSError:
                if not found:
                    raise
                break
        return found

    def write(self, address: int, data: bytes) -> int:
        self._memory.write(address, data)
        return len(data)
