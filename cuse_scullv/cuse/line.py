"""Line: those who wait for units of something, in the order in which they came.

Some wait in a handler, and are handed a unit when it is their turn. Others poll: they wait in the
kernel, and have to come back for it, so a unit is reserved for their open file for a while. Were it
not, whoever blocks would always be quicker, and a client that polls would never get anything.

Invariant: where a unit is free (not reserved), nobody is in the line. A file that let a reservation
pass is `idle`: it looks and does not take, and gets no other until it has tried to.

Lock order: the line's lock is a leaf; nobody is woken while it is held."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from .current import current
from .loop import handler_loop
from .waiter import Waiter

T = TypeVar("T")
Wake = Callable[[], object]

RESERVE_S = 0.1
"""How long a unit is kept for a client that polls, seconds: some hundred times what it takes a
client that runs to come back for it."""


class Waiting(Protocol):
    """An open file, as far as it matters here."""

    @property
    def nonblocking(self) -> bool: ...
    def notify(self) -> None: ...
    def _at_end(self, call: Callable[[Any], object]) -> None: ...


class Place(Generic[T]):
    """One that waits: in a handler, which `wake` wakes, or (None) in poll(2)."""

    __slots__ = ("file", "handed", "wake")

    def __init__(self, file: Waiting, wake: Wake | None) -> None:
        self.file = file
        self.wake = wake
        self.handed: list[T] = []  # the unit, when it is his turn


def after(seconds: float, call: Callable[[], object]) -> None:
    """Calls `call` on the handlers' loop, in `seconds`."""
    loop = handler_loop()
    loop.call_soon_threadsafe(loop.call_later, seconds, call)


