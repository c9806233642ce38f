"""Statistics: what a channel has answered so far.

They are counted in C for every request, those of the data path in C among them
(csrc/channel/counters.c), and added up when asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from cuse_scullv._native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cuse_scullv._native import CData

LATENCY_S = (*(2.0 ** (10 + i) / 1e9 for i in range(lib.COUNTED_BUCKETS - 1)), float("inf"))
"""The upper bounds of the buckets of `Operation.latency`, seconds: from 1.024 µs on, each twice the
one before; what took longer than 68.7 s is in the last."""

OPERATIONS = ("open", "release", "read", "write", "ioctl", "poll", "fsync", "resize", "remove")
"""Of enum call_kind, whose first ones they are."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What has been answered of one kind. The time is that from when the server received a request
    to its answer: waiting for a thread and in the method included, the kernel's part not."""

    requests: int = 0
    errors: int = 0
    """Those among the requests whose client got an errno: EAGAIN and EINTR count."""
    bytes: int = 0
    """Of payload: read, written, or copied in and out by ioctls."""
    seconds: float = 0.0
    """That all of them took together."""
    latency: tuple[int, ...] = (0,) * len(LATENCY_S)
    """How many took less than the bound of the same place in `LATENCY_S`, and not less than the one
    before."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a channel, since its start."""

    operations: Mapping[str, Operation] = field(default_factory=lambda: MappingProxyType({}))
    """By name, those that have been asked for: "open", "release", "read", "write", "ioctl",
    "poll"."""
    ioctls: Mapping[int, Operation] = field(default_factory=lambda: MappingProxyType({}))
    """By command: the first 64 that came and were not ENOTTY. All are in operations["ioctl"]."""
    under_way: int = 0
    """Requests that a method is at, or that wait for a thread."""
    placement: str = ""
    """Where the threads of a data path in C run: "none" (anywhere), "list", or what is in force now
    of "follow", "spin", "spinners", "crew", "free", "idlers", "pairs"."""

    @property
    def requests(self) -> int:
        return sum(operation.requests for operation in self.operations.values())

    @property
    def errors(self) -> int:
        return sum(operation.errors for operation in self.operations.values())

    @property
    def bytes(self) -> int:
        return sum(operation.bytes for operation in self.operations.values())


def statistics_of(channel: CData) -> Statistics:
    """Of a channel that is open."""
    counted = ffi.new("struct counted *")
    operations = {}
    for kind, name in enumerate(OPERATIONS):
        lib.channel_count(channel, kind, counted)
        operations[name] = _operation(counted)
    command = ffi.new("uint32_t *")
    ioctls = {}
    for index in range(lib.COUNTED_IOCTLS):
        if lib.channel_count_ioctl(channel, index, command, counted):
            ioctls[command[0]] = _operation(counted)
    asked = {name: operation for name, operation in operations.items() if operation.requests}
    return Statistics(
        MappingProxyType(asked),
        MappingProxyType(ioctls),
        lib.channel_under_way(channel),
        ffi.string(lib.channel_placement(channel)).decode(),
    )


def _operation(counted: CData) -> Operation:
    latency = tuple(counted.latency)
    return Operation(
        requests=sum(latency),
        errors=counted.errors,
        bytes=counted.bytes,
        seconds=counted.ns / 1e9,
        latency=latency,
    )
