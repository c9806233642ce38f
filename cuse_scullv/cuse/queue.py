"""Queue: items for clients that read, each in his turn."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Generic, TypeVar

from .file import File
from .line import RESERVE_S, Line

T = TypeVar("T")


class Queue(Generic[T]):
    """Items, first in first out, for clients that wait for them in the order they came in:

        self.messages = cuse.Queue()
        ...
        def read(self, file, size):
            return self.messages.get(file)[:size]

        def poll(self, file):
            return select.POLLIN if self.messages.poll(file) else 0

    A client that polls has its place as one that blocks does: when its turn comes it is woken, and
    an item is reserved for its open file. Any thread. It has no bound: for one, take a Semaphore
    of the room beside it."""

    def __init__(self, items: Iterable[T] = (), *, reserve: float = RESERVE_S) -> None:
        """`reserve`: seconds that an item is kept for a client that polls; then it is the next
        one's. ValueError below 0."""
        self._line = Line(items, reserve)

    def __len__(self) -> int:
        return self._line.count()

    @property
    def items(self) -> list[T]:
        """Those that no method has got yet, the first one first; for save(). May be set, by
        restore()."""
        return self._line.units()

    @items.setter
    def items(self, items: Iterable[T]) -> None:
        self._line.replace(items)

    def put(self, item: T) -> None:
        """Adds an item, and wakes who is next: notify() is not needed."""
        self._line.add([item])

    def get(self, file: File, timeout: float | None = None) -> T:
        """The first item, in a `def` method; waits for it where there is none, or others were
        first.

        OSError: EAGAIN at once if the file is O_NONBLOCK; ETIMEDOUT when `timeout` s passed, or
        the device's deadline; EINTR and ENODEV as of Condition. No item is lost by it."""
        return _only(self._line.take(file, timeout))

    async def get_async(self, file: File, timeout: float | None = None) -> T:
        """get in an `async def` method; in place of EINTR, ENODEV and the device's deadline the
        method is cancelled."""
        return _only(await self._line.take_async(file, timeout))

    def poll(self, file: File) -> bool:
        """For the device's poll(): whether get() would not wait. If not, the file waits in the line
        from here on, and is woken when it is its turn."""
        return self._line.poll(file)


def _only(units: list[T]) -> T:
    if not units:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return units[0]
