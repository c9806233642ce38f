"""Pump: a device whose methods are all coroutines is served by the asyncio loop itself.

The loop waits for the channel's descriptor beside all else, takes a request where the handler is to
run, and answers it from there: no other thread is woken, neither on the way in nor out.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from cuse_scullv._errors import check
from cuse_scullv._native import lib

from .device import WHOLE, DataPathDevice, Device, handlers
from .loop import handler_loop

if TYPE_CHECKING:
    from cuse_scullv._native import CData


def can_pump(device: Device) -> bool:
    """Whether no method of the device may block the loop. Not on the loop's own thread, which has
    to be free while the kernel makes the device."""
    if isinstance(device, DataPathDevice) or device.transfers == WHOLE:
        return False  # a look at the client may take a moment (whole.py)
    own = handlers(device)
    if not own or not all(inspect.iscoroutinefunction(handler) for handler in own):
        return False
    return asyncio._get_running_loop() is not handler_loop()  # which starts it: asked last


AT_ONCE = 8
"""Requests, so that what else the loop has to do gets its turn."""


class Pump:
    """Feeds a channel that is `pumped`, from the start of both to stop()."""

    def __init__(self, fd: int, channel: CData) -> None:
        """`fd`: the channel's own; it is open as long as the channel is."""
        self._fd = fd
        self._channel = channel
        self._loop = handler_loop()
        self._ended = False  # of the loop's thread
        self._at_once = 1 if os.get_blocking(fd) else AT_ONCE
        started = Future[None]()
        self._loop.call_soon_threadsafe(self._start, started)
        started.result()

    def _start(self, started: Future[None]) -> None:
        try:
            check(lib.channel_resume(self._channel))
            self._loop.add_reader(self._fd, self._ready)
        except OSError as error:
            started.set_exception(error)
        else:
            started.set_result(None)

    def _ready(self) -> None:
        """Takes what several clients have asked for meanwhile at once: a turn of the loop costs as
        much as a short handler."""
        for _ in range(self._at_once):
            taken = lib.channel_pump(self._channel)
            if taken < 0:
                self._end()
            if taken <= 0 or self._ended:
                return

    def _end(self) -> None:
        self._ended = True
        self._loop.remove_reader(self._fd)

    def stop(self, grace: float) -> None:
        """The channel is not touched any more when this returns, unless a handler has blocked the
        loop for `grace` seconds: then channel_close will find the pump at work."""
        done = threading.Event()

        def end() -> None:
            self._end()
            done.set()

        if asyncio._get_running_loop() is self._loop:
            self._end()  # a handler, which ran at once, may have asked for it
        else:
            self._loop.call_soon_threadsafe(end)
            done.wait(grace)
