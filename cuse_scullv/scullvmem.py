"""The text of scullvmem: what the book's module shows of its memory in /proc/scullvmem.

The layout is that of scullv_read_procmem() in the book's scullv/main.c: a line for the device, a
line for each item of its list, and for the last item a line for each quantum it has. The book
prints kernel addresses. Here an item is named by the position of its first byte, and a set or a
quantum by its offset in the arena: the set by that of its first quantum, "(null)" if it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from cuse_scullv.params import Geometry

LINES_MAX = 10_000
"""Lines a device has before its text is cut."""

NextQuantum = Callable[[int], tuple[int, int] | None]
"""The first quantum from a number on that has memory: its number and its region's offset in the
arena, bytes; None where there is none. As store_next_quantum()."""


def scullvmem(
    device: int, geometry: Geometry, size: int, next_quantum: NextQuantum
) -> Iterator[str]:
    """The lines for one device, each with its newline, made as they are taken.

    `device` is its number, `size` its bytes. As in the book the list goes from the first item,
    which is always there, to the last one that has memory.
    """
    lines = _lines(device, geometry, size, next_quantum)
    yield from islice(lines, LINES_MAX)
    if next(lines, None) is not None:
        yield f"  cut after {LINES_MAX} lines\n"


def _lines(device: int, geometry: Geometry, size: int, next_quantum: NextQuantum) -> Iterator[str]:
    qset = geometry.qset
    unit = f"order {geometry.order}" if geometry.is_order else f"q {geometry.quantum}"
    yield "\n"
    yield f"Device {device}: qset {qset}, {unit}, sz {size}\n"
    item = 0
    found = next_quantum(0)
    if found is None:
        yield _item_line(geometry, item, None)
    while found is not None:
        number, offset = found
        while item < number // qset:
            yield _item_line(geometry, item, None)
            item += 1
        yield _item_line(geometry, item, offset)
        item += 1
        last, found = found, next_quantum(item * qset)
        if found is None:
            yield from _quantum_lines(qset, last, next_quantum)


def _item_line(geometry: Geometry, item: int, offset: int | None) -> str:
    qset = "(null)" if offset is None else f"{offset:#x}"
    return f"  item at {item * geometry.item_bytes:#x}, qset at {qset}\n"


def _quantum_lines(qset: int, first: tuple[int, int], next_quantum: NextQuantum) -> Iterator[str]:
    item = first[0] // qset
    found: tuple[int, int] | None = first
    while found is not None and found[0] // qset == item:
        number, offset = found
        yield f"    {number % qset: 4d}:{offset:>#8x}\n"
        found = next_quantum(number + 1)
