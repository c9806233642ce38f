"""The asyncio loop that `async def` handlers run on: one thread a process, started when needed."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_loop: HandlerLoop | None = None  # under _lock
_tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references only
_pid = 0  # of the process that started it: a thread does not survive fork


def _nothing() -> None:
    pass


class HandlerLoop(asyncio.SelectorEventLoop):
    """One whose tasks can begin at once. A new task asks its loop for its first step
    (call_soon()), which would come after another look at all descriptors: that look costs as much
    as a short handler."""

    _first_step: tuple[Callable[..., object], tuple[Any, ...], Context | None] | None = None
    _keeps_step = False

    def __init__(self) -> None:
        super().__init__()
        self._kept_handle = asyncio.Handle(_nothing, (), self)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self._keeps_step:
            self._keeps_step = False
            self._first_step = callback, args, context
            return self._kept_handle  # a task does not look at it
        return super().call_soon(callback, *args, context=context)

    def begin(self, driver: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task, which runs to where it waits before this returns, but where this is called
        within a task, or a task factory has been set, whose tasks may begin otherwise."""
        if asyncio.current_task(self) is not None or self.get_task_factory() is not None:
            return self.create_task(driver)
        self._keeps_step = True
        task = asyncio.Task(driver, loop=self)  # as create_task() does without a factory
        assert self._first_step is not None
        step, args, context = self._first_step
        self._first_step = None
        if context is None:
            step(*args)
        else:
            context.run(step, *args)
        return task


def handler_loop() -> HandlerLoop:
    """The loop. It runs until the interpreter ends."""
    global _loop, _pid
    with _lock:
        if _loop is None or _pid != os.getpid():
            _loop, _pid = HandlerLoop(), os.getpid()
            thread = threading.Thread(target=_run, args=(_loop,), name="cuse-asyncio", daemon=True)
            thread.start()
        return _loop


def start(driver: Coroutine[Any, Any, None]) -> None:
    """Makes a task of it. On the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, HandlerLoop)
    task = loop.begin(driver)
    if not task.done():
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except BaseException:
            # A task raised SystemExit or KeyboardInterrupt, which asyncio lets through to here.
            logger.exception("a task of the handlers' loop wanted to end the process")
