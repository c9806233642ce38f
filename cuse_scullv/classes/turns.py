"""Turns: a subclass's methods, `def` or `async def`, one at a time.

What a class makes of a request is one coroutine, written once, that waits for nothing but its turn
and the subclass's methods. Where these are `def` it never suspends, and run() takes it to its end
on the thread that it is on; where one is `async def`, run() hands it over to the handlers' loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

from cuse_scullv import cuse


class Turns:
    """`async with turns:` holds the turn. Waiting for it ends as all waits of handlers do: with
    EINTR when a signal hits the client, ETIMEDOUT, ENODEV (cuse.Condition)."""

    def __init__(self, *methods: Any) -> None:
        """`methods`: all of the subclass's whose results are given to ready()."""
        self._on_loop = any(_is_async(method) for method in methods)
        self._async_lock = asyncio.Lock()
        self._changed = cuse.Condition()
        self._taken = False  # under _changed; where not _on_loop

    async def __aenter__(self) -> None:
        if self._on_loop:
            await self._async_lock.acquire()
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._taken = True

    async def __aexit__(self, *_: object) -> None:
        if self._on_loop:
            self._async_lock.release()
            return
        with self._changed:
            self._taken = False
            self._changed.notify()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` returns, or `work` itself, to be awaited on the loop."""
        if self._on_loop:
            return work
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        work.close()
        raise AssertionError("it waited for something else than its turn")

    async def pause(self) -> None:
        """Lets others run, and raises as a wait does when the client no longer waits."""
        if self._on_loop:
            await asyncio.sleep(0)
        else:
            cuse.sleep(0)

    async def ready(self, result: Any) -> Any:
        """What a method gave, now or when it is awaited; a generator's items as a list.

        TypeError for something to be awaited where no method is `async def`."""
        if inspect.isgenerator(result):
            return list(result)
        is_generator = inspect.isasyncgen(result)
        if not is_generator and not inspect.isawaitable(result):
            return result
        if not self._on_loop:
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError("a method whose result is to be awaited is to be `async def`")
        return [item async for item in result] if is_generator else await result


def _is_async(method: Any) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
