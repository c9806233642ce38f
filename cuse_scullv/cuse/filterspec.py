"""What a filter is, in words: NAME, or NAME:KEY=VALUE,KEY=VALUE… One table, for the command line
and for programs. Names are those of nbdkit's filters (nbdkit-error-filter(1) and the like) where it
has one that does the same."""

from __future__ import annotations

import difflib
import errno as errnos
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuse_scullv._native import ffi, lib
from cuse_scullv.params import parse_size

FILTERS_MAX = 16
"""Of a device (csrc/filter/filters.h)."""
CHANCE_ALWAYS = 1 << 32
TEXT_MAX = 479
"""Bytes of a filter in words."""
FILE_MAX = 255
"""Bytes of a trigger's path."""
DELAY_MAX_MS = 3_600_000.0
"""One hour."""
ERRNO_MAX = 511
"""The kernel takes no larger one for an answer (fs/fuse/dev.c: fuse_dev_do_write)."""
BITS_MAX = 1 << 20
_UINT64 = 1 << 64

OPS: Mapping[str, int] = {
    "open": 1 << lib.CALL_OPEN,
    "read": 1 << lib.CALL_READ,
    "write": 1 << lib.CALL_WRITE,
    "ioctl": 1 << lib.CALL_IOCTL,
    "poll": 1 << lib.CALL_POLL,
    "fsync": 1 << lib.CALL_FSYNC,
}
"""What `op` may name; several with + between them."""
_RESIZE = 1 << lib.CALL_RESIZE  # goes with write: a file view's truncate


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if found is None:
        raise ValueError
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def _error(text: str) -> dict[str, int]:
    number = int(text) if text.isdigit() else getattr(errnos, text, 0)
    if not (text.isdigit() or text in errnos.errorcode.values()) or not 1 <= number <= ERRNO_MAX:
        raise ValueError(
            f"type the name of an errno as in errno(3), or 1 to {ERRNO_MAX}: errno=EIO"
        )
    return {"error": number}


def _ops(text: str) -> dict[str, int]:
    ops = 0
    for name in text.split("+"):
        if name not in OPS:
            raise ValueError(f"type {_nearest_first(name, OPS)}, or several: read+write")
        ops |= OPS[name] | (_RESIZE if name == "write" else 0)
    return {"ops": ops}


def _rate(text: str) -> dict[str, int]:
    number, percent = (text[:-1], True) if text.endswith("%") else (text, False)
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError("type more than 0% and at most 100%: rate=1%")
    return {"chance": max(1, round(share * CHANCE_ALWAYS))}


def _whole(name: str, least: int, most: int) -> Callable[[str], dict[str, int]]:
    def parse(text: str) -> dict[str, int]:
        if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
            raise ValueError(f"type a number from {least} to {most}")
        return {name: int(text)}

    return parse


def _bytes(text: str) -> dict[str, int]:
    size = parse_size(text)
    if not 1 <= size < 1 << 63:
        raise ValueError("type 1 or more bytes: 64K")
    return {"bytes": size}


def _ms(name: str) -> Callable[[str], dict[str, int]]:
    def parse(text: str) -> dict[str, int]:
        if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) > DELAY_MAX_MS:
            raise ValueError(f"type milliseconds, at most {DELAY_MAX_MS:.0f}")
        return {name: round(float(text) * 1_000_000)}

    return parse


def _after(text: str) -> dict[str, int]:
    try:
        return {"after_ns": round(_seconds(text) * 1_000_000_000)}
    except ValueError:
        pass
    try:
        return {"after_bytes": parse_size(text)}
    except ValueError:
        raise ValueError("type bytes or a time: after=10M, after=5s, after=200ms") from None


def _file(text: str) -> dict[str, bytes]:
    path = os.fsencode(Path(text).absolute())
    if not text or len(path) > FILE_MAX:
        raise ValueError(f"type a path of at most {FILE_MAX} bytes")
    return {"file": path}


_KEYS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "errno": _error,
    "op": _ops,
    "ms": _ms("delay_ns"),
    "jitter": _ms("jitter_ns"),
    "bytes": _bytes,
    "bits": _whole("bits", 1, BITS_MAX),
    "rate": _rate,
    "count": _whole("count", 1, _UINT64 - 1),
    "after": _after,
    "file": _file,
    "seed": _whole("seed", 0, _UINT64 - 1),
}
_WHEN = ("rate", "count", "after", "file", "seed")
_READ_WRITE = OPS["read"] | OPS["write"]


