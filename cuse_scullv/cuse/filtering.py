"""Filtering: a client that shows and changes the filters of a device that is being served."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from types import TracebackType

from .filter_ioctl import ADD, NEXT, REMOVE, Seen

_IOCTLS_ALONE = os.O_WRONLY | os.O_RDWR
"""Access mode 3: a descriptor for ioctls only (open(2)). No filter refuses such an open."""


class Filtering:
    """The filters of the device at `path`, a node or a file of a file view; a context manager.

    Whoever may open the device may look; a change takes CAP_SYS_ADMIN: EPERM. ENOTTY: it is no
    device of cuse-scullv's, or of a program's that uses its binding."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError."""
        self.path = path
        try:
            self._fd = os.open(path, _IOCTLS_ALONE | os.O_CLOEXEC)
        except PermissionError:  # access mode 3 takes the right to read and to write
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Filtering:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def __iter__(self) -> Iterator[Seen]:
        """In the order in which requests come by them."""
        number = 0
        while True:
            try:
                found = self._do(NEXT, Seen(number, ""))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield found
            number = found.number

    def add(self, text: str) -> int:
        """At the end; its number. Raises OSError: EPERM; EINVAL; ENOSPC: there are 16; EOPNOTSUPP:
        the kernel does the file's I/O by itself."""
        return self._do(ADD, Seen(0, text)).number

    def remove(self, number: int) -> None:
        """Raises OSError: EPERM; ENOENT: no filter has this number."""
        self._do(REMOVE, Seen(number, ""))

    def _do(self, command: int, seen: Seen) -> Seen:
        try:
            return Seen.unpack(fcntl.ioctl(self._fd, command, seen.pack()))
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None
