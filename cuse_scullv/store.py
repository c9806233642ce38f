"""The bytes of a device: csrc/store/store.c for Python.

Positions, lengths and sizes are in bytes. Functions raise OSError: ENOSPC at the budget's limit,
EFBIG past 2^63-1, EINVAL for a geometry that cannot be, ENOMEM where the machine has no more; and
OverflowError for a number below 0 or past 2^64-1. What a failed call was to change is unchanged.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuse_scullv._errors import check
from cuse_scullv._native import ffi, lib
from cuse_scullv.params import Geometry

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_TO_THE_END = 2**64 - 1


class Budget:
    """A limit in bytes of regions, shared by the stores made with it (csrc/memory/budget.c)."""

    def __init__(self, max_bytes: int) -> None:
        pointer = lib.budget_new(max_bytes)
        if pointer == ffi.NULL:
            raise MemoryError("no memory for a budget")
        self.max_bytes = max_bytes
        self.pointer = ffi.gc(pointer, lib.budget_free)

    def follow(self, fd: int) -> None:
        """From here on the file system of `fd`, which is the budget's now, keeps the limit."""
        lib.budget_follow(self.pointer, fd)

    @property
    def used(self) -> int:
        """Bytes that the stores hold now."""
        return int(lib.budget_used(self.pointer))


@dataclass(frozen=True)
class StoreInfo:
    """What a store is and holds at one moment (scullv.h: struct store_info).

    `size`, `quantum`, `region_bytes` (a quantum rounded up to pages) and `index_bytes` are bytes;
    `resident` what the quanta have of memory, `regions` how many those are; `qset` those of a
    quantum set; `changes` and `cuts` count what was done to the store.
    """

    size: int
    quantum: int
    region_bytes: int
    resident: int
    regions: int
    index_bytes: int
    qset: int
    changes: int
    cuts: int


class Store:
    """Quanta by number, with holes.

    `quantum` bytes each, `qset` of them a quantum set; memory comes out of `budget`. The C side
    counts its holders, so budget and store may be collected in any order.
    """

    def __init__(self, budget: Budget, quantum: int, qset: int) -> None:
        self._adopt(lib.store_new(budget.pointer, quantum, qset))

    @classmethod
    def of_file(
        cls,
        budget: Budget,
        geometry: Geometry,
        fd: int,
        *,
        offset: int = 0,
        fixed: int = 0,
        limited: bool = False,
    ) -> Store:
        """A store that is the file `fd`, from byte `offset` on; `fd` is the store's now.

        `fixed`: bytes of a device that does not grow, and keeps its bytes when it is trimmed.
        `limited`: `budget` is charged for what the file has; else its file system keeps the
        limit."""
        store = cls.__new__(cls)
        quantum, qset = geometry.quantum, geometry.qset
        store._adopt(lib.store_new_file(budget.pointer, quantum, qset, fd, offset, fixed, limited))
        return store

    def _adopt(self, pointer: Any) -> None:
        if pointer == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self.pointer: Any = ffi.gc(pointer, lib.store_free)

    def close(self) -> None:
        """Gives this reference back; open handles keep the bytes until they are closed too."""
        ffi.release(self.pointer)
        self.pointer = ffi.NULL

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes, fewer at the end of the data; holes are zeros."""
        length = max(0, min(length, self.info().size - offset))
        data = ffi.new("char[]", length + 1)
        return bytes(ffi.buffer(data, check(lib.store_read(self.pointer, offset, data, length))))

    def write(self, offset: int, data: ReadableBuffer) -> int:
        """The bytes written: fewer than given where the limit is met on the way."""
        source = ffi.from_buffer(data)
        with self._told(offset, len(source)):
            return check(lib.store_write(self.pointer, offset, source, len(source)))

    def trim(self, quantum: int, qset: int) -> None:
        """Empties the store, gives its memory back and adopts the geometry."""
        with self._told(0, _TO_THE_END):
            check(lib.store_trim(self.pointer, quantum, qset))

    def punch(self, offset: int, length: int) -> None:
        """Makes the range a hole; whole quanta give their memory back, the size stays."""
        with self._told(offset, length):
            check(lib.store_punch(self.pointer, offset, length))

    def resize(self, size: int) -> None:
        """Cuts, or grows by a hole."""
        with self._told(0, _TO_THE_END):
            check(lib.store_resize(self.pointer, size))

    def allocate(self, offset: int, length: int, *, keep_size: bool = False) -> None:
        """Gives the range memory, and grows the size to its end unless `keep_size`.

        All of it or, with ENOSPC, none.
        """
        with self._told(offset, length):
            check(lib.store_allocate(self.pointer, offset, length, keep_size))

    def sync(self) -> None:
        """What was written is where it outlives a power cut, if it is a file on a disk."""
        code = lib.store_sync(self.pointer)
        if code != -errno.ENOSYS:
            check(code)

    def seek_data(self, offset: int) -> int:
        """The first position at or after `offset` that has memory; ENXIO: there is none."""
        return check(lib.store_seek_extent(self.pointer, offset, False))

    def seek_hole(self, offset: int) -> int:
        """The first position at or after `offset` in a hole, or the end; ENXIO past the end."""
        return check(lib.store_seek_extent(self.pointer, offset, True))

    def info(self, *, count: bool = True) -> StoreInfo:
        """What the store is and holds now. Without `count`, which takes longer the more there are,
        no regions."""
        info = ffi.new("struct store_info *")
        lib.store_get_info(self.pointer, info)
        return StoreInfo(
            size=info.size,
            quantum=info.quantum,
            region_bytes=info.region_bytes,
            resident=info.resident,
            regions=int(lib.store_count_quanta(self.pointer)) if count else 0,
            index_bytes=info.index_bytes,
            qset=info.qset,
            changes=info.changes,
            cuts=info.cuts,
        )

    @property
    def descriptor(self) -> int:
        """The file that the store is, which it closes itself; -1: none."""
        return int(lib.store_descriptor(self.pointer))

    @property
    def file(self) -> int:
        """The file that the store is, for the kernel to read and write without asking; -1: none."""
        return int(lib.store_file(self.pointer))

    @property
    def resident(self) -> int:
        """Bytes of memory, or of disk, that the quanta have: StoreInfo's, and nothing counted."""
        info = ffi.new("struct store_info *")
        lib.store_get_info(self.pointer, info)
        return int(info.resident)

    def next_quantum(self, start: int) -> tuple[int, int] | None:
        """The first quantum >= `start` that has memory: its number, its offset in the arena."""
        number, offset = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        if not lib.store_next_quantum(self.pointer, start, number, offset):
            return None
        return int(number[0]), int(offset[0])

    def quanta(self) -> Iterator[tuple[int, int]]:
        """All quanta that have memory, in order, as next_quantum() gives them."""
        found = self.next_quantum(0)
        while found is not None:
            yield found
            found = self.next_quantum(found[0] + 1)

    @contextlib.contextmanager
    def _told(self, offset: int, length: int) -> Iterator[None]:
        """A change: the file view, if there is one, drops what the kernel has of the range, before
        (what was stored through a mapping comes back first) and after."""
        lib.store_tell_watch(self.pointer, offset, length)
        try:
            yield
        finally:
            lib.store_tell_watch(self.pointer, offset, length)
