"""FakeFile: an open file of the fake kernel, whose methods are the system calls."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from ..remote import Area, playing
from ..system_call import READ, WRITE
from . import wire
from .client import FakeClient
from .memory import Bad, ClientMemory, oserror

_NOT_SENT = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC  # open flags that the kernel keeps
_DEFAULT_POLL = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM


class IoctlResult(NamedTuple):
    """What an ioctl gave: its return value, and the bytes that were copied to the client."""

    result: int
    data: bytes


class Kernel(Protocol):
    """What an open file needs of the kernel it is a file of."""

    memory: ClientMemory
    uid: int
    gid: int
    unrestricted: bool
    _lock: threading.Lock
    _kh: int
    _no_poll: bool

    @property
    def pid(self) -> int | None: ...
    def init(self) -> Any: ...
    def _send(
        self,
        opcode: int,
        body: bytes,
        out_min: int,
        out_max: int,
        caller: tuple[int | None, int, int] | None = None,
    ) -> Any: ...
    def _await(self, request: Any) -> bytes: ...
    def _wrong(self, what: str) -> Exception: ...
    def _wakeup_of(self, kh: int) -> AbstractContextManager[threading.Event]: ...


class FakeFile:
    """An open file of the fake kernel. Its methods are the system calls, and raise OSError."""

    def __init__(self, kernel: Kernel, flags: int) -> None:
        self.kernel = kernel
        self.flags = flags  # O_NONBLOCK may be changed, as by F_SETFL
        self.pid, self.uid, self.gid = kernel.pid, kernel.uid, kernel.gid
        self.closed = False
        self._fh = 0
        with kernel._lock:
            kernel._kh += 1
            self._kh = kernel._kh

    def __enter__(self) -> FakeFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _transact(self, opcode: int, body: bytes, out_min: int, out_max: int) -> bytes:
        caller = (self.pid, self.uid, self.gid)
        return self.kernel._await(self.kernel._send(opcode, body, out_min, out_max, caller))

    def _seen(
        self, direction: int | None = None, size: int = 0, data: bytes = b""
    ) -> AbstractContextManager[None]:
        """Within, the server can look at the client, as at one of the kernel's."""
        tid = threading.get_native_id() if self.pid is None else self.pid
        return playing(tid, FakeClient(self.kernel.memory, direction, size, data))

    def _check(self, allowed: tuple[int, ...] | None = None) -> None:
        if self.closed or (allowed is not None and self.flags & os.O_ACCMODE not in allowed):
            raise oserror(errno.EBADF)

    def _open(self) -> None:
        body = wire.OPEN_IN.pack(self.flags & ~_NOT_SENT & 0xFFFFFFFF, 0)
        self._fh = wire.OPEN_OUT.unpack(
            self._transact(wire.OP_OPEN, body, wire.OPEN_OUT.size, wire.OPEN_OUT.size)
        )[0]

    def read(self, size: int) -> bytes:
        """read(2) of `size` bytes. OSError as the server says, EBADF."""
        self._check((os.O_RDONLY, os.O_RDWR))
        with self._seen(READ, size):
            return self._read(size)

    def _read(self, size: int) -> bytes:
        limit = min(wire.MAX_REQUEST, self.kernel.init().max_read)
        data = bytearray()
        while len(data) < size:
            part = min(size - len(data), limit)
            body = wire.READ_IN.pack(self._fh, len(data), part, 0, 0, self.flags, 0)
            try:
                got = self._transact(wire.OP_READ, body, 0, part)
            except OSError:
                if data:  # the error shows at the next call
                    break
                raise
            data += got
            if len(got) < part:
                break
        return bytes(data)

    def write(self, data: bytes | bytearray | memoryview | Bad) -> int:
        """write(2): the number of bytes taken. OSError as the server says, EBADF, EFAULT."""
        self._check((os.O_WRONLY, os.O_RDWR))
        if isinstance(data, Bad):
            raise oserror(errno.EFAULT)
        content = bytes(data)
        with self._seen(WRITE, len(content), content):
            return self._write(memoryview(content))

    def _write(self, view: memoryview) -> int:
        limit = min(wire.MAX_REQUEST, self.kernel.init().max_write)
        done = 0
        while done < len(view):
            part = view[done : done + limit]
            body = wire.WRITE_IN.pack(self._fh, done, len(part), 0, 0, self.flags, 0) + bytes(part)
            try:
                answer = self._transact(
                    wire.OP_WRITE, body, wire.WRITE_OUT.size, wire.WRITE_OUT.size
                )
            except OSError:
                if done:
                    break
                raise
            taken: int = wire.WRITE_OUT.unpack(answer)[0]
            if taken > len(part):
                raise self.kernel._wrong(f"{taken} bytes taken of a write of {len(part)}")
            done += taken
            if taken < len(part):
                break
        return done

    def ioctl(
        self, cmd: int, arg: int | bytes | bytearray | Bad | None = 0, *, compat: bool = False
    ) -> IoctlResult:
        """ioctl(2). Bytes stand for a pointer to them; BAD and None for a pointer to nothing.

        An int is the argument itself: a value for `_IO`, else an address in `kernel.memory`.
        `compat` makes the caller a 32-bit program. OSError as the server says, EFAULT, ENOMEM."""
        self._check()
        memory = self.kernel.memory
        if arg is None or isinstance(arg, Bad):
            arg = 0  # nothing lies there
        elif not isinstance(arg, int):
            size = _ioc_size(cmd)
            if _ioc_writes(cmd) and len(arg) < size:
                raise ValueError(f"command {cmd:#x} passes {size} bytes, not {len(arg)}")
            arg = memory.alloc(bytes(arg).ljust(size, b"\0"), compat=compat)
        flags = (wire.IOCTL_COMPAT | wire.IOCTL_32BIT) if compat else 0
        ins: list[Area] = []
        outs: list[Area] = []
        if self.kernel.unrestricted:
            flags |= wire.IOCTL_UNRESTRICTED
        else:
            area = (arg, _ioc_size(cmd))
            ins = [area] if _ioc_writes(cmd) else []
            outs = [area] if _ioc_reads(cmd) else []
        with self._seen():
            return self._ioctl(cmd, arg, flags, ins, outs)

    def _ioctl(
        self, cmd: int, arg: int, flags: int, ins: list[Area], outs: list[Area]
    ) -> IoctlResult:
        memory = self.kernel.memory
        while True:
            answer = self._ioctl_once(cmd, arg, flags, ins, outs)
            result, out_flags, n_in, n_out = wire.IOCTL_OUT.unpack_from(answer)
            body = answer[wire.IOCTL_OUT.size :]
            if not out_flags & wire.IOCTL_RETRY:
                break
            ins, outs = self._retry(flags, body, n_in, n_out)
        if len(body) > sum(length for _, length in outs):
            raise self.kernel._wrong(
                f"an ioctl gave {len(body)} bytes, more than there is room for"
            )
        rest = body
        for address, length in outs:
            memory.write(address, rest[:length])
            rest = rest[length:]
        if result == -errno.ENOSYS:
            result = -errno.ENOTTY
        if -4095 <= result < 0:
            raise oserror(-result)
        return IoctlResult(result, body)

    def _ioctl_once(
        self, cmd: int, arg: int, flags: int, ins: list[Area], outs: list[Area]
    ) -> bytes:
        in_size = sum(length for _, length in ins)
        out_size = sum(length for _, length in outs)
        if max(in_size, out_size) > wire.MAX_REQUEST:
            raise oserror(errno.ENOMEM)
        data = b"".join(self.kernel.memory.read(*area) for area in ins)
        body = wire.IOCTL_IN.pack(
            self._fh, flags, cmd & 0xFFFFFFFF, arg & (1 << 64) - 1, in_size, out_size
        )
        room = wire.IOCTL_OUT.size + max(out_size, 4096)
        try:
            return self._transact(wire.OP_IOCTL, body + data, wire.IOCTL_OUT.size, room)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise oserror(errno.ENOTTY) from error
            raise

    def _retry(
        self, flags: int, body: bytes, n_in: int, n_out: int
    ) -> tuple[list[Area], list[Area]]:
        """The areas that the server asks for (fuse_do_ioctl, fuse_copy_ioctl_iovec)."""
        if not flags & wire.IOCTL_UNRESTRICTED:
            raise self.kernel._wrong("a retry was asked for in restricted mode")
        if (
            n_in > wire.IOCTL_MAX_AREAS
            or n_out > wire.IOCTL_MAX_AREAS
            or n_in + n_out > wire.IOCTL_MAX_AREAS
        ):
            raise oserror(errno.ENOMEM)
        if len(body) != (n_in + n_out) * wire.IOCTL_AREA.size:
            raise self.kernel._wrong(f"{len(body)} bytes do not name {n_in} + {n_out} areas")
        areas = list(wire.IOCTL_AREA.iter_unpack(body))
        if flags & wire.IOCTL_COMPAT and any(base + length > 1 << 32 for base, length in areas):
            # A real 32-bit client has no such addresses: memory.alloc(…, compat=True).
            raise oserror(errno.EIO)
        return areas[:n_in], areas[n_in:]

    def poll(self, events: int = select.POLLIN | select.POLLOUT, timeout: float | None = 0) -> int:
        """poll(2) on this file alone: the events that are so, 0 when `timeout` seconds passed.

        None waits until the server's wake-ups bring one of the events. POLLERR and POLLHUP come
        unasked."""
        self._check()
        deadline = None if timeout is None else time.monotonic() + timeout
        wanted = events | select.POLLERR | select.POLLHUP
        with self.kernel._wakeup_of(self._kh) as wakeup:
            while True:
                wakeup.clear()
                ready = self._poll_once(events, timeout != 0) & wanted
                if ready or (deadline is not None and time.monotonic() >= deadline):
                    return ready
                wakeup.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _poll_once(self, events: int, wait: bool) -> int:
        if self.kernel._no_poll:
            return _DEFAULT_POLL
        flags = wire.POLL_SCHEDULE_NOTIFY if wait else 0
        body = wire.POLL_IN.pack(self._fh, self._kh, flags, events)
        try:
            answer = self._transact(wire.OP_POLL, body, wire.POLL_OUT.size, wire.POLL_OUT.size)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                self.kernel._no_poll = True
                return _DEFAULT_POLL
            return select.POLLERR
        revents: int = wire.POLL_OUT.unpack(answer)[0]
        return revents

    def close(self) -> None:
        """close(2): waits for the server's RELEASE, whose errno nobody sees. Twice is once."""
        if self.closed:
            return
        self.closed = True
        body = wire.RELEASE_IN.pack(self._fh, self.flags, 0, 0)
        with contextlib.suppress(OSError):
            self._transact(wire.OP_RELEASE, body, 0, 0)


def _ioc_size(cmd: int) -> int:
    return cmd >> 16 & 0x3FFF


def _ioc_writes(cmd: int) -> bool:
    """_IOC_WRITE: the client's bytes go to the driver."""
    return bool(cmd >> 30 & 1)


def _ioc_reads(cmd: int) -> bool:
    return bool(cmd >> 31 & 1)
