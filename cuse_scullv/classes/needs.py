"""Needs: what a class of devices wants of its subclasses, said when a device is made."""

from __future__ import annotations

from cuse_scullv import cuse


def check_method(device: cuse.Device, base: type, method: str, form: str) -> None:
    """Raises TypeError where the subclass of `base` that `device` is of has no `method`; `form` is
    how it is defined, as `transfer(self, words)`."""
    found = getattr(device, method)
    if getattr(found, "__func__", None) is getattr(base, method):
        raise TypeError(f"{type(device).__name__} has no {method}(): define `def {form}`")
    if not callable(found):
        raise TypeError(
            f"{type(device).__name__}.{method} is of type {type(found).__name__}, and has to be a"
            f" method: define `def {form}`"
        )


def check_parts(device: cuse.Device, base: type) -> None:
    """Raises TypeError where the subclass of `base` that `device` is of has something of its own in
    the place of a part of `base` that begins with _, which would break it without a word."""
    kind = type(device)
    parts = {key for key in vars(base) if key.startswith("_")} - set(vars(cuse.Device))
    for subclass in kind.__mro__[: kind.__mro__.index(base)]:
        for key in sorted(parts & vars(subclass).keys()):
            if not key.startswith("__"):
                raise TypeError(
                    f"{subclass.__name__}.{key} would hide a part of its base {base.__name__}:"
                    " call it something else"
                )
