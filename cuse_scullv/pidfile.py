"""Files that name the process that serves something, for as long as it does.

What counts is the lock (flock(2)), which the kernel takes back however its owner ends: a file that
a crashed server left means nothing, and only who has the lock writes the number.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from pathlib import Path
from types import TracebackType

_TRIES = 20
_PAUSE_S = 0.01  # as long as one who only asks has the lock, or a new owner has not written yet


class PidFile:
    """Context manager: from entry to exit `path` names this process, and is locked by it.

    Entering raises BlockingIOError where another process has it, FileExistsError where the file is
    something else, or OSError with the file's name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> PidFile:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._check(fd)
                self._lock(fd)
            except BaseException:
                os.close(fd)
                raise
            if self._is_at_path(fd):
                break
            os.close(fd)  # its last owner removed it just now
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_at_path(self._fd):
            self.path.unlink()
        os.close(self._fd)

    def _check(self, fd: int) -> None:
        """Nobody's notes are overwritten: what is there already must be what a server left."""
        content = os.pread(fd, 32, 0)
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not re.fullmatch(rb"(\d+\n)?", content):
            raise FileExistsError(errno.EEXIST, "it is there and names no process", str(self.path))

    def _lock(self, fd: int) -> None:
        for _ in range(_TRIES):
            if _try_lock(fd, fcntl.LOCK_EX):
                return
            time.sleep(_PAUSE_S)
        raise BlockingIOError(errno.EAGAIN, f"process {holder(self.path)} has it", str(self.path))

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False


def holder(path: Path) -> int | None:
    """The process whose PidFile `path` is; None: nobody's. OSError: it cannot be asked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        for _ in range(_TRIES):
            if _try_lock(fd, fcntl.LOCK_SH):
                return None
            number = os.pread(fd, 32, 0)
            if number.endswith(b"\n"):
                return int(number)
            time.sleep(_PAUSE_S)
        return None
    finally:
        os.close(fd)


def _try_lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
