"""What a client asks of a device, and what it is answered: as one line of a log has them."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Open:
    flags: int
    """As open(2), those that reach a driver."""


@dataclass(frozen=True, slots=True)
class Read:
    size: int
    """Bytes, at most 131,072: a longer read(2) is several."""


@dataclass(frozen=True, slots=True)
class Write:
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Ioctl:
    command: int
    argument: int | bytes | None = None
    """An int by value, or the bytes that were in the client's memory; None: it says nothing."""


@dataclass(frozen=True, slots=True)
class Poll:
    pass


@dataclass(frozen=True, slots=True)
class Release:
    pass


Request: TypeAlias = Open | Read | Write | Ioctl | Poll | Release


@dataclass(slots=True)
class Answer:
    """`errno` alone, where it is not 0."""

    errno: int = 0
    data: bytes | memoryview = b""
    """What was read, or what an ioctl gave."""
    result: int = 0
    """Of a write, bytes taken; of an ioctl, what it returned; of a poll, the events."""

    def check(self) -> Answer:
        """Raises the OSError that it is, if it is one."""
        if self.errno:
            raise OSError(self.errno, os.strerror(self.errno))
        return self


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer. Times are microseconds since the log was begun."""

    file: int
    """Which open file, 1 for the first that was opened."""
    request: Request
    answer: Answer
    start_us: int
    end_us: int
    line: int = 0
    """Of the log, 1 for its first; 0: of none."""

    @property
    def was_interrupted(self) -> bool:
        """The client did not wait for the answer."""
        return self.answer.errno == errno.EINTR
