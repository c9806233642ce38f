"""Baton: calls of a device's own method, one at a time and without a lock held."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from cuse_scullv import cuse

logger = logging.getLogger("cuse_scullv.classes.serial")

# Of what runs within a step, on its thread or in tasks of the loop: the turn that it is part of.
_turn: ContextVar[object] = ContextVar("serial_turn", default=None)


class Baton:
    """Who runs it does what there is to do, until there is nothing left; who comes meanwhile, or
    from within, leaves its work to that thread. `next_step` is called under the lock: it gives what
    is to be done next, which is called without it, or None. What is to be done on the loop's own
    thread is handed to another, which can wait for what is async."""

    def __init__(
        self,
        lock: threading.Lock,
        changed: cuse.Condition,
        next_step: Callable[[], Callable[[], None] | None],
        done: Callable[[], None],
    ) -> None:
        """When steps have been done, and nobody has it, `changed`, of `lock`, is notified, and
        `done` is called."""
        self._lock = lock
        self._changed = changed
        self._next_step = next_step
        self._done = done
        self._holder: object = None  # the turn of who has it; under the lock

    def is_free(self) -> bool:
        """Nobody else has it. With the lock held."""
        return self._holder is None or self.is_mine()

    def is_mine(self) -> bool:
        """This is part of a step. With the lock held."""
        return self._holder is not None and self._holder is _turn.get()

    def run(self) -> bool:
        """Whether there was something to do. Raises what a step does; what is left then is for who
        comes next."""
        with self._lock:
            step = None if self._holder is not None else self._next_step()
            if step is None:
                return False
            self._holder = turn = object()
        loop = asyncio._get_running_loop()
        if loop is None:
            self._do(step, turn)
        else:
            loop.run_in_executor(None, self._do_aside, step, turn)
        return True

    def _do(self, step: Callable[[], None] | None, turn: object) -> None:
        before = _turn.set(turn)
        try:
            while step is not None:
                step()
                with self._lock:
                    step = self._next_step()
                    if step is None:
                        self._drop()  # now, or who comes next would leave his work to nobody
        except BaseException:
            with self._lock:
                self._drop()
            raise
        finally:
            _turn.reset(before)
            self._done()

    def _do_aside(self, step: Callable[[], None], turn: object) -> None:
        try:
            self._do(step, turn)
        except Exception:
            logger.exception("a serial port's method raised, and no client waits for it")

    def _drop(self) -> None:
        self._holder = None
        self._changed.notify_all()


def call(method: Callable[..., Any], argument: object) -> Any:
    """What a device's method returns, or gives when it is async. Not on the loop."""
    result = method(argument)
    return cuse.run(result) if inspect.isawaitable(result) else result
