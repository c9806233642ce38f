"""Answers: the second half of a session: what a handler returned or raised becomes one reply.

Whoever takes a request out of `pending` answers it, and nobody else does. Values are checked
before that, so that a bad one is still EIO to the client, and before the kernel would refuse it.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import itertools
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from cuse_scullv._native import ffi, lib

from .device import DataPathDevice, Device, overrides
from .file import File
from .ioctl import IoctlReply, Retry
from .request import Request, Whole

if TYPE_CHECKING:
    from .keeping import Keeping
    from .pool import Pool

logger = logging.getLogger("cuse_scullv.cuse")

Finish: TypeAlias = Callable[[Request, Any], None]

_ERRNO_LIMIT = 512  # the kernel refuses replies of this errno and above (fuse_dev_do_write)
_IOCTL_MAX_AREAS = 256  # FUSE_IOCTL_MAX_IOV
_RESULT_MAX = 2**31 - 1
_POLL_MAX = 2**32 - 1

# Of the OSErrors whose class says it all, for those raised without an errno.
_ERRNO_OF: tuple[tuple[type[OSError], int], ...] = (
    (BlockingIOError, errno.EAGAIN),
    (InterruptedError, errno.EINTR),
    (TimeoutError, errno.ETIMEDOUT),
    (PermissionError, errno.EACCES),
    (FileNotFoundError, errno.ENOENT),
    (FileExistsError, errno.EEXIST),
    (BrokenPipeError, errno.EPIPE),
    (ConnectionAbortedError, errno.ECONNABORTED),
    (ConnectionRefusedError, errno.ECONNREFUSED),
    (ConnectionResetError, errno.ECONNRESET),
    (ProcessLookupError, errno.ESRCH),
    (ChildProcessError, errno.ECHILD),
    (IsADirectoryError, errno.EISDIR),
    (NotADirectoryError, errno.ENOTDIR),
)

_from_buffer = ffi.from_buffer
_reply_data = lib.call_reply_data
_reply_written = lib.call_reply_written


def errno_of(error: BaseException) -> int:
    """The errno that a handler meant by raising `error`; 0: it is a fault of the handler."""
    if not isinstance(error, OSError):
        return 0
    code = error.errno
    if code is None:
        return next((number for kind, number in _ERRNO_OF if isinstance(error, kind)), 0)
    return code if isinstance(code, int) and 0 < code < _ERRNO_LIMIT else 0


class Answers:
    """What a session answers with. Its methods run on the thread that the handler ran on."""

    device: Device

    def __init__(self) -> None:
        self.pending: dict[int, Request] = {}  # by call id, in order of arrival
        self.files: dict[int, File] = {}  # by number
        self._numbers = itertools.count(1)
        self._pool: Pool | None = None
        self.keeping: Keeping | None = None
        """Of a device that outlives its worker."""

    def _claim(self, request: Request) -> bool:
        """Whether the request is still to be answered: then this thread has to, at once."""
        if self.pending.pop(request.id, None) is None:
            return False
        if self.keeping is not None:
            self.keeping.save(request)
        return True

    def _spawn(self, request: Request, awaitable: Any, finish: Finish) -> None:
        raise NotImplementedError

    # --- failures ---------------------------------------------------------------------------

    def fail(self, request: Request, error: BaseException) -> None:
        """The handler raised `error`."""
        if isinstance(error, Retry) and request.ioctl is not None:
            self._retry(request)
            return
        code = errno_of(error)
        if request.cancelled and isinstance(error, asyncio.CancelledError):
            code = request.cancelled
        if code == errno.ENOSYS and request.handler in ("open", "poll"):
            code = 0  # the kernel would never ask the device again
        if code == 0:
            code = errno.EIO
            what = "was cancelled" if isinstance(error, asyncio.CancelledError) else "raised"
            logger.error("%s: %s() %s; %s", *_who(request), what, _outcome(request), exc_info=error)
        if self._claim(request):
            lib.call_reply_error(request.call, code)

    def _odd(self, request: Request, result: Any, finish: Finish, wanted: str) -> None:
        """A result that is no reply: an awaitable of one, or a fault."""
        if inspect.isawaitable(result):
            self._spawn(request, result, finish)
        else:
            self._fault(request, f"returned {_describe(result)}, not {wanted}")

    def _fault(self, request: Request, what: str) -> None:
        logger.error("%s: %s() %s; %s", *_who(request), what, _outcome(request))
        if self._claim(request):
            lib.call_reply_error(request.call, errno.EIO)

    def _late(self, request: Request) -> None:
        """A good answer to a request that was answered meanwhile."""
        logger.warning(
            "%s: %s() was done %.3g s after its start, too late; its answer is dropped",
            *_who(request),
            time.monotonic() - request.started if request.started else 0.0,
        )

    def expire(self, request: Request, timeout: float) -> None:
        """The request's deadline is over."""
        if self.pending.pop(request.id, None) is None:
            return
        logger.error(
            "%s: %s() has not answered within %g s; the client (pid %d) gets ETIMEDOUT",
            *_who(request),
            timeout,
            request.pid,
        )
        lib.call_reply_error(request.call, errno.ETIMEDOUT)
        request.cancel(errno.ETIMEDOUT)
        if request.worker is not None and self._pool is not None:
            self._pool.write_off(request.worker)

    # --- results ----------------------------------------------------------------------------

    def finish_read(self, request: Request, data: Any) -> None:
        try:
            view = _from_buffer(data)
        except (TypeError, ValueError, BufferError):
            self._odd(request, data, self.finish_read, "bytes")
            return
        size = len(view)
        if size > request.size:
            self._fault(request, f"returned {size} bytes to a read of {request.size}")
        elif not self._claim(request):
            self._late(request)
        elif request.whole is None:
            _reply_data(request.call, view, size)
        else:
            self.reply_read(request, request.whole, view, size)

    def finish_write(self, request: Request, count: Any) -> None:
        if count is None:
            count = request.size
        elif not isinstance(count, int):
            self._odd(request, count, self.finish_write, "a number of bytes or None")
            return
        if not 0 <= count <= request.size:
            self._fault(request, f"returned {count} to a write of {request.size} bytes")
        elif not self._claim(request):
            self._late(request)
        elif request.whole is None:
            _reply_written(request.call, count)
        else:
            self.reply_written(request, request.whole, count)

    def reply_read(self, request: Request, whole: Whole, view: Any, size: int) -> None:
        """Of a system call: its first part is answered, the others as they come."""
        raise NotImplementedError

    def reply_written(self, request: Request, whole: Whole, count: int) -> None:
        """As reply_read."""
        raise NotImplementedError

    def finish_ioctl(self, request: Request, result: Any) -> None:
        data = b""
        if isinstance(result, IoctlReply):
            result, data = result.result, result.data
        elif result is None:
            result = 0
        elif not isinstance(result, int):
            self._odd(request, result, self.finish_ioctl, "an IoctlReply or an int")
            return
        assert request.ioctl is not None
        if not isinstance(result, int) or not isinstance(data, (bytes, bytearray, memoryview)):
            what = f"({_describe(result)}, {_describe(data)})"
            self._fault(request, f"returned IoctlReply{what}, not one of (int, bytes)")
        elif not 0 <= result <= _RESULT_MAX:
            self._fault(
                request, f"returned {result}, not 0 … {_RESULT_MAX}; to fail, raise OSError"
            )
        elif (size := memoryview(data).nbytes) > request.ioctl.out_size:
            self._fault(request, f"returned {size} bytes where {request.ioctl.out_size} fit")
        elif not self._claim(request):
            self._late(request)
        else:
            lib.call_reply_ioctl(request.call, int(result), _from_buffer(data), size)

    def _retry(self, request: Request) -> None:
        assert request.ioctl is not None
        ins, outs = request.ioctl.ins, request.ioctl.outs
        if len(ins) + len(outs) > _IOCTL_MAX_AREAS:
            self._fault(request, f"asked for more than {_IOCTL_MAX_AREAS} areas of memory")
            return
        words = [word for area in (*ins, *outs) for word in area]
        if not all(0 <= word < 1 << 64 for word in words):
            self._fault(request, f"asked for areas of memory that cannot be: {[*ins, *outs]}")
            return
        if not self._claim(request):
            self._late(request)
        else:
            areas = ffi.new("uint64_t[]", words)
            lib.call_reply_retry(request.call, areas, len(ins), len(outs))

    def finish_poll(self, request: Request, events: Any) -> None:
        if not isinstance(events, int):
            self._odd(request, events, self.finish_poll, "an int of select.POLLIN …")
        elif not 0 <= events <= _POLL_MAX:
            self._fault(request, f"returned {events}, which is no set of events")
        elif not self._claim(request):
            self._late(request)
        else:
            lib.call_reply_poll(request.call, int(events))

    def finish_open(self, request: Request, state: Any) -> None:
        if inspect.isawaitable(state):
            self._spawn(request, state, self.finish_open)
            return
        file = request.file
        file.state = state
        handle = ffi.NULL
        if isinstance(self.device, DataPathDevice):
            request.handler = "handle"
            try:
                handle = self.device.handle(file)
                file._number = lib.call_take_handle(request.call, handle)
                if not file._number:
                    lib.handle_free(handle)
                    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
            except BaseException as error:  # noqa: BLE001 - whatever it is, fail() answers
                self.fail(request, error)
                self.release_now(file)
                return
        elif self.keeping is not None:
            file._number = lib.call_take_handle(request.call, ffi.NULL)
            if not file._number:
                self.fail(request, OSError(errno.ENFILE, os.strerror(errno.ENFILE)))
                self.release_now(file)
                return
        else:
            file._number = next(self._numbers)
        self.files[file._number] = file  # before the answer: the next request may be quick
        if not self._claim(request):
            self._late(request)
        elif lib.call_reply_open(request.call, file._number) == 0:
            return
        # Nobody has the file: its client was answered already, or gave up.
        del self.files[file._number]
        self.release_now(file)
        if self.keeping is not None:
            self.keeping.forget(file)
        lib.handle_free(handle)

    def finish_release(self, request: Request, result: Any) -> None:
        if inspect.isawaitable(result):
            self._spawn(request, result, self.finish_release)
        elif self._claim(request):
            lib.call_reply_error(request.call, 0)

    def release_now(self, file: File) -> None:
        """release() of a file for which the kernel sends no RELEASE."""
        raise NotImplementedError


def _who(request: Request) -> tuple[str, str]:
    """The device's name and the method's: of an ioctl, the one that declares the command."""
    device = request.file.device
    if request.handler == "ioctl" and request.ioctl is not None:
        declared = device._ioctls.get(request.ioctl.cmd)
        if declared is not None and not overrides(device, "ioctl"):
            return device.name, declared.name
    return device.name, request.handler


def _outcome(request: Request) -> str:
    """What a fault is to the client. poll(2) itself has no error for it: EPOLLERR is one of the
    events that it returns (fs/fuse/file.c: fuse_file_poll)."""
    if request.handler == "poll":
        return "who polls gets POLLERR"
    if request.handler == "release":
        return "no client hears of it"
    return "the client gets EIO"


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
