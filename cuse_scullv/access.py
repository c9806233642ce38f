"""Who may open a device: policies of the book's chapter 6, each on a memory as scull's.

Source: "Access Control on a Device File" of the book, and its scull/access.c. A user is known by
the uid that the kernel puts into a request, the client's file system uid (credentials(7)).
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cuse_scullv import cuse
from cuse_scullv.cuse.loop import handler_loop
from cuse_scullv.device import OpenFile, ScullDevice, Shared
from cuse_scullv.ioctl import Answer, Request
from cuse_scullv.procfs import stat_fields

_TTY = 7 - 3  # tty_nr, of the fields behind the name, which are counted from 3


class GuardedDevice(ScullDevice):
    """A device that not everybody may open at any time."""

    def __init__(self, name: str, shared: Shared, number: int = 0, **node: Any) -> None:
        super().__init__(name, shared, number, **node)
        self._lock = threading.Lock()  # guards what follows
        self._holders = 0  # open files
        self._user = 0  # whose they are

    def may_join(self, caller: cuse.Caller) -> bool:
        """Whether the caller may open it while others have it open."""
        raise NotImplementedError

    def open(self, file: cuse.File) -> Any:
        if not self._enter(file.caller):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return self._open(file)

    def release(self, file: cuse.File) -> None:
        super().release(file)
        self._leave()

    def _enter(self, caller: cuse.Caller) -> bool:
        """Counts one more holder, unless he may not be."""
        with self._lock:
            if self._holders and not self.may_join(caller):
                return False
            if not self._holders:
                self._user = caller.uid
            self._holders += 1
        return True

    def _open(self, file: cuse.File) -> OpenFile:
        """For one who was counted."""
        try:
            return cast("OpenFile", super().open(file))
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._holders -= 1


class SingleDevice(GuardedDevice):
    """scullsingle: one open file at a time. EBUSY."""

    def may_join(self, caller: cuse.Caller) -> bool:
        return False


class UserDevice(GuardedDevice):
    """sculluid: open files of one user at a time. EBUSY.

    The book lets in who has CAP_DAC_OVERRIDE as well; here it is CAP_SYS_ADMIN, which the keeper
    looks for on behalf of a worker that may not."""

    def may_join(self, caller: cuse.Caller) -> bool:
        return caller.uid == self._user or self.shared.is_admin(caller.pid)


class WaitingDevice(UserDevice):
    """scullwuid: as sculluid, but others wait in open(), until that user has closed all, or a
    signal comes. EAGAIN with O_NONBLOCK."""

    def __init__(self, name: str, shared: Shared, number: int = 0, **node: Any) -> None:
        super().__init__(name, shared, number, **node)
        self._left = asyncio.Event()  # of the loop

    async def open(self, file: cuse.File) -> OpenFile:
        while True:
            self._left.clear()  # before the look: who leaves after it sets it
            if self._enter(file.caller):
                return self._open(file)
            if file.nonblocking:
                raise BlockingIOError
            await self._left.wait()

    def _leave(self) -> None:
        super()._leave()
        handler_loop().call_soon_threadsafe(self._left.set)


@dataclass
class OpenClone(OpenFile):
    """A file open on the memory of a terminal."""

    clone: ScullDevice | None = None


class PrivateDevice(ScullDevice):
    """scullpriv: a memory of its own for each controlling terminal, which stays when its files are
    closed. EINVAL for a process that has none."""

    def __init__(self, name: str, shared: Shared, number: int = 0, **node: Any) -> None:
        super().__init__(name, shared, number, **node)
        self._lock = threading.Lock()
        self._clones: dict[int, ScullDevice] = {}  # by terminal, under the lock

    def open(self, file: cuse.File) -> OpenFile:
        clone = self._clone_of(terminal_of(file.caller.pid))
        return OpenClone(clone.opened(file.flags).handle, clone=clone)

    def release(self, file: cuse.File) -> None:
        file.state.clone.released()

    def control(self, file: OpenFile, request: Request) -> Answer:
        assert isinstance(file, OpenClone)
        assert file.clone is not None
        return file.clone.control(file, request)

    def close(self) -> None:
        for clone in self._clones.values():
            clone.close()
        super().close()

    def _clone_of(self, terminal: int) -> ScullDevice:
        with self._lock:
            if terminal not in self._clones:
                self._clones[terminal] = ScullDevice(self.name, self.shared, self.number)
                self.shared.devices -= 1  # no further one, to who counts devices
            return self._clones[terminal]


def terminal_of(pid: int) -> int:
    """The controlling terminal of a process, tty_nr of proc(5). OSError EINVAL: it has none, or
    cannot be seen."""
    try:
        number = int(stat_fields(Path(f"/proc/{pid}"))[_TTY])
    except OSError:
        number = 0
    if number == 0:
        raise OSError(errno.EINVAL, "no controlling terminal")
    return number


DEVICES: dict[str, type[ScullDevice]] = {
    "scullsingle": SingleDevice,
    "sculluid": UserDevice,
    "scullwuid": WaitingDevice,
    "scullpriv": PrivateDevice,
}
"""By the preset."""
