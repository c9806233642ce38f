"""Open flags and poll events by name, as a log has them: "O_RDWR|O_NONBLOCK", "POLLIN|POLLOUT"."""

from __future__ import annotations

import errno
import os
import select

_OPEN = ("O_NONBLOCK", "O_APPEND", "O_SYNC", "O_DSYNC", "O_DIRECT")
_ACCESS = {name: getattr(os, name) for name in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")}
# O_SYNC has the bit of O_DSYNC, so it comes first.
_OPEN_FLAGS = {name: getattr(os, name) for name in _OPEN}
_POLL_EVENTS = {name: getattr(select, name) for name in dir(select) if name.startswith("POLL")}

DRIVERS = os.O_ACCMODE | os.O_NONBLOCK | os.O_APPEND | os.O_SYNC | os.O_DIRECT
"""The flags that mean something to a driver; others are the kernel's own."""


def open_flags(flags: int) -> str:
    access = next(name for name, value in _ACCESS.items() if value == flags & os.O_ACCMODE)
    return "|".join([access, *_names(flags & DRIVERS & ~os.O_ACCMODE, _OPEN_FLAGS)])


def parse_open_flags(text: str) -> int:
    """ValueError where a name is unknown."""
    return _value(text, _ACCESS | _OPEN_FLAGS)


def events(value: int) -> str:
    return "|".join(_names(value, _POLL_EVENTS))


def parse_events(text: str) -> int:
    """ValueError where a name is unknown."""
    return _value(text, _POLL_EVENTS)


def error_name(code: int) -> str:
    return errno.errorcode.get(code, str(code))


def parse_error(text: str) -> int:
    """ValueError where it is none."""
    code = getattr(errno, text, None) if text.startswith("E") else None
    if not isinstance(code, int):
        raise ValueError(f"{text!r} is no error: take a name as EIO")
    return code


def _names(value: int, table: dict[str, int]) -> list[str]:
    names = []
    for name, bits in table.items():
        if bits and value & bits == bits:
            names.append(name)
            value &= ~bits
    return names if not value else [*names, hex(value)]


def _value(text: str, table: dict[str, int]) -> int:
    value = 0
    for name in text.split("|") if text else ():
        if name in table:
            value |= table[name]
        elif name.startswith("0x"):
            value |= int(name, 16)
        else:
            raise ValueError(f"{name!r} is none of {', '.join(table)}")
    return value
