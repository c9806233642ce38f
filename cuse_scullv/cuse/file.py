"""File: a client's open file on a device."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from .caller import Caller
from .client import Client, client_of
from .current import Running, current
from .ending import Ending

_ends_lock = threading.Lock()  # of all files' _ends while they are open


class Notifier(Protocol):
    """Who wakes those that poll a file."""

    def notify(self, file: File) -> None: ...


class File:
    """An open file description: what open(2) made, shared by dup and fork.

    Several requests of one file may be under way at once, on several threads.
    """

    __slots__ = ("_ends", "_number", "_session", "device", "ending", "flags", "state")

    def __init__(self, device: Any, flags: int, session: Notifier) -> None:
        self.device = device
        """The Device, of whatever class it is."""
        self.flags = flags
        """As of open(2), but O_CREAT, O_EXCL, O_NOCTTY and O_TRUNC, which the kernel keeps; each
        read and write brings them up to date (a client may change O_NONBLOCK by fcntl)."""
        self.state: Any = None
        """What the device's open() returned."""
        self.ending: Ending | None = None
        """From release() on: why the file was released, and by whom, as far as can be known."""
        self._session = session
        self._ends: list[Callable[[File], object]] | None = None  # to be called at release
        self._number = 0  # of the open file in its channel; 0: not open yet

    def __repr__(self) -> str:
        return f"<cuse.File {self._number} of {self.device.name!r}, flags {self.flags:#o}>"

    @property
    def readable(self) -> bool:
        """The file is open for reading. The kernel refuses other reads itself, with EBADF."""
        return self.flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR)

    @property
    def writable(self) -> bool:
        """The file is open for writing."""
        return self.flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)

    @property
    def nonblocking(self) -> bool:
        """The client wants EAGAIN (BlockingIOError) rather than to wait: O_NONBLOCK is set."""
        return bool(self.flags & os.O_NONBLOCK)

    @property
    def caller(self) -> Caller:
        """Who made the request that the running handler is at: not always who opened the file.

        RuntimeError outside a handler, and in threads that a handler has started."""
        request = self._request()
        return Caller(request.pid, request.uid, request.gid)

    @property
    def client(self) -> Client:
        """The process that made the request that the running handler is at. Where the device has
        client_gone() it is known, and costs nothing; else it is looked up as `caller.tgid` is.

        RuntimeError as of `caller`; ProcessLookupError where it cannot be known."""
        known: Client | None = getattr(self._request(), "client", None)
        return known if known is not None else client_of(self.caller)

    @property
    def interrupted(self) -> bool:
        """The client of the running handler no longer waits: a signal hit it, the device's
        `timeout` is over, or the device goes away. For handlers that look now and then;
        `Condition` and `sleep` end by themselves. RuntimeError as of `caller`."""
        return self._request().cancelled != 0

    @property
    def whole(self) -> bool:
        """The read or write at hand stands for all of the client's system call, and what becomes of
        it is what read(2) or write(2) gives. False: it may be a part, and others may follow. Of
        devices with `transfers = "whole"`; of others it is not known, so False. RuntimeError as of
        `caller`."""
        return getattr(self._request(), "whole", None) is not None

    def notify(self) -> None:
        """Wakes who polls this file (poll, select, epoll): they ask the device's poll() again.

        Any thread; not needed from within poll()."""
        self._session.notify(self)

    def _at_end(self, call: Callable[[File], object]) -> None:
        """`call(file)` will be called once, when the file is released, before the device's
        release(), on the thread that brings it. To ask twice for the same is to ask once."""
        with _ends_lock:
            if self._ends is None:
                self._ends = []
            if call not in self._ends:
                self._ends.append(call)

    def _end(self) -> None:
        ends, self._ends = self._ends, None
        for call in ends or ():
            call(self)

    def _request(self) -> Running:
        request = current.get()
        if request is None or request.file is not self:
            raise RuntimeError("there is a caller only while a handler of this file runs")
        return request
