"""scullpipe: the book's FIFO, in which readers wait while it is empty, writers while it is full.

A signal ends a wait, O_NONBLOCK never waits, and poll, select and epoll work. As in the book nobody
is told of an end of file, and what nobody has read goes with the last open file.

Source: "A Blocking I/O Example" and "The scullpipe driver" of chapter 6, and its scull/pipe.c.
"""

from __future__ import annotations

import errno
import os
import select
from typing import Any

from cuse_scullv import cuse

SET_SIZE = cuse.IO("k", 13)  # SCULL_P_IOCTSIZE
QUERY_SIZE = cuse.IO("k", 14)  # SCULL_P_IOCQSIZE
BUFFER = 4000
"""SCULL_P_BUFFER: bytes, one of which stays empty."""
BUFFER_MAX = 4 << 20
"""What kmalloc gives at most, bytes."""


class ScullPipe(cuse.Device):
    def __init__(self, name: str = "scullpipe", **node: Any) -> None:
        super().__init__(name, **node)
        self._changed = cuse.Condition()  # guards what follows; its waits end with the client's
        self._asked = BUFFER  # of the next buffer
        self._size = BUFFER
        self._buffer = bytearray()
        self._opens = 0

    def open(self, file: cuse.File) -> None:
        with self._changed:
            if not self._opens:
                self._size = self._asked
            self._opens += 1

    def release(self, file: cuse.File) -> None:
        with self._changed:
            self._opens -= 1
            if not self._opens:
                self._buffer.clear()

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> bytes:
        with self._changed:
            while not self._buffer:
                self._wait(file)
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._tell()
        return data

    @cuse.retry
    def write(self, file: cuse.File, data: memoryview) -> int:
        with self._changed:
            while not (room := self._room()):
                self._wait(file)
            self._buffer += data[:room]
            self._tell()
        return min(room, len(data))  # less than asked for: the client comes again with the rest

    def poll(self, file: cuse.File) -> int:
        with self._changed:
            readable = select.POLLIN | select.POLLRDNORM if self._buffer else 0
            writable = select.POLLOUT | select.POLLWRNORM if self._room() else 0
        return readable | writable

    @cuse.ioctl(SET_SIZE)
    def set_size(self, file: cuse.File, size: int) -> None:
        """Of the buffer that the next first open file gets. EINVAL where it leaves no room for a
        byte, or there can be no such buffer."""
        if not 2 <= size <= BUFFER_MAX:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with self._changed:
            self._asked = size

    @cuse.ioctl(QUERY_SIZE)
    def query_size(self, file: cuse.File, argument: int) -> int:
        return self._asked

    def save(self, file: cuse.File | None) -> bytes:
        if file is not None:
            return b""
        numbers = (self._asked, self._size, self._opens)
        return b"".join(number.to_bytes(4, "little") for number in numbers) + self._buffer

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        if file is None:
            numbers = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8))
            self._asked, self._size, self._opens = numbers
            self._buffer += data[12:]

    def _room(self) -> int:
        return self._size - 1 - len(self._buffer)

    def _wait(self, file: cuse.File) -> None:
        if file.nonblocking:
            raise BlockingIOError
        self._changed.wait()  # raises InterruptedError when a signal hits the client

    def _tell(self) -> None:
        self._changed.notify_all()  # readers and writers that wait here
        self.notify()  # and those who poll
