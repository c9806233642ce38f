"""run: what is awaitable, in a method that is not async."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from .current import current
from .loop import handler_loop
from .waiter import Waiter

T = TypeVar("T")


def run(awaitable: Awaitable[T]) -> T:
    """Has it run on the loop of the `async def` methods, and waits for what it gives, or raises.

    In a `def` handler, whose wait ends as that of Condition does: what runs is cancelled then, and
    OSError is raised with EINTR, ETIMEDOUT or ENODEV. In other threads it only waits. RuntimeError
    on the loop itself, which would wait for its own thread: await it there."""
    loop = handler_loop()
    if asyncio._get_running_loop() is loop:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError("cuse.run() waits, and this is the loop's own thread: await instead")

    async def driver() -> T:
        return await awaitable

    request = current.get()
    waiter = Waiter()
    future = asyncio.run_coroutine_threadsafe(driver(), loop)
    future.add_done_callback(lambda _: waiter.wake())
    waiter.sleep_for(request, None)
    if not future.done():  # the client does not wait any more
        future.cancel()
        assert request is not None
        request.check()
    return future.result()
