"""Proxy: a device that passes all that its clients ask on to a real one.

Each open file of the node is one of the real device, with the flags that the client has; what it
blocks in, its client is blocked in. So the driver sees what it would see without the proxy, but for
what CUSE keeps to itself (docs/cuse.md: What CUSE cannot do) and who asks: that is the proxy.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import select
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuse_scullv import cuse
from cuse_scullv.cuse import syscalls

from .arguments import Argument, argument_of
from .asked import asked_by
from .flags import DRIVERS
from .requests import Ioctl
from .watch import Watch

logger = logging.getLogger(__name__)

_SETTABLE = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT  # by fcntl(2): F_SETFL
_SPARE = 4096
"""Bytes behind an argument, for drivers that give more than the command's number says."""
_EVENTS = (
    select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
    | select.POLLRDNORM | select.POLLWRNORM | select.POLLRDBAND | select.POLLWRBAND
)  # fmt: skip


@dataclass(slots=True)
class RealFile:
    """An open file of the real device. The state of a file of the node."""

    number: int
    """1 for the first that was opened."""
    fd: int
    flags: int
    """Of the client, as they were set last."""


class NotADeviceError(OSError):
    """What was to be passed on to is no character device."""


class Proxy(cuse.Device):
    """`real`: the path of a character device."""

    def __init__(self, name: str, real: str, **options: Any) -> None:
        """`options`: as of Device; mode, owner and group are the real device's unless given.

        OSError where `real` cannot be opened now: ENOENT, EACCES, EBUSY; NotADeviceError."""
        status = Path(real).stat()
        if not stat.S_ISCHR(status.st_mode):
            raise NotADeviceError(errno.ENOTTY, "it is no character device", real)
        _try_open(real)
        as_real = {
            "mode": stat.S_IMODE(status.st_mode) & 0o777,
            "owner": status.st_uid,
            "group": status.st_gid,
        }
        super().__init__(name, unrestricted=True, **(as_real | options))
        self.real = real
        self._numbers = itertools.count(1)
        self._refused: set[int] = set()  # commands that the log has

    def started(self) -> None:
        self._watch = Watch()

    def stopped(self) -> None:
        self._watch.close()

    def open(self, file: cuse.File) -> RealFile:
        return self.open_real(next(self._numbers), file.flags)

    def open_real(self, number: int, flags: int) -> RealFile:
        """What open() does."""
        fd = syscalls.open(self.real, flags & DRIVERS | os.O_NOCTTY)
        return RealFile(number, fd, flags)

    def release(self, file: cuse.File) -> None:
        real: RealFile = file.state
        self._watch.remove(real.fd)
        os.close(real.fd)

    def readinto(self, file: cuse.File, buffer: memoryview) -> int:
        return syscalls.readinto(_in_step(file).fd, buffer)

    def write(self, file: cuse.File, data: memoryview) -> int:
        return syscalls.write(_in_step(file).fd, data)

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        argument = argument_of(request.cmd, request.arg)
        if argument is None:
            return self.ioctl_real(file.state, Ioctl(request.cmd), None)
        asked = asked_by(request, argument)  # may end the method, so all else comes after it
        return self.ioctl_real(file.state, asked, argument)

    def ioctl_real(
        self, real: RealFile, asked: Ioctl, argument: Argument | None
    ) -> cuse.IoctlReply:
        """What ioctl() does, when the client's memory is here. `argument`: None: unknown."""
        if argument is None:
            self._warn(asked.command)
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        if isinstance(asked.argument, int):
            return cuse.IoctlReply(syscalls.ioctl(real.fd, asked.command, asked.argument))
        memory = bytearray(_SPARE + max(argument.takes, argument.gives))
        memory[: argument.takes] = asked.argument or b""
        is_pointer = argument.takes or argument.gives
        result = syscalls.ioctl(real.fd, asked.command, memory if is_pointer else 0)
        return cuse.IoctlReply(result, bytes(memory[: argument.gives]))

    def _warn(self, command: int) -> None:
        if command not in self._refused:
            self._refused.add(command)
            logger.warning(
                "%s: ioctl %#x is not passed on, but ENOTTY: nobody knows what its argument points"
                " to",
                self.name,
                command,
            )

    def poll(self, file: cuse.File) -> int:
        real: RealFile = file.state
        # Before the look: what changes after it is heard.
        self._watch.add(real.fd, file.notify)
        poll = select.poll()
        poll.register(real.fd, _EVENTS)
        return sum(events for _, events in poll.poll(0))


def _in_step(file: cuse.File) -> RealFile:
    """The real file, with the flags that the client has now."""
    real: RealFile = file.state
    if real.flags != file.flags:
        real.flags = file.flags
        fcntl.fcntl(real.fd, fcntl.F_SETFL, file.flags & _SETTABLE)
    return real


def _try_open(real: str) -> None:
    """Opens and closes it, to find out now what would be in the way; not what depends on the flags
    that a client has. OSError."""
    try:
        os.close(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EAGAIN):
            raise
