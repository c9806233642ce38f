"""Accounts: who has how many tokens. Nothing here knows of devices or of /proc.

A token is its reader's until somebody gives it back for him, or until he dies. Whoever gives back
more than he has gives back for others: for an ancestor, who started him with it (a shell's child
that writes what the shell has read), or for one who read by the same open file, which both have
inherited. What is nobody's then is no token, and is not taken.

Invariant: counts are 1 or more; so at most as many accounts as there are tokens out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Holder(NamedTuple):
    """Who read a token, and by which open file."""

    pid: int
    """Of the process; 0: of one that the server cannot see, in another pid namespace."""
    start: int
    """When it started, in clock ticks since the machine did: no two processes have both alike."""
    file: int
    """Of the open file, counted by the device."""


class Accounts:
    """Of one jobserver."""

    def __init__(self, held: Iterable[tuple[Holder, int]] = ()) -> None:
        self._held: dict[Holder, int] = dict(held)

    def __iter__(self) -> Iterator[tuple[Holder, int]]:
        return iter(self._held.items())

    @property
    def total(self) -> int:
        """Tokens that are out."""
        return sum(self._held.values())

    def take(self, holder: Holder) -> None:
        """He has read one."""
        self._held[holder] = self._held.get(holder, 0) + 1

    def give_back(self, n: int, giver: Holder, ancestors: Callable[[], Iterable[int]]) -> int:
        """He has written `n`; how many of them are tokens. `ancestors`: pids of his parent, its
        parent and so on; asked only where he has given back more than he has."""
        left = n - self._take_off([giver], n)
        for holders in self._others(giver, ancestors) if left else ():
            left -= self._take_off(holders, left)
        return n - left

    def _others(
        self, giver: Holder, ancestors: Callable[[], Iterable[int]]
    ) -> Iterator[list[Holder]]:
        """For whom he may give back, the nearest first."""
        yield [holder for holder in self._held if holder[:2] == giver[:2]]
        if giver.pid:
            for pid in ancestors():
                yield [holder for holder in self._held if holder.pid == pid]
        yield [holder for holder in self._held if holder.file == giver.file]

    def _take_off(self, holders: Iterable[Holder], n: int) -> int:
        """Up to `n` tokens off these accounts; how many they were."""
        taken = 0
        for holder in holders:
            had = self._held.get(holder, 0)
            part = min(had, n - taken)
            taken += part
            if part < had:
                self._held[holder] = had - part
            elif had:
                del self._held[holder]
        return taken

    def drop(self, is_gone: Callable[[Holder], bool]) -> int:
        """Those who have gone have nothing any more; how many tokens that were."""
        gone = [holder for holder in self._held if is_gone(holder)]
        return sum(self._held.pop(holder) for holder in gone)
