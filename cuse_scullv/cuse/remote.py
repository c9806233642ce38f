"""Remote: what can be seen of a client's thread from outside: its memory, the system call it is in.

Both take what ptrace(2) takes (PTRACE_MODE_ATTACH): CAP_SYS_PTRACE, or the client's own uid where
kernel.yama.ptrace_scope is 0, and no security module against it. Both are of a thread that waits
for the answer to a request: while it does, its number is no other's."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from .proc import open_pidfd, still_has, syscall_of

Area: TypeAlias = "tuple[int, int]"
"""Address and length, bytes, in the client's memory."""

_SLEEP_S = 1.0  # most that a client may take from sending a request until it sleeps


class Remote(Protocol):
    """A thread of a client."""

    def system_call(self) -> str:
        """As /proc/TID/syscall has it (proc(5)). OSError: it cannot be seen."""

    def read(self, areas: Sequence[Area]) -> bytearray:
        """The bytes there; fewer, where a page is not. OSError: none of them."""

    def write(self, address: int, data: bytes) -> int:
        """How many were put there. OSError: none."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)
_vectors = (ctypes.POINTER(_Iovec), ctypes.c_ulong)
for _name in ("process_vm_readv", "process_vm_writev"):
    _function = getattr(_libc, _name)
    _function.argtypes = (ctypes.c_int, *_vectors, *_vectors, ctypes.c_ulong)
    _function.restype = ctypes.c_ssize_t


class Thread:
    """One of the kernel's. Memory is process_vm_readv(2)'s: unlike /proc/TID/mem it takes the
    protection of pages for what it is."""

    def __init__(self, tid: int) -> None:
        self.tid = tid

    def system_call(self) -> str:
        """It says "running" until the thread sleeps (fs/proc/base.c: proc_pid_syscall), which may
        be a moment after its request has reached us: then it is looked at again."""
        end = time.monotonic() + _SLEEP_S
        pause = 20e-6
        while True:
            text = syscall_of(self.tid)
            if not text.startswith("running") or time.monotonic() >= end:
                return text
            time.sleep(pause)
            pause = min(2 * pause, 5e-3)

    def read(self, areas: Sequence[Area]) -> bytearray:
        room = bytearray(sum(length for _, length in areas))
        if room:
            count = self._call(_libc.process_vm_readv, room, areas)
            del room[count:]
        return room

    def write(self, address: int, data: bytes) -> int:
        room = bytearray(data)  # ctypes wants it writable
        return self._call(_libc.process_vm_writev, room, [(address, len(room))]) if room else 0

    def _call(self, function: Callable[..., int], room: bytearray, areas: Sequence[Area]) -> int:
        buffer: Any = (ctypes.c_char * len(room)).from_buffer(room)
        local = _Iovec(ctypes.addressof(buffer), len(room))
        there = (_Iovec * len(areas))(*(_Iovec(*area) for area in areas))
        count = function(self.tid, ctypes.byref(local), 1, there, len(areas), 0)
        if count < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return count


played: dict[int, Remote] = {}
"""Clients of fake kernels of this process, by the number of the thread that they say they are."""


@contextlib.contextmanager
def playing(tid: int, client: Remote) -> Iterator[None]:
    """Within, the thread `tid` is seen as that client."""
    played[tid] = client
    try:
        yield
    finally:
        played.pop(tid, None)


def remote_of(tid: int) -> Remote:
    """The thread of that number."""
    return played.get(tid) or Thread(tid)


class RemoteMemory:
    """The memory of a client, while its ioctl waits to be answered: `IoctlRequest.memory`."""

    def __init__(self, tid: int, limit: int, is_waiting: Callable[[], bool]) -> None:
        self._tid = tid
        self._limit = limit
        self._is_waiting = is_waiting
        self._remote = remote_of(tid)
        self._pid, self._pidfd = 0, -1

    def __del__(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address` of the client's memory (process_vm_readv(2)).

        OSError, which a handler may let pass to the client: EFAULT, not all of them can be read
        there; ENOMEM, more than `Device.client_memory`; EPERM, this process may not (see
        ptrace(2), "Ptrace access mode checking"); ESRCH, the client no longer waits, or is of a pid
        namespace that cannot be seen."""
        self._check(address, length)
        data = self._remote.read([(address, length)]) if length else b""
        if len(data) < length:
            raise _oserror(errno.EFAULT)
        return bytes(data)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Puts `data` at `address` (process_vm_writev(2)). OSError as read; after EFAULT the first
        pages may have been written."""
        content = bytes(data)
        self._check(address, len(content))
        if content and self._remote.write(address, content) < len(content):
            raise _oserror(errno.EFAULT)

    def _check(self, address: int, length: int) -> None:
        if length < 0 or length > self._limit:
            raise _oserror(errno.ENOMEM)
        if not 0 <= address <= (1 << 64) - 1 - length:
            raise _oserror(errno.EFAULT)
        if not self._is_waiting():
            raise _oserror(errno.ESRCH)
        if self._tid in played:
            return
        # The kernel may have let the client go without us (the device was aborted): then its
        # number may be another's by now.
        if self._pidfd < 0:
            self._pid, self._pidfd = open_pidfd(self._tid)
        elif not still_has(self._pidfd, self._pid, self._tid):
            raise _oserror(errno.ESRCH)


def _oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))
