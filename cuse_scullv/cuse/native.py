"""NativeChannel: a channel of csrc/channel, from its opening to its end."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cuse_scullv._errors import check
from cuse_scullv._native import ffi, lib

from .statistics import Statistics, statistics_of
from .upcall import Owner, owner

if TYPE_CHECKING:
    from cuse_scullv._native import Call, CData

_lost: list[Any] = []  # what threads that never ended may still use


class NativeChannel:
    """Its calls go to `of`. Closed once, by close()."""

    def __init__(self, of: Owner, open_channel: Callable[[CData], CData]) -> None:
        """`open_channel` gets the owner's handle: cuse_open or fileview_open. OSError where it
        fails."""
        self._owner = owner(of)  # as long as the channel lives
        self.pointer = open_channel(self._owner)
        if not self.pointer:
            raise OSError(ffi.errno, os.strerror(ffi.errno))

    def take_over(self) -> None:
        """Finishes what a worker before this process has left. OSError as of begin()."""
        check(lib.channel_take_over(self.pointer))

    def begin(self) -> None:
        """It serves from now on. OSError: only close() is left to do."""
        check(lib.channel_begin(self.pointer))

    @property
    def requests(self) -> int:
        """Reads and writes that were answered in C."""
        return lib.channel_requests(self.pointer)

    def statistics(self) -> Statistics:
        """What was answered, in C or by Python."""
        return statistics_of(self.pointer)

    def wait_ready(self, seconds: float) -> int:
        """Until the kernel has begun. 0, or an errno: ETIMEDOUT, EEXIST, ENODEV."""
        return -lib.channel_wait_ready(self.pointer, int(seconds * 1000))

    def close(self, grace: float, complain: Callable[[], None]) -> None:
        """If a thread is still in a call after `grace` seconds, it is left behind, and `complain`
        is called."""
        if lib.channel_close(self.pointer, int(grace * 1000)) == -errno.EBUSY:
            complain()
            _lost.append(self._owner)


def warn_refused(logger: logging.Logger, of: object, call: Call) -> None:
    """Of a CALL_REFUSED."""
    logger.warning(
        "%s: refused a message of opcode %d and %d bytes, which is none; further ones are only"
        " counted",
        of,
        call.cmd,
        call.size,
    )
