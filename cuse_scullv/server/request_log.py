"""The log of `serve --log-requests`: a line of JSON for each request that Python answers.

Reads and writes are answered in C, and are counted there; a line for each would cost more than they
do. Where there is no log, nothing is asked: the methods that are logged are put in place of the
device's own."""

from __future__ import annotations

import asyncio
import datetime
import errno
import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from cuse_scullv import cuse, ioctl
from cuse_scullv.server.server_metrics import name_of

OPERATIONS = ("open", "release", "ioctl")
_ACCESS = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}

logger = logging.getLogger(__name__)


def open_log(path: str) -> int:
    """A descriptor to append lines to. Nobody who reads them, or does not, can hold a server up: a
    pipe that is full loses lines. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o640)


class RequestLog:
    """Threads of several devices may log at the same time: a line is one write(2)."""

    def __init__(self, fd: int) -> None:
        """`fd`, from open_log, stays the caller's."""
        self._fd = fd
        self._is_lossy = False

    def watch(self, device: cuse.Device, by: str) -> None:
        """Logs its requests from its next channel on, as made by way of `by`."""
        for operation in OPERATIONS:
            method = getattr(device, operation)
            setattr(device, operation, self._logged(operation, by, method))

    def _logged(self, operation: str, by: str, method: Callable[..., Any]) -> Callable[..., Any]:
        line = partial(self._line, operation, by)

        def logged(file: cuse.File, *arguments: Any) -> Any:
            with line(file, *arguments):
                return method(file, *arguments)

        async def logged_async(file: cuse.File, *arguments: Any) -> Any:
            with line(file, *arguments):
                return await method(file, *arguments)

        return logged_async if inspect.iscoroutinefunction(method) else logged

    @contextmanager
    def _line(self, operation: str, by: str, file: cuse.File, *arguments: Any) -> Iterator[None]:
        """Writes one when what is done within has ended."""
        began = time.monotonic()
        code = 0
        try:
            yield
        except OSError as error:
            code = error.errno or errno.EIO
            raise
        except asyncio.CancelledError:
            code = errno.EINTR
            raise
        except BaseException:
            code = errno.EIO
            raise
        finally:
            fields = {"device": file.device.name, "by": by, "operation": operation}
            more = _of_ioctl(*arguments) if arguments else _of_file(operation, file)
            took = time.monotonic() - began
            self._write(fields | _who(file) | more | _outcome(code, took))

    def _write(self, fields: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        line = {"time": now.isoformat(timespec="microseconds")} | fields
        try:
            os.write(self._fd, json.dumps(line).encode() + b"\n")
        except OSError as error:
            if not self._is_lossy:
                self._is_lossy = True
                logger.warning("--log-requests: lines are lost: %s", error.strerror)


def _who(file: cuse.File) -> dict[str, int]:
    """The calling thread; of a release the kernel names nobody."""
    caller = file.caller
    return {"pid": caller.pid, "uid": caller.uid, "gid": caller.gid}


def _of_file(operation: str, file: cuse.File) -> dict[str, str]:
    return {"access": _ACCESS.get(file.flags & os.O_ACCMODE, "?")} if operation == "open" else {}


def _of_ioctl(request: cuse.IoctlRequest) -> dict[str, Any]:
    known = request.cmd in ioctl.NUMBERS.values()
    return {"command": name_of(request.cmd) if known else f"{request.cmd:#x}"}


def _outcome(code: int, seconds: float) -> dict[str, Any]:
    error = errno.errorcode.get(code, str(code)) if code else None
    return {"error": error, "seconds": round(seconds, 9)}
