"""Which session a device needs: none pays for what it has not asked for."""

from __future__ import annotations

from collections.abc import Callable

from .device import WHOLE, DataPathDevice, Device, overrides
from .session import Session
from .watched import WatchedSession
from .whole import WholeSession


class WholeWatchedSession(WholeSession, WatchedSession):
    """Of a device that wants both."""


def session_of(device: Device, callers: int, on_end: Callable[[], None]) -> Session:
    """A new one, of the device's kind."""
    is_whole = device.transfers == WHOLE and not isinstance(device, DataPathDevice)
    if overrides(device, "client_gone"):
        return (WholeWatchedSession if is_whole else WatchedSession)(device, callers, on_end)
    return (WholeSession if is_whole else Session)(device, callers, on_end)
