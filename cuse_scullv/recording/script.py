"""Script: which line of a log a request is, and when its answer is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Protocol

from .log import asked
from .requests import Exchange, Poll, Release, Request

_SHOWN_MAX = 300  # characters of a request in a message


class DivergedError(Exception):
    """A request that the log has not, here; in one line."""

    def __init__(self, came: Request, expected: Exchange | None) -> None:
        self.line = expected.line if expected is not None else 0
        what = (
            f"expected {_shown(expected.request)}" if expected is not None else "expected no more"
        )
        super().__init__(f"{what}, came {_shown(came)}")


def _shown(request: Request) -> str:
    text = asked(request)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


class Play(Protocol):
    """Of the exchanges of a log, those of which one open file has some."""

    def take(self, request: Request) -> Exchange:
        """The exchange that `request` is. DivergedError where there is none."""

    def is_due(self, exchange: Exchange) -> bool:
        """Those that were answered before it have been."""

    def answered(self, exchange: Exchange) -> None:
        """It has been, or its client gave up."""


class InOrder:
    """The exchanges of one open file, or all open()s of a log, in the order in which they were
    asked and answered.

    Requests that were under way at the same time may come in any order among themselves; others may
    not. Not for several threads at once."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        played = (exchange for exchange in exchanges if _is_played(exchange.request))
        ordered = sorted(played, key=lambda exchange: (exchange.start_us, exchange.line))
        self._left = list(reversed(_without_repeats(ordered)))  # the next one last
        self._under_way: list[Exchange] = []

    @property
    def next_us(self) -> int | None:
        """When the next request began; None: there is none."""
        return self._left[-1].start_us if self._left else None

    def take(self, request: Request) -> Exchange:
        for index in self._eligible():
            if self._left[index].request == request:
                exchange = self._left.pop(index)
                self._under_way.append(exchange)
                return exchange
        raise DivergedError(request, self._left[-1] if self._left else None)

    def _eligible(self) -> Iterator[int]:
        """Where those are that may come now: before them nothing has to be answered."""
        first_end: int | None = None
        for index in range(len(self._left) - 1, -1, -1):
            exchange = self._left[index]
            if first_end is not None and exchange.start_us >= first_end:
                return
            yield index
            first_end = exchange.end_us if first_end is None else min(first_end, exchange.end_us)

    def is_due(self, exchange: Exchange) -> bool:
        return not any(
            other.end_us < exchange.end_us and not other.was_interrupted
            for other in (*self._under_way, *self._begun_before(exchange.end_us))
        )

    def _begun_before(self, when_us: int) -> Iterator[Exchange]:
        for exchange in reversed(self._left):
            if exchange.start_us >= when_us:
                return
            yield exchange

    def answered(self, exchange: Exchange) -> None:
        self._under_way.remove(exchange)


class AnyOrder:
    """All exchanges of a log, each of which is played once, whenever and on whichever file it is
    asked for."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._left: dict[Request, deque[Exchange]] = {}
        for exchange in exchanges:
            if _is_played(exchange.request) and not exchange.was_interrupted:
                self._left.setdefault(exchange.request, deque()).append(exchange)

    def take(self, request: Request) -> Exchange:
        left = self._left.get(request)
        if not left:
            raise DivergedError(request, None)
        return left.popleft()

    def is_due(self, exchange: Exchange) -> bool:
        return True

    def answered(self, exchange: Exchange) -> None:
        pass


def _is_played(request: Request) -> bool:
    """Others are answered whenever they come, as often as they come."""
    return not isinstance(request, (Poll, Release))


def _without_repeats(ordered: list[Exchange]) -> list[Exchange]:
    """Without requests that a signal ended and that were made again at once, as programs do
    (SA_RESTART; PEP 475): when signals come is not the device's."""
    return [
        exchange
        for exchange, after in zip_longest(ordered, ordered[1:])
        if not (
            exchange.was_interrupted and after is not None and after.request == exchange.request
        )
    ]
