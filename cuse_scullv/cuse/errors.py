"""DeviceError: a device that cannot be served, said in one line with what to do about it."""

from __future__ import annotations


class DeviceError(OSError):
    """A device cannot be served. `errno` says what, `strerror` why and what to type."""
