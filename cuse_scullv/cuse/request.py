"""Request: one call of a client on its way through a handler. Inside the binding.

A request is in its session's `pending` until it is answered; whoever pops it from there answers it,
so it is answered once whatever races (dict.pop is atomic).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from .current import Wakeable

if TYPE_CHECKING:
    from cuse_scullv._native import Call

    from .client import Client
    from .file import File
    from .ioctl import IoctlRequest
    from .pool import Worker


@dataclass(frozen=True, slots=True)
class Whole:
    """Of a read or write that stands for the system call that it is the first part of."""

    part: int
    """Bytes of that part."""
    total: int
    """Bytes that the client has asked for."""


class Request:
    """A call in flight. `cancelled` is 0, or the errno that the handler is to end with."""

    __slots__ = (
        "alone",
        "call",
        "cancelled",
        "client",
        "file",
        "gid",
        "handler",
        "id",
        "ioctl",
        "pid",
        "size",
        "started",
        "task",
        "uid",
        "waiter",
        "whole",
        "worker",
    )

    client: Client
    """Set where the device follows its clients, and it is known."""

    def __init__(self, call: Call, file: File, handler: str) -> None:
        self.call = call
        self.alone: Lock | None = None  # held while the handler runs, but where it waits
        self.file = file
        self.handler = handler  # name of the method, for the log
        # Copied: the call is freed by its answer, which may come from another thread.
        self.id = call.id
        self.pid = call.pid
        self.uid = call.uid
        self.gid = call.gid
        self.size = 0  # READ, WRITE: bytes
        self.whole: Whole | None = None  # READ, WRITE: it is a whole system call (whole.py)
        self.cancelled = 0
        self.started = 0.0  # time.monotonic(); 0: there is no deadline
        self.waiter: Wakeable | None = None
        self.task: asyncio.Task[None] | None = None  # of an async handler that has begun
        self.worker: Worker | None = None  # of the pool, that the handler runs on
        self.ioctl: IoctlRequest | None = None

    def cancel(self, code: int) -> None:
        """Makes a blocked handler end with errno `code`. Any thread; the first code counts."""
        if self.cancelled:
            return
        self.cancelled = code
        # A handler sets `waiter` (`task`) and then looks at `cancelled`: one of us sees the other.
        waiter = self.waiter
        if waiter is not None:
            waiter.wake()
        task = self.task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended with the interpreter
                task.get_loop().call_soon_threadsafe(task.cancel)

    def check(self) -> None:
        """Raises the OSError that the handler is to end with, if it is."""
        if self.cancelled:
            raise OSError(self.cancelled, os.strerror(self.cancelled))
