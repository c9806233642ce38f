"""Readiness: what poll() says of an open file that is played from a log.

How often a client polls depends on how quick it is, so polls are not matched with those of the log:
the log's are what was so, at which time.
"""

from __future__ import annotations

import select
from bisect import bisect_right
from collections.abc import Iterable

from .requests import Exchange, Poll

_EVER = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM


class Readiness:
    """Of one open file."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        polls = [exchange for exchange in exchanges if isinstance(exchange.request, Poll)]
        polls.sort(key=lambda exchange: exchange.end_us)
        self._events = [exchange.answer.result for exchange in polls]
        self._ends_us = [exchange.end_us for exchange in polls]

    def events(self, until_us: int | None) -> int:
        """What the last poll that was answered before `until_us` said (None: the last of all). If
        there was none, the first; ready, if the file was never polled."""
        if not self._events:
            return _EVER
        known = len(self._events)
        if until_us is not None:
            known = bisect_right(self._ends_us, until_us)
        return self._events[max(known - 1, 0)]

    def next_us(self, after_us: int) -> int | None:
        """When the first poll after that was answered."""
        index = bisect_right(self._ends_us, after_us)
        return self._ends_us[index] if index < len(self._ends_us) else None


class Union:
    """Of a log that is played in any order: all that was ever so."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        polls = [exchange for exchange in exchanges if isinstance(exchange.request, Poll)]
        self._events = 0 if polls else _EVER
        for exchange in polls:
            self._events |= exchange.answer.result

    def events(self, until_us: int | None) -> int:
        return self._events

    def next_us(self, after_us: int) -> int | None:
        return None
