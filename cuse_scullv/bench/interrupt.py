"""Ending a run by a signal: everything is undone on the way out, as after an error.

Not in the midst of starting a process, though: one that nobody has a name for yet would stay."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALLED = 128  # plus the signal: the exit status, as the shell has it

_held = False
_waiting: list[int] = []


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While the context lasts, a signal raises SystemExit where it finds us. Main thread only.
    What was ignored, by nohup(1) for one, still is."""
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Signals wait until the context ends. Not to be nested."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
        if _waiting:
            sys.exit(SIGNALLED + _waiting.pop())


def end(number: int, frame: object) -> None:
    """The handler."""
    if _held:
        _waiting.append(number)
    else:
        sys.exit(SIGNALLED + number)
