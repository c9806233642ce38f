"""The ioctls by which a jobserver is asked and told."""

from __future__ import annotations

import ctypes
import errno
import math
import os
from collections.abc import Mapping

from cuse_scullv import cuse

TOKENS_MAX = 65_536
"""As many as a FIFO holds bytes (pipe(7): PIPE_CAPACITY)."""
_HOLDERS_MAX = 1024


class Limits(ctypes.Structure):
    """What can be changed."""

    _fields_ = [
        ("min_memory", ctypes.c_uint64),  # bytes; 0: none
        ("load", ctypes.c_double),  # 0: none
        ("tokens", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]

    def check(self) -> None:
        """OSError, EINVAL."""
        if not 1 <= self.tokens <= TOKENS_MAX or not (math.isfinite(self.load) and self.load >= 0):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


class State(ctypes.Structure):
    """Of the jobserver, now."""

    _fields_ = [
        ("min_memory", ctypes.c_uint64),
        ("load", ctypes.c_double),
        ("tokens", ctypes.c_uint32),
        ("held", ctypes.c_uint32),  # tokens that are out
        ("handed", ctypes.c_uint64),  # tokens that were read since the start
        ("refused", ctypes.c_uint64),  # bytes written that were no tokens
        ("is_shut", ctypes.c_uint32),  # load or memory forbid another job
        ("reserved", ctypes.c_uint32),
    ]


class _Holding(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint32), ("tokens", ctypes.c_uint32)]


class Holders(ctypes.Structure):
    """Processes that have tokens; pid 0: those that the server cannot see."""

    _fields_ = [("count", ctypes.c_uint32), ("holdings", _Holding * _HOLDERS_MAX)]

    @classmethod
    def of(cls, tokens: Mapping[int, int]) -> Holders:
        """Of tokens by pid; the first 1,024."""
        first = list(tokens.items())[:_HOLDERS_MAX]
        return cls(len(first), (_Holding * _HOLDERS_MAX)(*(_Holding(*held) for held in first)))

    @property
    def tokens(self) -> dict[int, int]:
        """By pid."""
        return {held.pid: held.tokens for held in self.holdings[: self.count]}


STATE = cuse.IOR("J", 0, State)
HOLDERS = cuse.IOR("J", 1, Holders)
LIMITS = cuse.IOW("J", 2, Limits)
