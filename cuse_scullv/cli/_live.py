"""What is shown again and again: in place on a terminal, one after the other elsewhere.

It ends with q on a terminal, with Ctrl-C, and when nobody reads it any more."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from cuse_scullv.cli._types import FloatType

if TYPE_CHECKING:
    from rich.console import RenderableType

_LEAST_S, _MOST_S = 0.1, 86400.0


class Seconds(FloatType):
    """How long to wait between two looks."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not _LEAST_S <= seconds <= _MOST_S:
            self.fail(
                f"'{value}' is no number of seconds from {_LEAST_S:g} to {_MOST_S:g}: type one as"
                " 2 or 0.5",
                param,
                ctx,
            )
        return seconds


def show(look: Callable[[], RenderableType], seconds: float, times: int | None = None) -> None:
    """Shows what `look` gives every so many seconds, so many times; None: until somebody ends it.
    Strings are for machines, and printed on a terminal too. What `look` raises ends it."""
    with contextlib.suppress(KeyboardInterrupt):
        first = look()  # what is wrong is said on the screen that was there
        looks = itertools.chain([first], (look() for _ in itertools.count()))
        if sys.stdout.isatty() and not isinstance(first, str):
            _show_in_place(itertools.islice(looks, times), seconds)
        else:
            _print_all(itertools.islice(looks, times), seconds)


def _show_in_place(looks: Iterator[RenderableType], seconds: float) -> None:
    from rich.console import Console
    from rich.live import Live

    with _keys() as pressed, Live(console=Console(), screen=True, auto_refresh=False) as live:
        for shown in looks:
            live.update(shown, refresh=True)
            if pressed(seconds) == "q":
                return


def _print_all(looks: Iterator[RenderableType], seconds: float) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for number, shown in enumerate(looks):
        if number:
            time.sleep(seconds)
        if isinstance(shown, str):
            click.echo(shown)
        else:
            console.print(shown)
        sys.stdout.flush()


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key, and says which it was; empty: none. Where
    nobody can type it only waits."""
    if not sys.stdin.isatty():
        yield _wait
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _wait_for_key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _wait(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _wait_for_key(seconds: float) -> str:
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return ""
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") or _wait(seconds)
