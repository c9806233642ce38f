"""Running: on which thread a handler runs, and what becomes of its end.

`def` runs on the channel's thread that brought the call (no thread is woken in between), `def` with
a deadline on a pool thread, which can be given up, `async def` on the loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, cast

from .answer import Answers, Finish
from .current import current
from .device import Handler
from .ioctl import close
from .late import Late
from .loop import handler_loop, start
from .pool import Worker
from .request import Request

Run: TypeAlias = Callable[..., None]
"""(request, finish, handler, *arguments): the handler's result goes to finish, or it fails."""


class Running(Answers):
    """The part of a session that runs handlers. Which way each takes is settled once."""

    def __init__(self, on_loop: bool) -> None:
        """`on_loop`: calls come on the handlers' loop, whose thread takes them from the channel."""
        super().__init__()
        self.on_loop = on_loop
        self._run_there: Run = self._run_here
        self._delayed = Late()

    def _way(self, handler: Handler) -> tuple[Handler, Run]:
        if inspect.iscoroutinefunction(handler):
            return handler, self._run_async
        return handler, self._run_there if self._pool is None else self._run_pooled

    def _run_here(self, request: Request, finish: Finish, handler: Handler, *args: Any) -> None:
        try:
            result = handler(*args)
        except BaseException as error:  # noqa: BLE001 - whatever it is, fail() answers
            self.fail(request, error)
        else:
            finish(request, result)

    def _run_alone(self, request: Request, finish: Finish, handler: Handler, *args: Any) -> None:
        keeping = self.keeping
        assert keeping is not None
        assert keeping.lock is not None
        with keeping.lock:
            request.alone = keeping.lock
            self._run_here(request, finish, handler, *args)

    def _run_pooled(self, request: Request, finish: Finish, handler: Handler, *args: Any) -> None:
        def job(worker: Worker) -> None:
            # Its deadline may have passed in the queue; a release runs nevertheless.
            if request.id not in self.pending and request.handler != "release":
                return
            request.worker = worker
            current.set(request)
            self._run_there(request, finish, handler, *args)

        assert self._pool is not None
        self._pool.submit(job)

    def _run_async(self, request: Request, finish: Finish, handler: Handler, *args: Any) -> None:
        if self.on_loop and request.call.delay_ns:
            handler = self._delayed.handler(handler, request.call.delay_ns, request.call.refusal)
        self._begin_task(self._drive(request, finish, handler, args))

    def _begin_task(self, driver: Coroutine[Any, Any, None]) -> None:
        if self.on_loop:
            start(driver)
        else:
            handler_loop().call_soon_threadsafe(start, driver)

    def _spawn(self, request: Request, awaitable: Any, finish: Finish) -> None:
        """A `def` handler returned an awaitable, as a functools.partial of an async one does."""

        async def drive() -> None:
            await self._drive(request, finish, lambda: awaitable, ())
            close(awaitable)  # it has not begun where the request was cancelled before

        self._begin_task(drive())

    async def _drive(
        self, request: Request, finish: Finish, handler: Handler, args: tuple[Any, ...]
    ) -> None:
        current.set(request)
        # From here on cancel() reaches the task; what came before shows in `cancelled`.
        request.task = asyncio.current_task()
        try:
            if request.handler != "release":  # it runs once for each open, whoever is hit
                request.check()
            result = await cast("Awaitable[Any]", handler(*args))
        except BaseException as error:  # noqa: BLE001 - SystemExit must not end the loop
            self.fail(request, error)
        else:
            finish(request, result)
        finally:
            request.task = None