class Line(Generic[T]):
    """Units, and those who wait for them. Any thread."""

    def __init__(
        self,
        units: Iterable[T] = (),
        reserve: float = RESERVE_S,
        after: Callable[[float, Callable[[], object]], None] = after,
    ) -> None:
        """`reserve`: seconds that a unit is kept for who polls; ValueError below 0. `after`: the
        clock, for tests."""
        if reserve < 0:
            raise ValueError(f"reserve {reserve}: take seconds, 0 or more")
        self._reserve = reserve
        self._after = after
        self._lock = threading.Lock()
        # All under the lock.
        self._units = deque(units)
        self._handed: dict[Place[T], T] = {}  # to handlers that have not gone on yet
        self._places: OrderedDict[Place[T], None] = OrderedDict()  # in order of arrival
        self._polling: dict[Waiting, Place[T]] = {}  # of _places, those in poll(2)
        self._reserved: dict[Waiting, object] = {}  # the mark of each reservation
        self._idle: set[Waiting] = set()

    # --- units ------------------------------------------------------------------------------

    def units(self) -> list[T]:
        """Those that nobody has taken to the end, the first one first: those handed to handlers
        that have not gone on yet are among them."""
        with self._lock:
            return [*self._handed.values(), *self._units]

    def count(self) -> int:
        with self._lock:
            return len(self._handed) + len(self._units)

    def add(self, units: Iterable[T]) -> None:
        """More of them, behind the others."""
        with self._lock:
            self._units.extend(units)
            wakes = self._deal()
        _call(wakes)

    def withdraw(self, n: int) -> list[T]:
        """Up to `n` of those that no handler was handed, the last ones first. Whoever was told by
        poll(2) that there is one may find none."""
        with self._lock:
            return [self._units.pop() for _ in range(min(n, len(self._units)))]

    def replace(self, units: Iterable[T]) -> None:
        """In place of those that nobody has taken yet."""
        with self._lock:
            self._units = deque(units)
            wakes = self._deal()
        _call(wakes)

    # --- taking -----------------------------------------------------------------------------

    def try_take(self, file: Waiting) -> list[T]:
        """The unit that `file` may have now, in a list; [] if it has to wait. A place that it has
        in the line for poll(2) stays."""
        with self._lock:
            self._idle.discard(file)
            if self._reserved.pop(file, None) is None and not self._has_free():
                return []
            return [self._units.popleft()] if self._units else []

    def enter(self, file: Waiting, wake: Wake) -> Place[T]:
        """A place for a handler: `wake` is called when it is its turn. To be left by leave()."""
        place: Place[T] = Place(file, wake)
        with self._lock:
            self._places[place] = None
            wakes = self._deal()
        _call(wakes)
        return place

    def leave(self, place: Place[T], takes: bool) -> list[T]:
        """Gives the place up: with the unit that it was handed, if it was; unless `takes`, that is
        the next one's."""
        with self._lock:
            self._places.pop(place, None)
            self._handed.pop(place, None)
            if takes or not place.handed:
                return place.handed
            self._units.extendleft(place.handed)
            wakes = self._deal()
        _call(wakes)
        return []

    def take(self, file: Waiting, timeout: float | None) -> list[T]:
        """Waits in a `def` handler for a unit; [] when `timeout` s passed. OSError: EAGAIN, as the
        file is O_NONBLOCK, or what the handler is to end with."""
        unit = self._take_now(file)
        if unit:
            return unit
        request = current.get()
        waiter = Waiter()
        place = self.enter(file, waiter.wake)
        goes_on = False
        try:
            waiter.sleep_for(request, timeout)
            goes_on = request is None or not request.cancelled
        finally:
            unit = self.leave(place, goes_on)
        if request is not None:
            request.check()
        return unit

    async def take_async(self, file: Waiting, timeout: float | None) -> list[T]:
        """As take, in an `async def` handler, which is cancelled where the other raises."""
        unit = self._take_now(file)
        if unit:
            return unit
        loop = asyncio.get_running_loop()
        turn = asyncio.Event()
        place = self.enter(file, lambda: loop.call_soon_threadsafe(turn.set))
        goes_on = False
        waiting = asyncio.ensure_future(turn.wait())
        try:
            await asyncio.wait([waiting], timeout=timeout)
            goes_on = True
        finally:
            waiting.cancel()
            unit = self.leave(place, goes_on)
        return unit

    def _take_now(self, file: Waiting) -> list[T]:
        unit = self.try_take(file)
        if not unit and file.nonblocking:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return unit

    # --- polling ----------------------------------------------------------------------------

    def poll(self, file: Waiting) -> bool:
        """Whether there is a unit for `file` now. If not, it waits in the line from here on."""
        with self._lock:
            if file in self._reserved or self._has_free():
                return True
            if file in self._polling:
                return False
            place: Place[T] = Place(file, None)
            self._places[place] = None
            self._polling[file] = place
        file._at_end(self.forget)
        return False

    def forget(self, file: Waiting) -> None:
        """The file has been released: it polls no more, and its reservation is another's."""
        with self._lock:
            self._idle.discard(file)
            self._reserved.pop(file, None)
            place = self._polling.pop(file, None)
            if place is not None:
                del self._places[place]
            wakes = self._deal()
        _call(wakes)

    def _lapse(self, file: Waiting, mark: object) -> None:
        with self._lock:
            if self._reserved.get(file) is not mark:
                return  # it was used, and there may be another by now
            del self._reserved[file]
            self._idle.add(file)
            wakes = self._deal()
        _call(wakes)

    # --- with the lock held -----------------------------------------------------------------

    def _has_free(self) -> bool:
        return len(self._units) > len(self._reserved)

    def _deal(self) -> list[Wake]:
        """Gives free units to those whose turn it is; who is to be woken when the lock is free."""
        wakes: list[Wake] = []
        while self._places and self._has_free():
            place = next(iter(self._places))
            if place.wake is None:
                del self._places[place], self._polling[place.file]
                wakes.append(place.file.notify)
                if place.file in self._idle:
                    continue  # it may look; it is nobody's turn yet
                blocked = self._blocked(place.file)
                if blocked is None:
                    wakes.append(self._book(place.file))
                    continue
                place = blocked
            wakes.append(self._hand(place))
        return wakes

    def _blocked(self, file: Waiting) -> Place[T] | None:
        """A handler for the same open file: whoever polls has to come back, it does not."""
        for place in self._places:
            if place.file is file and place.wake is not None:
                return place
        return None

    def _hand(self, place: Place[T]) -> Wake:
        del self._places[place]
        unit = self._units.popleft()
        place.handed.append(unit)
        self._handed[place] = unit
        assert place.wake is not None
        return place.wake

    def _book(self, file: Waiting) -> Wake:
        mark = object()
        self._reserved[file] = mark
        return lambda: self._after(self._reserve, lambda: self._lapse(file, mark))


def _call(wakes: list[Wake]) -> None:
    for wake in wakes:
        wake()
