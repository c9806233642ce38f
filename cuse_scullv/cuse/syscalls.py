"""System calls that a handler may wait in, as it waits in Condition.

    from cuse_scullv.cuse import syscalls

A handler that hands its client's call on to another file blocks in the kernel, where Condition
cannot reach it, and Python's own os.read() goes on after a signal (PEP 475), so that its client
could not even be killed. These end, inside a handler, when the client no longer waits: with an
OSError, EINTR when a signal hit the client, ETIMEDOUT when the device's `timeout` is over, ENODEV
when the device goes away. What the call had done by then is not lost: it is its result. A handler
that waits so does not count among `Workers.callers`. Elsewhere they are the plain calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable

from cuse_scullv._native import ffi, lib

from .current import Running, current, pausing
from .device import Buffer

_REPEAT_S = 0.002  # between signals: the first may come just before the call
_NUMBER_MAX = (1 << 64) - 1
_WAKES = lib.wake_prepare()
_prepared = threading.local()  # .thread: this one can be woken
_signals = threading.Lock()
"""Held to send one: none comes to a thread that has gone on."""


def open(path: str | os.PathLike[str], flags: int) -> int:
    """open(2) of what exists already, with O_CLOEXEC: a descriptor. It may wait: for the carrier of
    a terminal, the other end of a FIFO."""
    name = os.fspath(path)
    return _call(lib.wakeable_open, os.fsencode(name), flags, path=name)


def read(fd: int, size: int) -> bytes:
    """read(2): up to `size` bytes, b"" at the end of the file."""
    buffer = bytearray(size)
    return bytes(memoryview(buffer)[: readinto(fd, buffer)])


def readinto(fd: int, buffer: bytearray | memoryview) -> int:
    """read(2) into `buffer`, from its start: how many bytes."""
    room = ffi.from_buffer(buffer, require_writable=True)
    return _call(lib.wakeable_read, fd, room, len(room))


def write(fd: int, data: Buffer) -> int:
    """write(2): how many bytes were taken."""
    room = ffi.from_buffer(data)
    return _call(lib.wakeable_write, fd, room, len(room))


def ioctl(fd: int, command: int, argument: int | bytearray = 0) -> int:
    """ioctl(2): what it returns. `argument`: an int of up to 64 bits, by value, or a buffer, which
    the driver reads and changes in place; its size is for the caller to know."""
    if isinstance(argument, int):
        return _call(lib.wakeable_ioctl, fd, command, argument & _NUMBER_MAX)
    room = ffi.from_buffer(argument, require_writable=True)
    return _call(lib.wakeable_ioctl, fd, command, int(ffi.cast("uintptr_t", room)))


class _Asleep:
    """A thread in a system call. Woken by a signal, which is sent until the call has ended."""

    __slots__ = ("_thread", "ended")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.ended = False  # under _signals

    def wake(self) -> None:
        self._signal()  # which is mostly enough
        with contextlib.suppress(RuntimeError):  # no more threads, or the interpreter is going
            threading.Thread(target=self._repeat, name="cuse-wake", daemon=True).start()

    def _repeat(self) -> None:
        while not self.ended:
            time.sleep(_REPEAT_S)
            self._signal()

    def _signal(self) -> None:
        with _signals:
            if not self.ended:
                signal.pthread_kill(self._thread, _WAKES)


def _call(call: Callable[..., int], *arguments: object, path: str | None = None) -> int:
    """What `call` returns, which is 0 or more, or -errno."""
    request = current.get()
    result = -errno.EINTR
    while result == -errno.EINTR:  # of a signal that was not meant for it
        result = call(*arguments) if request is None else _wakeable(request, call, arguments)
    if result < 0:
        raise OSError(-result, os.strerror(-result), path)
    return result


def _wakeable(request: Running, call: Callable[..., int], arguments: tuple[object, ...]) -> int:
    """The same, once; the end of the request ends it, with its OSError."""
    if not hasattr(_prepared, "thread"):
        _prepared.thread = lib.wake_prepare()
    asleep = _Asleep()
    request.waiter = asleep
    try:
        request.check()  # who cancels it sees the waiter, or we see that it is cancelled
        with pausing(request):
            result = call(*arguments)
    finally:
        request.waiter = None
        with _signals:
            asleep.ended = True
    if result == -errno.EINTR:
        request.check()
    return result
