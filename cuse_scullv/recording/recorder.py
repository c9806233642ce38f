"""Recorder: writes a log while clients are served."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from . import log
from .requests import Answer, Exchange, Request

logger = logging.getLogger(__name__)


class Recorder:
    """A file that each exchange is a line of as soon as it is answered. Any thread.

    Where the file takes no more (its disk is full, say) that is an error in the log of the program,
    and no more is written; the clients do not notice, and the file has no end."""

    def __init__(self, path: Path) -> None:
        """OSError where `path` cannot be written, or another writes to it. What it has is there
        until begin()."""
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            what = "another proxy writes to it: type another file"
            raise OSError(errno.EBUSY, what, str(path)) from None
        self._lock = threading.Lock()
        self._begun_ns = 0
        self.failed = False
        """The file is not whole."""

    def begin(self, device: str) -> None:
        """Empties the file and writes the first line. OSError."""
        if self._path.is_file():
            os.ftruncate(self._fd, 0)
        started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._begun_ns = time.monotonic_ns()
        try:
            self._append(log.header(device, started))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def end(self) -> None:
        """Writes the last line. What comes later, of a call that hung, is not written."""
        self._try(log.END)
        with self._lock:
            fd, self._fd = self._fd, -1
            os.close(fd)

    @contextlib.contextmanager
    def exchange(self, file: int, request: Request) -> Iterator[Answer]:
        """The exchange is written when the block ends: what was put into the answer, or the OSError
        that left the block."""
        answer, start_us = Answer(), self._now_us()
        try:
            yield answer
        except OSError as error:
            answer.errno = error.errno or 0
            raise
        finally:
            end_us = self._now_us()
            self._try(log.line_of(Exchange(file, request, answer, start_us, end_us)))

    def _now_us(self) -> int:
        return (time.monotonic_ns() - self._begun_ns) // 1000

    def _try(self, line: str) -> None:
        if self.failed:
            return
        try:
            self._append(line)
        except OSError as error:
            self.failed = True
            logger.error("%s: %s: no more is recorded", self._path, error.strerror)

    def _append(self, line: str) -> None:
        """The whole line at once, or, where the file is full, a part of it."""
        left = memoryview(f"{line}\n".encode())
        with self._lock:
            while left and self._fd >= 0:
                left = left[os.write(self._fd, left) :]
