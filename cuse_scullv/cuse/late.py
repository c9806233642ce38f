"""Late: requests that a filter delays, where the handlers' loop takes them from the channel itself
(pump.py). Elsewhere threads wait, in C."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from .loop import handler_loop

if TYPE_CHECKING:
    from .device import Handler


class Late:
    """Those of one device."""

    def __init__(self) -> None:
        self._released = asyncio.Event()

    def release(self) -> None:
        """All that wait go on. Any thread."""
        released, self._released = self._released, asyncio.Event()
        handler_loop().call_soon_threadsafe(released.set)

    def handler(self, handler: Handler, delay_ns: int, refusal: int) -> Handler:
        """`handler`, after so long; with a `refusal`, OSError of that errno in its place."""

        async def late(*args: Any) -> Any:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._released.wait(), delay_ns / 1e9)
            if refusal:
                raise OSError(refusal, os.strerror(refusal))
            return await cast("Awaitable[Any]", handler(*args))

        return late
