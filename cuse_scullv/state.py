"""What outlives a worker: csrc/recover/ for Python.

The keeper makes the memory; every worker finds in it what the one before had come to: open files,
their positions, requests under way, the pending parameters, the geometry of the devices.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuse_scullv._native import ffi, lib
from cuse_scullv.params import Geometry

if TYPE_CHECKING:
    from cuse_scullv._native import CData


NOWHERE = -1
"""The place of a channel of which nothing is to outlive its process."""


class UnknownStateError(Exception):
    """State of another version of the program."""


def new_ledger() -> CData:
    """Of a channel whose process nothing outlives. Raises MemoryError."""
    return _made(lib.ledger_new(-1, 0, False))


def open_files(ledger: CData) -> Iterator[CData]:
    """The `struct open_file` of each file that is open; valid until the next one is asked for."""
    entry, found = ffi.new("uint32_t *"), ffi.new("struct open_file *")
    while lib.ledger_next_open(ledger, entry, found):
        yield found


def _made(ledger: CData) -> CData:
    if ledger == ffi.NULL:
        raise MemoryError("no memory for a ledger")
    return ledger


@dataclass(frozen=True)
class Place:
    """The part of the state that is of one channel."""

    state: State
    number: int

    @property
    def is_kept(self) -> bool:
        """Whether anything of the channel outlives its process."""
        return self.number != NOWHERE

    def ledger(self, *, saves: bool = False) -> CData:
        """Of the channel that it is given to; `saves`: a device in Python. Raises MemoryError."""
        if not self.is_kept:
            return new_ledger()
        return _made(lib.ledger_new(self.state.fd, self.number, saves))


class State:
    """The state of one server. Channels have places in it, by number."""

    def __init__(self, fd: int) -> None:
        """`fd`, from `create` or from a keeper before, belongs to the object. Raises
        UnknownStateError."""
        pointer = lib.state_open(fd)
        if pointer == ffi.NULL:
            if ffi.errno == errno.EPROTO:
                raise UnknownStateError(
                    f"its state is not of version {lib.state_version()}: stop it, and start it anew"
                )
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self.fd = fd
        self.pointer = ffi.gc(pointer, lib.state_close)

    @classmethod
    def create(cls, devices: int, channels: int) -> State:
        """Raises OSError."""
        fd = lib.state_create(devices, channels)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        return cls(fd)

    def settle(self, channels: int) -> None:
        """After a death, before anything of it is used: what requests were about to move is
        moved."""
        lib.state_kill_points(self.pointer)  # in test builds
        for number in range(channels):
            ledger = _made(lib.ledger_new(self.fd, number, False))
            lib.ledger_settle(ledger, self.pointer)
            lib.ledger_free(ledger)

    def close(self) -> None:
        ffi.release(self.pointer)
        os.close(self.fd)

    @property
    def pending(self) -> Geometry | None:
        """The pending parameters; None: they were never changed."""
        value = ffi.new("uint64_t *")
        return _unpacked(value[0]) if lib.state_get_pending(self.pointer, value) else None

    def set_pending(self, before: Geometry, after: Geometry) -> None:
        """In an ioctl, on the thread that runs it."""
        lib.state_set_pending(self.pointer, _packed(before), _packed(after))

    def replayed_pending(self) -> Geometry | None:
        """What was pending when a worker before this one ran the ioctl that this thread runs, and
        had come so far as to change it; None: it had not."""
        value = ffi.new("uint64_t *")
        return _unpacked(value[0]) if lib.state_replays_pending(value) else None


def _packed(geometry: Geometry) -> int:
    return geometry.quantum << 32 | geometry.qset


def _unpacked(value: int) -> Geometry:
    return Geometry(value >> 32, value & 0xFFFFFFFF)
