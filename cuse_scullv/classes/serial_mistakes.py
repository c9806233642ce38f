"""Mistakes in a port's class, in one sentence each, said when the class or the port is made."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

HOOKS = ("transmit", "line_changed")
OURS = ("read", "readinto", "write", "poll", "ioctl")


def check_class(cls: type) -> None:
    """Raises TypeError for a method that is misspelt, or is the port's own."""
    for name, value in vars(cls).items():
        if not inspect.isfunction(value) or name.startswith("_"):
            continue
        if name in OURS:
            raise TypeError(
                f"{cls.__qualname__}.{name}() is a serial port's own: what clients write comes to"
                " transmit(data), and feed(data) is for what they read"
            )
        meant = (
            [] if hasattr(cls.__base__, name) else difflib.get_close_matches(name, HOOKS, 1, 0.8)
        )
        if meant and name not in HOOKS:
            raise TypeError(
                f"{cls.__qualname__}.{name}() is no method that a serial port has: is {meant[0]}()"
                " meant? If not, call it something else, or let it begin with _"
            )


def check_port(port: Any, base: type) -> None:
    """Raises TypeError for a port that has no transmit() but that of `base`."""
    if "transmit" not in vars(port) and type(port).transmit is base.transmit:  # type: ignore[attr-defined]
        raise TypeError(
            f"{type(port).__name__} has no transmit(data), which a serial port needs: it gets what"
            " clients send"
        )
