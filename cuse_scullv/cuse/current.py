"""Current: the request that the running handler is at. Inside the binding.

A context variable, for it is right on threads and in asyncio tasks alike.
"""

from __future__ import annotations

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


class pausing:  # noqa: N801 - as contextlib's
    """A handler waits within: it does not count as running, so that it holds nobody up.

    Not with a lock held that others need to end: going on may take a moment."""

    __slots__ = ("_alone", "_worker")

    def __init__(self, running: Running | None) -> None:
        self._worker = running.worker if running is not None else None
        self._alone = running.alone if running is not None else None

    def __enter__(self) -> None:
        if self._alone is not None:
            self._alone.release()
        if self._worker is not None:
            self._worker.pause()
        else:
            lib.call_pause()

    def __exit__(self, *exc: object) -> None:
        if self._worker is not None:
            self._worker.resume()
        else:
            lib.call_resume()
        if self._alone is not None:
            self._alone.acquire()
