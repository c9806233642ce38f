"""Mistakes: what is wrong with a device, in one sentence each.

They are looked for when a channel for the device is made, never while requests run; those in its
class when that is (body.py)."""

from __future__ import annotations

import errno

from .body import kind_of
from .device import HOOKS, KEEPING, METHODS, PART_MAX, PARTS, TRANSFERS, WHOLE, Device
from .errors import DeviceError

_BYTES_MAX = 1 << 30  # that a method may be given at once


def check_device(device: object) -> None:
    """Raises TypeError or DeviceError (EINVAL) if `device` is none that can be served."""
    if isinstance(device, type):
        raise TypeError(
            f"a device is served, and {device.__name__} is a class: make one,"
            f" {device.__name__}(name)"
        )
    if not isinstance(device, Device):
        raise TypeError(f"a cuse.Device is served, not {kind_of(device)}")
    kind = type(device).__name__
    own = vars(device)
    if "_session" not in own:
        raise DeviceError(
            errno.EINVAL,
            f"{kind}.__init__() has not called super().__init__(name): a device is not one before",
        )
    ioctls = [declared.name for declared in device._ioctls.values()]
    for key in (*METHODS, *KEEPING, *HOOKS, *ioctls):
        if key in own and not callable(own[key]):
            raise TypeError(
                f"self.{key} of {kind} is {kind_of(own[key])}, and hides its method {key}(): call"
                " one of them something else"
            )
    _check_settings(device)
    if not device.unrestricted:
        _check_ioctls(device)


def _check_settings(device: Device) -> None:
    kind = type(device).__name__
    if device.transfers not in TRANSFERS:
        raise DeviceError(
            errno.EINVAL,
            f"{kind}.transfers is {device.transfers!r}: take {PARTS!r} or {WHOLE!r}",
        )
    for key, least in (("transfers_max", PART_MAX), ("client_memory", 0)):
        value = getattr(device, key)
        if not isinstance(value, int) or not least <= value <= _BYTES_MAX:
            raise DeviceError(
                errno.EINVAL,
                f"{kind}.{key} is {value!r}: take a number of bytes from {least} to {_BYTES_MAX}",
            )


def _check_ioctls(device: Device) -> None:
    for declared in device._ioctls.values():
        if declared.command.needs_unrestricted:
            raise DeviceError(
                errno.EINVAL,
                f"{type(device).__name__}.{declared.name}() takes or gives bytes by pointer, and"
                f" the number {int(declared.command):#x} does not say so to the kernel: the device"
                " needs unrestricted=True",
            )
