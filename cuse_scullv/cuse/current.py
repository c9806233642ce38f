"""Current: the request that the running handler is at. Inside the binding.

A context variable, for it is right on threads and in asyncio tasks alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from threading import Lock
from typing import Protocol

from cuse_scullv._native import lib


class Wakeable(Protocol):
    """What a blocked handler sleeps on: Condition's and sleep's way to be interrupted."""

    def wake(self) -> None: ...


class Pausable(Protocol):
    """A thread of ours that a handler runs on, and that counts those that run."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Running(Protocol):
    """What is to be known of a request while its handler runs."""

    pid: int
    uid: int
    gid: int
    cancelled: int
    """0, or the errno that the handler is to end with."""
    waiter: Wakeable | None

    @property
    def file(self) -> object: ...
    @property
    def worker(self) -> Pausable | None: ...
    @property
    def alone(self) -> Lock | None:
        """Held while the handler runs."""

    def check(self) -> None:
        """Raises the OSError that the handler is to end with, if it is."""


current: ContextVar[Running | None] = ContextVar("cuse_request", default=None)


@contextlib.contextmanager
def pausing(running: Running | None) -> Iterator[None]:
    """A handler waits within: it does not count as running, so that it holds nobody up.

    Not with a lock held that others need to end: going on may take a moment."""
    worker = running.worker if running is not None else None
    alone = running.alone if running is not None else None
    if alone is not None:
        alone.release()
    if worker is not None:
        worker.pause()
    else:
        lib.call_pause()
    try:
        yield
    finally:
        if worker is not None:
            worker.resume()
        else:
            lib.call_resume()
        if alone is not None:
            alone.acquire()
