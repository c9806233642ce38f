"""The ioctls that show and change the filters of a device while clients use it. The channel answers
them, before the device sees them; no filter befalls them (csrc/channel/sieve.c)."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

_SHAPE = struct.Struct("=QQQII480s")  # number, seen, acted, kind, reserved, text

_READ_WRITE = 3


def _command(number: int) -> int:
    return _READ_WRITE << 30 | _SHAPE.size << 16 | 0xEE << 8 | number


NEXT = _command(0x20)
"""The first filter whose number is larger than the one passed; ENOENT: there is none."""
ADD = _command(0x21)
"""Adds the filter of this text at the end; its number comes back. EPERM, EINVAL, ENOSPC."""
REMOVE = _command(0x22)
"""Removes the filter of this number. EPERM, ENOENT."""
COMMANDS = frozenset({NEXT, ADD, REMOVE})


class Seen(NamedTuple):
    """A filter that is in force, and what it has come to."""

    number: int
    """Given once in the life of a server: what `remove` takes."""
    text: str
    seen: int = 0
    """Requests that it concerns, since it was added."""
    acted: int = 0
    """On so many of them it acted."""

    def pack(self) -> bytes:
        return _SHAPE.pack(self.number, self.seen, self.acted, 0, 0, os.fsencode(self.text))

    @classmethod
    def unpack(cls, data: bytes) -> Seen:
        """Raises ValueError for what none has packed."""
        if len(data) != _SHAPE.size:
            raise ValueError(f"{len(data)} bytes are no filter")
        number, seen, acted, _, _, text = _SHAPE.unpack(data)
        return cls(number, os.fsdecode(text.rstrip(b"\0")), seen, acted)
