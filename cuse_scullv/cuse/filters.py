"""Filters: what befalls a device's requests before they are answered: errors, delays, less than
was asked for. They are heeded in C (csrc/filter/), in front of handlers in Python and of C's own
answers alike."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from cuse_scullv._native import ffi, lib
from cuse_scullv.capability import has_sys_admin
from cuse_scullv.state import Place

from .filter_ioctl import ADD, NEXT, Seen
from .filterspec import FILTERS_MAX, FilterSpec, parse_filter, parse_filters

if TYPE_CHECKING:
    from cuse_scullv._native import CData


def _oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Filters:
    """The filters of one device, in the order in which requests come by them.

    Any thread; a change counts from the next request on. Requests that a delay holds up go on when
    anything changes.
    """

    def __init__(
        self, filters: Iterable[str | FilterSpec] = (), *, place: Place | None = None
    ) -> None:
        """`place`: where they outlive this process; those that are there already stay. Raises
        ValueError, of one line, for a filter that is none; OSError ENOSPC: more than 16."""
        specs = parse_filters(filters)
        if place is None or not place.is_kept:
            pointer = lib.filters_new(-1, 0)
        else:
            pointer = lib.filters_new(place.state.fd, place.number)
        if pointer == ffi.NULL:
            raise MemoryError("no memory for filters")
        self.pointer: CData = ffi.gc(pointer, lib.filters_free)
        self.is_admin: Callable[[int], bool] = has_sys_admin
        """Whether the thread of this number may change them by ioctl."""
        self.forbids: Callable[[], int] = lambda: 0
        """An errno that adding one by ioctl fails with; 0: none."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when one was added or removed here."""
        for spec in specs:
            self.add(spec)

    def __iter__(self) -> Iterator[Seen]:
        number = 0
        while (found := self.next(number)) is not None:
            yield found
            number = found.number

    def add(self, filter: str | FilterSpec) -> int:
        """Adds it at the end: its number. Raises ValueError; OSError ENOSPC: there are 16."""
        spec = filter if isinstance(filter, FilterSpec) else parse_filter(filter)
        number = lib.filters_add(self.pointer, spec.native())
        if number < 0:
            raise OSError(-number, f"{FILTERS_MAX} filters are all that there can be: remove one")
        self.on_change()
        return int(number)

    def remove(self, number: int) -> None:
        """Raises OSError ENOENT: no filter has this number."""
        code = lib.filters_remove(self.pointer, number)
        if code < 0:
            raise OSError(-code, f"no filter {number}")
        self.on_change()

    def next(self, after: int) -> Seen | None:
        """The first filter whose number is larger than `after`."""
        found = ffi.new("struct filter_seen *")
        if not lib.filters_next(self.pointer, after, found):
            return None
        text = os.fsdecode(ffi.string(found.text))
        return Seen(found.number, text, found.seen, found.acted)

    def control(self, cmd: int, data: bytes, caller: int) -> bytes:
        """Does what an ioctl of filter_ioctl.py asks for: the bytes that the client gets. Raises
        OSError: EPERM, EINVAL, ENOENT, ENOSPC, and what `forbids` says."""
        try:
            asked = Seen.unpack(data)
            if cmd == NEXT:
                found = self.next(asked.number)
                if found is None:
                    raise _oserror(errno.ENOENT)
                return found.pack()
            if not self.is_admin(caller):
                raise _oserror(errno.EPERM)
            if cmd == ADD:
                if code := self.forbids():
                    raise _oserror(code)
                return asked._replace(number=self.add(asked.text)).pack()
        except ValueError:
            raise _oserror(errno.EINVAL) from None
        self.remove(asked.number)
        return data