@dataclass(frozen=True)
class _Kind:
    """A filter's name: what C calls it, what it takes, and what holds unless it is given."""

    number: int
    keys: tuple[str, ...]
    ops: int
    most: int
    """Operations that it may be told to concern."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    draws: Callable[[Mapping[str, str]], bool] = lambda given: "rate" in given
    """Whether chance has a say, as it was given."""


_USUAL = _READ_WRITE | _RESIZE | OPS["ioctl"]
_ALL = sum(OPS.values()) | _RESIZE
_WRITERS = OPS["open"] | OPS["write"] | _RESIZE
_EIO, _EROFS = {"error": errnos.EIO}, {"error": errnos.EROFS}
_EINTR, _ENODEV = {"error": errnos.EINTR}, {"error": errnos.ENODEV}

KINDS: Mapping[str, _Kind] = {
    "error": _Kind(lib.FILTER_ERROR, ("errno", "op", *_WHEN), _USUAL, _ALL, _EIO),
    "delay": _Kind(
        lib.FILTER_DELAY,
        ("ms", "jitter", "op", *_WHEN),
        _USUAL,
        _ALL,
        needs=("ms",),
        draws=lambda given: "rate" in given or "jitter" in given,
    ),
    "rate": _Kind(lib.FILTER_RATE, ("bytes", "op"), _READ_WRITE, _READ_WRITE, needs=("bytes",)),
    "short": _Kind(
        lib.FILTER_SHORT,
        ("bytes", "op", *_WHEN),
        _READ_WRITE,
        _READ_WRITE,
        draws=lambda given: "rate" in given or "bytes" not in given,
    ),
    "readonly": _Kind(lib.FILTER_READONLY, ("after", "file"), _WRITERS, _WRITERS, _EROFS),
    "eintr": _Kind(lib.FILTER_ERROR, ("op", *_WHEN), _READ_WRITE, _ALL, _EINTR),
    "stuck-poll": _Kind(lib.FILTER_STUCK_POLL, ("after", "file"), OPS["poll"], OPS["poll"]),
    "corrupt": _Kind(
        lib.FILTER_CORRUPT,
        ("bits", "op", *_WHEN),
        _READ_WRITE,
        _READ_WRITE,
        {"bits": 1},
        draws=lambda given: True,
    ),
    "hangup": _Kind(
        lib.FILTER_HANGUP, ("errno", "rate", "after", "file", "seed"), _ALL, _ALL, _ENODEV
    ),
}
"""The filters, by name, and what each of them takes."""


@dataclass(frozen=True)
class FilterSpec:
    """One filter, as it was asked for. str() is what parse_filter() takes."""

    text: str
    fields: Mapping[str, Any] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def native(self) -> Any:
        """The `struct filter_spec` for C."""
        spec = ffi.new("struct filter_spec *")
        for name, value in self.fields.items():
            setattr(spec, name, value)
        spec.text = os.fsencode(self.text)
        return spec


def parse_filter(text: str) -> FilterSpec:
    """What `text` asks for: "error:errno=EIO,op=read,rate=1%". Where chance has a say and no seed
    is given, one is chosen, and is part of the result's text, in which paths are whole. Raises
    ValueError, of one line, that says what can be typed."""
    name, colon, rest = text.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"no filter {name!r}: type {_nearest_first(name, KINDS)}")
    fields = {"kind": kind.number, "ops": kind.ops, "chance": CHANCE_ALWAYS, **kind.defaults}
    given = _pairs(name, kind, rest) if colon else {}
    for key, value in given.items():
        fields |= _parse(name, key, value)
    if missing := [key for key in kind.needs if key not in given]:
        raise ValueError(f"filter {name!r} needs {missing[0]}: type {_EXAMPLES[name]}")
    if "op" in given:
        if fields["ops"] & ~(kind.most | _RESIZE):
            raise ValueError(f"filter {name!r}: op={given['op']}: type read, write, or read+write")
        fields["ops"] &= kind.most
    if "seed" not in given and kind.draws(given):
        fields["seed"] = secrets.randbits(32)
        given["seed"] = str(fields["seed"])
    if "file" in given:  # whoever is told the text may be in another folder
        given["file"] = os.fsdecode(fields["file"])
    if given:
        text = f"{name}:" + ",".join(f"{key}={value}" for key, value in given.items())
    if len(os.fsencode(text)) > TEXT_MAX:
        raise ValueError(f"filter {name!r}: type at most {TEXT_MAX} bytes")
    return FilterSpec(text, fields)


def parse_filters(filters: Iterable[str | FilterSpec]) -> list[FilterSpec]:
    """All of them, in order. Raises ValueError; TypeError for a string alone, or what is none."""
    if isinstance(filters, str):
        raise TypeError(f"filters is a list of strings: [{filters!r}]")
    return [one if isinstance(one, FilterSpec) else parse_filter(one) for one in filters]


_EXAMPLES = {"delay": "delay:ms=5", "rate": "rate:bytes=10M"}


def _pairs(name: str, kind: _Kind, rest: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in rest.split(","):
        key, equals, value = part.partition("=")
        if key not in kind.keys:
            raise ValueError(
                f"filter {name!r} has no key {key!r}: type {_nearest_first(key, kind.keys)}"
            )
        if not equals or not value:
            raise ValueError(f"filter {name!r}: {key} has no value: type {key}=VALUE")
        if key in pairs:
            raise ValueError(f"filter {name!r}: {key} was given twice: type it once")
        pairs[key] = value
    return pairs


def _parse(name: str, key: str, value: str) -> Mapping[str, Any]:
    try:
        return _KEYS[key](value)
    except ValueError as error:
        raise ValueError(f"filter {name!r}: {key}={value}: {error}") from None


def _nearest_first(word: str, known: Iterable[str]) -> str:
    def unlike(other: str) -> float:
        return -difflib.SequenceMatcher(None, word, other).ratio()

    return ", ".join(sorted(known, key=unlike))
