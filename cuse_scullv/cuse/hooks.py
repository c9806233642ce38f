"""Hooks: a device's started() and stopped(), each once, around the time that it is served."""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from .device import Device
from .errors import DeviceError
from .loop import handler_loop, start

logger = logging.getLogger("cuse_scullv.cuse")

STARTED_S = 30.0
"""Most that the start of a device waits for an `async def started()`, seconds."""
STOPPED_S = 5.0
"""Most that its end waits for an `async def stopped()`."""


class Hooks:
    """Of one device. Its methods are for the thread that starts and closes the channel."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._has_begun = False

    def begin(self) -> None:
        """started(), before the first request. Raises what it raises, DeviceError (ETIMEDOUT) when
        it takes too long."""
        self._call(self._device.started(), STARTED_S)
        self._has_begun = True

    def end(self) -> None:
        """stopped(), after the last release, if started() was done."""
        if not self._has_begun:
            return
        self._has_begun = False
        try:
            self._call(self._device.stopped(), STOPPED_S)
        except BaseException:
            logger.exception("%s: stopped() raised", self._device.name)

    def _call(self, result: Any, seconds: float) -> None:
        if not inspect.isawaitable(result):
            return

        async def driver() -> None:
            await result

        loop = handler_loop()
        if asyncio._get_running_loop() is loop:
            start(driver())  # which cannot be waited for here
            return
        future = asyncio.run_coroutine_threadsafe(driver(), loop)
        try:
            future.result(seconds)
        except FutureTimeoutError:
            if future.done():  # the hook's own
                raise
            future.cancel()
            raise DeviceError(
                errno.ETIMEDOUT, f"{self._device.name}: a hook has not ended within {seconds:g} s"
            ) from None
