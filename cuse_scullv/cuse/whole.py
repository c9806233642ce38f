"""WholeSession: the session of a device that gets each read and write of a client in one piece.

The kernel sends a system call in parts, one after the other; the thread that made it says how much
it is (system_call.py). At the first part a read is asked for all of it, and a write gets all of it,
from the client's memory; the parts are answered by what came of that. So an error is the client's,
a short answer ends the call where it ended, and nothing is acknowledged that the device has not
taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cuse_scullv._native import ffi, lib

from .answer import logger
from .device import Device
from .file import File
from .proc import is_there
from .remote import remote_of
from .request import Request, Whole
from .session import Session
from .system_call import READ, WRITE, SystemCall, system_call_of

if TYPE_CHECKING:
    from cuse_scullv._native import Call

Key: TypeAlias = "tuple[int, int]"
"""An open file's number, a thread's."""

_KEPT_MAX = 64 << 20  # bytes that parts of reads may be waited for with; then none is joined


@dataclass(slots=True)
class _Rest:
    """Of a system call whose first part has been answered."""

    direction: int
    """READ or WRITE."""
    at: int
    """Bytes that are answered."""
    end: int
    """Bytes that the method gave or took: where the answers end."""
    total: int
    """Bytes that the client asked for: where the parts end."""
    data: bytes = b""
    """What it gave behind the first part."""

    def part(self, size: int) -> bytes:
        """Of what is left in `data`, the first."""
        start = len(self.data) - (self.end - self.at)
        return self.data[start : start + size]


class WholeSession(Session):
    """As Session, with reads and writes that are whole where that can be known."""

    def __init__(self, device: Device, callers: int, on_end: Callable[[], None]) -> None:
        super().__init__(device, callers, on_end)
        self._max = device.transfers_max
        self._rests: dict[Key, _Rest] = {}
        self._has_complained = False

    # A look may take long, and who waits may be answered meanwhile (his deadline, the end of the
    # device), which frees the call: all that is needed of it is taken before.

    def _on_read(self, call: Call) -> None:
        size, offset = call.size, call.offset
        if offset and self._go_on(call, READ, size):
            return
        file = self._file_of(call)
        if file is None:
            return
        flags = call.flags
        request = self._begin(call, file, self._read_name)
        if request is not None:
            file.flags = flags
            request.size = size = size if offset else self._size_of_read(request, size)
            self._run_read(request, self.finish_read, self._read, file, size)

    def _on_write(self, call: Call) -> None:
        size, offset = call.data_size, call.offset
        if offset and self._go_on(call, WRITE, size):
            return
        file = self._file_of(call)
        if file is None:
            return
        flags, part = call.flags, ffi.buffer(call.data, size)[:]
        request = self._begin(call, file, "write")
        if request is not None:
            file.flags = flags
            data = memoryview(part if offset else self._data_of_write(request, part)).toreadonly()
            request.size = len(data)
            self._run_write(request, self.finish_write, self._write, file, data)

    # --- the first part ---------------------------------------------------------------------

    def _size_of_read(self, request: Request, part: int) -> int:
        asked = self._asked(request, READ)
        if asked is None or asked.total < part:
            return part
        if sum(len(rest.data) for rest in list(self._rests.values())) > _KEPT_MAX:
            return part
        request.whole = Whole(part, asked.total)
        return min(asked.total, self._max)

    def _data_of_write(self, request: Request, part: bytes) -> bytes | bytearray:
        asked = self._asked(request, WRITE)
        if asked is None or asked.total < len(part):
            return part
        data: bytes | bytearray = part
        if asked.total > len(part):
            areas = asked.first(self._max)
            data = self._seen(lambda: remote_of(request.pid).read(areas)) or b""
            if not data.startswith(part):  # it is being changed; or it is not this
                return part
        request.whole = Whole(len(part), asked.total)
        return data

    def _asked(self, request: Request, direction: int) -> SystemCall | None:
        """What the client has asked for; None: that cannot be known."""
        self._rests.pop((request.file._number, request.pid), None)  # of a call that has ended
        found: SystemCall | None = self._seen(
            lambda: system_call_of(remote_of(request.pid), direction)
        )
        return found

    def _seen(self, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                logger.warning(
                    "%s: transfers come in parts where a client cannot be looked into: %s; see"
                    " ptrace(2), and docs/cuse.md",
                    self.device.name,
                    error,
                )
            return None

    # --- answers ----------------------------------------------------------------------------

    def reply_read(self, request: Request, whole: Whole, view: Any, size: int) -> None:
        part = min(size, whole.part)
        if part == whole.part < whole.total:
            self._await(request, READ, size, ffi.buffer(view)[part:size])
        lib.call_reply_data(request.call, view, part)

    def reply_written(self, request: Request, whole: Whole, count: int) -> None:
        part = min(count, whole.part)
        if part == whole.part < whole.total:
            self._await(request, WRITE, count)
        lib.call_reply_written(request.call, part)

    def _await(self, request: Request, direction: int, end: int, data: bytes = b"") -> None:
        """The kernel will come with the next part as soon as the first is answered, unless the
        client is killed, or has no memory there."""
        assert request.whole is not None
        for key in [key for key in list(self._rests) if not is_there(key[1])]:
            self._rests.pop(key, None)
        key = (request.file._number, request.pid)
        self._rests[key] = _Rest(direction, request.whole.part, end, request.whole.total, data)

    def _go_on(self, call: Call, direction: int, size: int) -> bool:
        """Answers a further part, if it is one of what is known."""
        key = (call.open, call.pid)
        rest = self._rests.get(key)
        if rest is None or (rest.direction, rest.at) != (direction, call.offset):
            return False
        count = min(size, rest.end - rest.at)
        data = rest.part(count) if direction == READ else b""
        rest.at += count
        if count < size or rest.at >= rest.total:
            self._rests.pop(key, None)  # before the answer: then the client may begin another
        if direction == READ:
            lib.call_reply_data(call, ffi.from_buffer(data), count)
        else:
            lib.call_reply_written(call, count)
        return True

    # --- the end of a file ------------------------------------------------------------------

    def _on_release(self, call: Call) -> None:
        self._forget(call.open)
        super()._on_release(call)

    def release_now(self, file: File) -> None:
        self._forget(file._number)
        super().release_now(file)

    def _forget(self, number: int) -> None:
        for key in [key for key in list(self._rests) if key[0] == number]:
            self._rests.pop(key, None)
