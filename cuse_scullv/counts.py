"""What a device has answered, as the STATISTICS ioctl tells it: struct scullv_statistics of
csrc/scullv_ioctl.h. Counting is done in C (csrc/channel/counters.c)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

OPERATIONS = ("open", "release", "read", "write", "ioctl", "poll", "fsync", "resize", "remove")
"""SCULLV_COUNT_…, in order."""
BUCKETS = 28
BOUNDS_S = (*(2.0 ** (10 + i) / 1e9 for i in range(BUCKETS - 1)), float("inf"))
"""The upper bounds of `Count.latency`, seconds."""

_HEAD = struct.Struct("=4I16s")
_COUNT = struct.Struct(f"={3 + BUCKETS}Q")
SIZE = _HEAD.size + len(OPERATIONS) * _COUNT.size
"""Bytes of the struct."""


class Count(NamedTuple):
    """Of one operation. The time is that from a request's receipt to its answer."""

    bytes: int = 0
    errors: int = 0
    ns: int = 0
    latency: tuple[int, ...] = (0,) * BUCKETS
    """How many took less than the bound of the same place, and not less than the one before."""

    @property
    def requests(self) -> int:
        return sum(self.latency)

    def since(self, before: Count) -> Count:
        """What was counted after `before`; all of it, where a new process counts anew."""
        if self.requests < before.requests:
            return self
        return Count(
            self.bytes - before.bytes,
            self.errors - before.errors,
            self.ns - before.ns,
            tuple(now - then for now, then in zip(self.latency, before.latency, strict=True)),
        )

    def quantile(self, part: float) -> float:
        """Seconds that this part of the requests took at most, to a power of two; 0: there were
        none."""
        wanted, seen = part * self.requests, 0
        for number, bound in zip(self.latency, BOUNDS_S, strict=True):
            seen += number
            if seen and seen >= wanted:
                return bound
        return 0.0


@dataclass(frozen=True)
class Counts:
    """Of a node, or of a file view, since the process that serves began."""

    operations: Mapping[str, Count] = field(default_factory=dict)
    """By name, all of OPERATIONS."""
    under_way: int = 0
    placement: str = ""
    """Where the threads run; empty: there is no node, or no view."""
    deaths: int = 0
    """Of processes that served, and were followed by another."""

    def pack(self) -> bytes:
        head = _HEAD.pack(self.under_way, self.deaths, 0, 0, self.placement.encode())
        counts = (self.operations.get(name, Count()) for name in OPERATIONS)
        return head + b"".join(_COUNT.pack(*count[:3], *count.latency) for count in counts)

    @classmethod
    def unpack(cls, data: bytes) -> Counts:
        under_way, deaths, _, _, placement = _HEAD.unpack_from(data)
        counts = (Count(n[0], n[1], n[2], n[3:]) for n in _COUNT.iter_unpack(data[_HEAD.size :]))
        return cls(
            dict(zip(OPERATIONS, counts, strict=True)),
            under_way,
            placement.rstrip(b"\0").decode("ascii"),
            deaths,
        )
