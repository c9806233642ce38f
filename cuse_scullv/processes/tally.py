"""Tally: a number that the keeper counts and its workers read."""

from __future__ import annotations

import ctypes
import mmap


class Tally:
    """Shared with all processes that are forked later. They only read it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # MAP_SHARED
        self._number = ctypes.c_uint64.from_buffer(self._memory)

    def add(self) -> None:
        self._number.value += 1

    def read(self) -> int:
        return self._number.value
