"""Quantum, quantum set and order: the numbers a device is built from. Pure, no I/O.

A device is a list of items; an item is a quantum set, `qset` quanta; a quantum is `quantum` bytes.
`order` is the same setting seen in pages, as in *Linux Device Drivers* chapter 8: a quantum of
order n is PAGE_SIZE << n bytes. What the ioctls set is *pending*, one `Params` for all devices of
a server, and a device adopts it when it is trimmed.
"""

from __future__ import annotations

import dataclasses
import mmap
import re
from dataclasses import dataclass

PAGE_SIZE = mmap.PAGESIZE
"""Bytes of one page of this machine."""

QUANTUM_MAX = 64 << 20
"""Bytes of the largest quantum: what one region of the arena may be."""

ORDER_MAX = (QUANTUM_MAX // PAGE_SIZE).bit_length() - 1
"""The order of QUANTUM_MAX: 14 where a page is 4 KiB."""

QSET_MAX = 1 << 20
"""Quanta of the largest quantum set.

The book keeps a set as one kmalloc of pointers, and kmalloc ends at 4 MiB, 2^19 of them: no larger
set has ever worked. Here a set is arithmetic and costs nothing, and QSET_MAX * QUANTUM_MAX, the
bytes of the largest item (2^46), is far from overflowing a position.
"""

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SIZE = re.compile(r"\s*(\d+)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """The bytes that a size means: "4096", "4k", "64K", "1M", "2GiB". Units are powers of 1024.

    Raises ValueError, of one line, for anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: type bytes, or a number with K, M, G or T: 64K")
    digits, unit = match.groups()
    return int(digits) << _UNITS[unit.lower()]


def human_bytes(count: int) -> str:
    """`count` bytes for a person: '65536 bytes', '256 MiB', '1.5 GiB'."""
    if count < 1 << 20:
        return f"{count} bytes"
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.4g} {unit}"
    raise AssertionError(count)


def order_of(quantum: int) -> int:
    """The order of the smallest power-of-two number of pages that holds `quantum` bytes.

    The inverse of `quantum_of` where quantum is such a number of pages; else the order its region
    would have, as the kernel's get_order() counts.
    """
    pages = -(-quantum // PAGE_SIZE)
    return max(pages - 1, 0).bit_length()


def quantum_of(order: int) -> int:
    """The bytes of a quantum of `order`. Raises ValueError outside 0 … ORDER_MAX."""
    if not 0 <= order <= ORDER_MAX:
        raise ValueError(f"order must be 0 to {ORDER_MAX}, not {order}")
    return PAGE_SIZE << order


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a device is cut into. Raises ValueError, of one line, for what no device can have."""

    quantum: int
    """Bytes of one quantum."""
    qset: int
    """Quanta of one quantum set."""

    def __post_init__(self) -> None:
        if not 1 <= self.quantum <= QUANTUM_MAX:
            raise ValueError(f"quantum must be 1 to {QUANTUM_MAX} bytes, not {self.quantum}")
        if not 1 <= self.qset <= QSET_MAX:
            raise ValueError(f"qset must be 1 to {QSET_MAX}, not {self.qset}")

    @property
    def order(self) -> int:
        """The order of a quantum's region."""
        return order_of(self.quantum)

    @property
    def is_order(self) -> bool:
        """Whether the order says it all: the quantum is exactly PAGE_SIZE << order."""
        return self.quantum == PAGE_SIZE << self.order

    @property
    def region_bytes(self) -> int:
        """The memory of one quantum: its bytes rounded up to pages."""
        return -(-self.quantum // PAGE_SIZE) * PAGE_SIZE

    @property
    def item_bytes(self) -> int:
        """The bytes of one list item, a whole quantum set."""
        return self.quantum * self.qset

    def with_order(self, order: int) -> Geometry:
        """The same set of quanta of `order`. Raises ValueError outside 0 … ORDER_MAX."""
        return Geometry(quantum_of(order), self.qset)

    def with_quantum(self, quantum: int) -> Geometry:
        """The same set of quanta of `quantum` bytes. Raises ValueError outside 1 … QUANTUM_MAX."""
        return Geometry(quantum, self.qset)

    def with_qset(self, qset: int) -> Geometry:
        """Sets of `qset` of the same quanta. Raises ValueError outside 1 … QSET_MAX."""
        return Geometry(self.quantum, qset)


@dataclass(frozen=True, slots=True)
class Preset:
    """One of the book's modules: its geometry at load time, and its ioctls."""

    name: str
    geometry: Geometry
    magic: str
    """The magic of the module's own ioctls: "K" has scullv's numbers, "k" has scull's."""
    orders_are_bytes: bool = False
    """Where scullv's commands have an order, this module's have a quantum in bytes."""
    guarded: bool = False
    """Whether not everybody may open it at any time: access.py."""

    @property
    def start(self) -> str:
        """Its geometry in words."""
        geometry = self.geometry
        quantum = f"quantum {geometry.quantum}"
        return (
            f"{f'order {geometry.order}' if geometry.is_order else quantum}, qset {geometry.qset}"
        )


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("scullv", Geometry(PAGE_SIZE << 4, 500), "K"),
        Preset("scullp", Geometry(PAGE_SIZE << 0, 500), "K"),
        Preset("scullc", Geometry(4000, 500), "K", orders_are_bytes=True),
        Preset("scull", Geometry(4000, 1000), "k"),
        *(
            Preset(name, Geometry(4000, 1000), "k", guarded=True)
            for name in ("scullsingle", "sculluid", "scullwuid", "scullpriv")
        ),
    )
}
"""By name. The numbers are those of scullv.h, scullp.h, scullc.h and scull.h of the book."""

SCULLV = PRESETS["scullv"]


@dataclass(frozen=True, slots=True)
class Params:
    """What all devices of one server share: the pending geometry, and by whose rules it changes.

    Immutable: who owns the current one replaces it under a lock of his own, which is what makes
    the exchanging ioctls atomic.
    """

    pending: Geometry = SCULLV.geometry
    """What a device adopts at its next trim."""
    preset: Preset = SCULLV
    ldd3: bool = False
    """The book's rules: the preset's own ioctls only, its permissions, its errors."""

    @classmethod
    def of(
        cls,
        preset: str = "scullv",
        *,
        order: int | None = None,
        quantum: int | None = None,
        qset: int | None = None,
        ldd3: bool = False,
    ) -> Params:
        """The parameters a server starts with: a preset's, save for what is given.

        Raises ValueError, of one line: no such preset, both an order and a quantum, or a value
        out of range.
        """
        if preset not in PRESETS:
            raise ValueError(f"no preset {preset!r}: type one of {', '.join(PRESETS)}")
        if order is not None and quantum is not None:
            raise ValueError("an order and a quantum were given: type one of the two")
        chosen = PRESETS[preset]
        geometry = chosen.geometry
        if order is not None:
            geometry = geometry.with_order(order)
        if quantum is not None:
            geometry = geometry.with_quantum(quantum)
        if qset is not None:
            geometry = geometry.with_qset(qset)
        return cls(geometry, chosen, ldd3)

    def with_pending(self, geometry: Geometry) -> Params:
        """These parameters with another pending geometry."""
        return dataclasses.replace(self, pending=geometry)

    def reset(self) -> Params:
        """These parameters with the preset's own values pending, whatever the server started with:
        the book's RESET goes back to the compile-time numbers, not to the module parameters."""
        return self.with_pending(self.preset.geometry)
