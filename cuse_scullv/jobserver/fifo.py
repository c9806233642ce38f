"""OwnFifo: a jobserver as a FIFO, for a build whose programs insist on one.

ninja 1.13 looks at what it has opened (fstat(2): S_IFIFO), and takes no device, as LLVM did.
So a build gets a FIFO of its own, and this stocks it: one token lies in it, the next is taken from
the device when that has been read. What is more than one goes back to the device.

The kernel tells of reads of a FIFO as of other files (inotify(7): IN_ACCESS; fs/read_write.c:
vfs_read). Whose they are it does not tell: to the jobserver all of the build is this process."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import logging
import os
import select
import shutil
import tempfile
import termios
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

logger = logging.getLogger("cuse_scullv.jobserver")

_IN_ACCESS, _IN_MODIFY = 0x1, 0x2  # include/uapi/linux/inotify.h
_STOCK = 1


class OwnFifo:
    """Context manager: from entry to exit there is the FIFO. It has a thread of its own."""

    def __init__(self, device: str | os.PathLike[str]) -> None:
        """`device`: of the jobserver."""
        self._device_path = device
        self._taken = 0  # tokens that are the build's: in the FIFO, or read from it
        self._end = threading.Event()

    def __enter__(self) -> Path:
        """The path of the FIFO. OSError for a jobserver that cannot be opened."""
        with ExitStack() as stack:
            self._device = _opened(stack, os.open(self._device_path, os.O_RDWR | os.O_NONBLOCK))
            folder = Path(tempfile.mkdtemp(prefix="cuse-scullv-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            path = folder / "jobs"
            os.mkfifo(path, 0o600)
            self._fifo = _opened(stack, os.open(path, os.O_RDWR | os.O_NONBLOCK))
            self._moves = _opened(stack, _watch(path))
            self._heard, self._word = (_opened(stack, fd) for fd in os.pipe())
            self._thread = threading.Thread(target=self._run, name="own-fifo")
            self._thread.start()
            self._stack = stack.pop_all()
        return path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.write(self._word, b"!")
        self._thread.join()
        self._stack.close()

    def _run(self) -> None:
        try:
            while self._stock():
                pass
            self._give_back(self._taken)  # those too that were read by who has died
        except OSError as error:
            logger.warning("the build goes on with the tokens that it has: %s", error.strerror)

    def _stock(self) -> bool:
        """Waits for something to do, and does it. False: the build has ended."""
        there = _readable(self._fifo)
        if there > _STOCK:
            self._give_back(len(os.read(self._fifo, there - _STOCK)))
        poller = select.poll()
        for fd in (self._moves, self._heard, *((self._device,) if there < _STOCK else ())):
            poller.register(fd, select.POLLIN)
        ready = dict(poller.poll())
        if self._moves in ready:
            os.read(self._moves, 4096)
        if self._device in ready:
            self._take()
        return self._heard not in ready

    def _take(self) -> None:
        try:
            token = os.read(self._device, 1)
        except BlockingIOError:  # another was quicker
            return
        self._taken += len(token)
        os.write(self._fifo, token)

    def _give_back(self, n: int) -> None:
        if n > 0:
            os.write(self._device, b"+" * n)
            self._taken -= n


def _opened(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _readable(fd: int) -> int:
    """Bytes that can be read (ioctl_tty(2): FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def _watch(path: Path) -> int:
    """A descriptor that can be read when somebody has read or written the file (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(path), _IN_ACCESS | _IN_MODIFY) < 0:
        code = ctypes.get_errno() or errno.EIO
        if fd >= 0:
            os.close(fd)
        raise OSError(code, f"cannot watch a FIFO: {os.strerror(code)}")
    return fd
