"""Body: what may stand in the body of a device's class, and what is a mistake there."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

ATTRIBUTES = ("name", "major", "minor", "mode", "owner", "group", "unrestricted", "timeout")
"""Of every device: Device.__init__ sets them, which hides a method of that name."""
SETTINGS = ("transfers", "transfers_max", "client_memory")
"""Values that a class may have: a method of that name is a mistake as well."""


def check_body(name: str, body: Mapping[str, Any], methods: Collection[str], of: type) -> None:
    """Raises TypeError for a mistake in the body of the class `name`. `methods`: those that a
    device may have, as `of` has them."""
    for key, value in body.items():
        if key in methods and not _is_method(value):
            raise TypeError(
                f"{name}.{key} is {kind_of(value)}, and hides the device's method {key}(): call it"
                " something else"
            )
        if key in ATTRIBUTES + SETTINGS and inspect.isfunction(value):
            raise TypeError(
                f"{name}.{key}() would be hidden by the device's attribute {key!r}: call it"
                " something else"
            )
        setting = _misspelt_setting(key, value, of)
        if setting:
            raise TypeError(f"{name}.{key} is nothing that a device has: is {setting} meant?")
        meant = _misspelt(key, value, methods, of)
        if meant:
            raise TypeError(
                f"{name}.{key}() is no method that a device has: is {meant}() meant? If not, call"
                " it something else, or let it begin with _"
            )


def _misspelt_setting(key: str, value: object, of: type) -> str | None:
    """Which setting `key` is likely to mean: one letter away, with a value of its type."""
    for meant in SETTINGS:
        if key != meant and key not in SETTINGS and _is_slip(key.lower(), meant):
            return meant if type(value) is type(getattr(of, meant)) else None
    return None


def _misspelt(key: str, value: object, methods: Collection[str], of: type) -> str | None:
    """Which method `key` is likely to mean: one letter away, and called with the same."""
    if key in methods or not inspect.isfunction(value) or hasattr(value, "_cuse_ioctls"):
        return None
    taken = list(inspect.signature(value).parameters)
    if len(taken) < 2 or taken[1] != "file":
        return None
    for meant in methods:
        wanted = list(inspect.signature(getattr(of, meant)).parameters)
        if len(wanted) == len(taken) and _is_slip(key.lower(), meant):
            return meant
    return None


def _is_slip(word: str, meant: str) -> bool:
    """Whether one letter is missing, too many or another, or two have changed places."""
    if word.startswith("_"):
        return False  # a name of the class's own
    if word == meant:
        return True
    start = next((i for i, (a, b) in enumerate(zip(word, meant, strict=False)) if a != b), None)
    if start is None:
        return abs(len(word) - len(meant)) == 1
    one, other = word[start:], meant[start:]
    swapped = one[1::-1] + one[2:] if len(one) > 1 else one
    return other in (one[1:], swapped) or one[1:] == other[1:] or one == other[1:]


def _is_method(value: object) -> bool:
    return callable(value) or hasattr(value, "__get__")


def kind_of(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
