"""The asyncio loop that `async def` handlers run on: one thread a process, started when needed."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None  # under _lock
_tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references only
_pid = 0  # of the process that started it: a thread does not survive fork


def handler_loop() -> asyncio.AbstractEventLoop:
    """The loop. It runs until the interpreter ends."""
    global _loop, _pid
    with _lock:
        if _loop is None or _pid != os.getpid():
            _loop, _pid = asyncio.new_event_loop(), os.getpid()
            thread = threading.Thread(target=_run, args=(_loop,), name="cuse-asyncio", daemon=True)
            thread.start()
        return _loop


def start(driver: Coroutine[Any, Any, None]) -> None:
    """Makes a task of it. On the loop."""
    task = asyncio.get_running_loop().create_task(driver)
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
