"""What each ioctl does, as a pure table: (request, params) -> answer or action. No I/O.

Two families come from *Linux Device Drivers*: 13 commands of magic 'K' (scullv, scullp: orders)
and 13 of magic 'k' (scull: quanta in bytes). Both do the same six things with a number:

    S  set through a pointer        T  tell by value            G  get through a pointer
    Q  query, by return value       X  exchange: S and G        H  shift: T and Q

The extensions, magic 0xEE, do what a CUSE node cannot do otherwise: it has no lseek. Their
structures are those of csrc/scullv_ioctl.h, which says what each field means.

The kernel copies a command's _IOC_SIZE bytes in and out, so a bad pointer is EFAULT before anyone
here hears of it, and a wrong direction or size is another command: ENOTTY.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import NamedTuple

from cuse_scullv import counts
from cuse_scullv.params import Geometry, Params

_NONE, _WRITE, _READ = 0, 1, 2  # _IOC_DIR, as the client sees it
_INT = struct.Struct("=i")
_SEEK = struct.Struct("=qII")
_RANGE = struct.Struct("=QQ")
_INFO = struct.Struct("=9Q8I24x")
_TEXT = struct.Struct("=II1016s")
TEXT_MAX = 1016
"""Bytes of text that one TEXT brings."""
FLAG_LDD3 = 1
"""In Information.flags: the server follows the book's rules."""
FLAG_BYTES = 2
"""In Information.flags: what K's commands call an order is a quantum in bytes, as in scullc."""
FLAG_MEMFD, FLAG_FILE, FLAG_MAP = 4, 8, 16
"""In Information.flags: the device's bytes are those of an anonymous file, of a file, of a part of
a file; none of them: memory of the server's own."""
FLAG_PASSTHROUGH = 32
"""In Information.flags: the kernel reads and writes the file view's file without the server."""


def _ioc(direction: int, magic: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | magic << 8 | number


class _Field(NamedTuple):
    """A number of the pending geometry that ioctls get and set."""

    name: str
    get: Callable[[Geometry], int]
    replace: Callable[[Geometry, int], Geometry]


class _Way(NamedTuple):
    """How a command moves numbers: where the new value comes from, where the old one goes."""

    letter: str
    new: str  # "pointer", "arg" or "": the value stays
    old: str  # "pointer", "result" or "": nobody is told

    @property
    def direction(self) -> int:
        return (_WRITE if self.new == "pointer" else 0) | (_READ if self.old == "pointer" else 0)


_WAYS = (
    _Way("S", "pointer", ""),
    _Way("T", "arg", ""),
    _Way("G", "", "pointer"),
    _Way("Q", "", "result"),
    _Way("X", "pointer", "pointer"),
    _Way("H", "arg", "result"),
)
_ORDER = _Field("ORDER", lambda geometry: geometry.order, Geometry.with_order)
_QUANTUM = _Field("QUANTUM", lambda geometry: geometry.quantum, Geometry.with_quantum)
_QSET = _Field("QSET", lambda geometry: geometry.qset, Geometry.with_qset)


@dataclass(frozen=True, slots=True)
class Command:
    """One of the book's commands. RESET has no field and no way."""

    name: str
    number: int
    """All 32 bits, as the client passes it."""
    magic: str
    field: _Field | None = None
    way: _Way | None = None

    @property
    def changes(self) -> bool:
        return self.way is None or bool(self.way.new)


def _family(prefix: str, magic: str, plan: list[tuple[_Way, _Field]]) -> list[Command]:
    commands = [Command(prefix + "RESET", _ioc(_NONE, ord(magic), 0, 0), magic)]
    for number, (way, field) in enumerate(plan, start=1):
        size = _INT.size if way.direction else 0
        code = _ioc(way.direction, ord(magic), number, size)
        commands.append(Command(prefix + way.letter + field.name, code, magic, field, way))
    return commands


# scullv.h numbers all the orders, then all the qsets; scull.h takes them in turns.
BOOK = {
    command.number: command
    for command in (
        *_family("SCULLV_IOC", "K", [(way, field) for field in (_ORDER, _QSET) for way in _WAYS]),
        *_family("SCULL_IOC", "k", [(way, field) for way in _WAYS for field in (_QUANTUM, _QSET)]),
    )
}
"""The 13 + 13 commands of the book, by number."""

SEEK = _ioc(_READ | _WRITE, 0xEE, 1, _SEEK.size)
TRIM = _ioc(_NONE, 0xEE, 2, 0)
PUNCH = _ioc(_WRITE, 0xEE, 3, _RANGE.size)
INFO = _ioc(_READ, 0xEE, 4, _INFO.size)
TEXT = _ioc(_READ | _WRITE, 0xEE, 5, _TEXT.size)
STATISTICS = _ioc(_READ, 0xEE, 6, counts.SIZE)
VIEW_STATISTICS = _ioc(_READ, 0xEE, 7, counts.SIZE)

NUMBERS = {command.name: command.number for command in BOOK.values()} | {
    "SCULLV_IOC_SEEK": SEEK,
    "SCULLV_IOC_TRIM": TRIM,
    "SCULLV_IOC_PUNCH": PUNCH,
    "SCULLV_IOC_INFO": INFO,
    "SCULLV_IOC_TEXT": TEXT,
    "SCULLV_IOC_STATISTICS": STATISTICS,
    "SCULLV_IOC_VIEW_STATISTICS": VIEW_STATISTICS,
}
"""Every command's number, by its name in csrc/scullv_ioctl.h."""


@dataclass(frozen=True, slots=True)
class Request:
    """An ioctl as it reaches the server."""

    cmd: int
    """All 32 bits, unsigned."""
    arg: int = 0
    """The argument by value, 64 bits."""
    data: bytes = b""
    """What the kernel copied from the client: _IOC_SIZE bytes of a command that writes."""
    writable: bool = True
    """The file is open for writing."""
    is_admin: Callable[[], bool] = bool
    """Whether the caller has CAP_SYS_ADMIN. Asked only where it decides: finding out costs a read
    of /proc. The default says no."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The command is done once `params` are in force."""

    params: Params
    result: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Seek:
    """Move the open file's position. `whence` as handle_seek takes it, and it judges it."""

    offset: int
    whence: int

    def reply(self, position: int) -> bytes:
        """The bytes the client gets: the new position, and the whence it gave."""
        return _SEEK.pack(position, self.whence, 0)


@dataclass(frozen=True, slots=True)
class Trim:
    """Empty the device; it adopts the pending geometry."""


@dataclass(frozen=True, slots=True)
class Punch:
    """Make a hole of these bytes: they read as zeros, and whole quanta give their memory back."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Info:
    """Tell about the device, by `Information.pack`."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the device's scullvmem text. Offset 0 makes the text anew for this open file;
    what follows is cut from that same text, so that the pieces fit."""

    offset: int
    length: int

    def reply(self, text: bytes) -> bytes:
        """The bytes the client gets, cut from the whole `text`; past its end, length 0."""
        piece = text[self.offset : self.offset + min(self.length, TEXT_MAX)]
        return _TEXT.pack(self.offset, len(piece), piece)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Tell what was answered, by `counts.Counts.pack`."""

    view: bool
    """Of the file view; else of the device's node."""


Action = Seek | Trim | Punch | Info | Text | Statistics


@dataclass(frozen=True, slots=True)
class Information:
    """struct scullv_info: the state of one device. All sizes in bytes."""

    size: int
    quantum: int
    region_bytes: int
    regions: int
    resident_bytes: int
    limit: int  # of all devices together; 0: none
    used: int  # of that limit
    index_bytes: int
    pending_quantum: int
    qset: int
    pending_qset: int
    order: int
    page_size: int
    flags: int  # FLAG_…
    number: int  # of this device, from 0
    devices: int
    opens: int  # files open on this device

    @property
    def backing(self) -> str:
        """Where the bytes are: "anon", "memfd", "file" or "map"."""
        for flag, name in ((FLAG_MEMFD, "memfd"), (FLAG_FILE, "file"), (FLAG_MAP, "map")):
            if self.flags & flag:
                return name
        return "anon"

    def pack(self) -> bytes:
        return _INFO.pack(*astuple(self))

    @classmethod
    def unpack(cls, data: bytes) -> Information:
        return cls(*_INFO.unpack(data))


def pack_seek(offset: int, whence: int) -> bytes:
    """What a client passes to SEEK; `unpack_seek` reads the position from what comes back."""
    return _SEEK.pack(offset, whence, 0)


def unpack_seek(data: bytes) -> int:
    position, _, _ = _SEEK.unpack(data)
    return int(position)


def pack_range(offset: int, length: int) -> bytes:
    """What a client passes to PUNCH."""
    return _RANGE.pack(offset, length)


def pack_text(offset: int, length: int = TEXT_MAX) -> bytes:
    """What a client passes to TEXT; `unpack_text` takes the piece from what comes back."""
    return _TEXT.pack(offset, length, b"")


def unpack_text(data: bytes) -> bytes:
    _, length, piece = _TEXT.unpack(data)
    return bytes(piece[:length])


def decide(request: Request, params: Params) -> Answer | Action:
    """What `request` comes to while `params` are in force.

    Pure: whoever calls this puts the answer's params in force before anyone else decides.
    Raises OSError: ENOTTY for a command that is not served, EPERM for one the caller may not
    give, EINVAL or EFBIG for a bad value; then nothing changes.
    """
    extension = _EXTENSIONS.get(request.cmd)
    if extension is not None:
        return extension(request)
    command = BOOK.get(request.cmd)
    if command is None or (params.ldd3 and command.magic != params.preset.magic):
        raise _error(errno.ENOTTY)
    if command.changes:
        _require_change(request, params, command)
    if command.field is None or command.way is None:
        return Answer(params.reset())
    return _move(request, params, command.field, command.way)


def _require_change(request: Request, params: Params, command: Command) -> None:
    if not params.ldd3:
        _require_writing(request)
    elif command.magic == "k" and command.way is not None and not request.is_admin():
        raise _error(errno.EPERM)  # scull's main.c asks for it in S, T, X, H; scullv's never does


def _require_writing(request: Request) -> None:
    if not request.writable and not request.is_admin():
        raise _error(errno.EPERM)


def _move(request: Request, params: Params, field: _Field, way: _Way) -> Answer:
    if field is _ORDER and params.preset.orders_are_bytes:
        field = _QUANTUM
    old = field.get(params.pending)
    if way.new:
        if way.new == "pointer":
            (value,) = _unpack(_INT, request.data)
        else:
            value = _as_int(request.arg)
        try:
            params = params.with_pending(field.replace(params.pending, value))
        except ValueError:
            raise _error(errno.EINVAL) from None
    if way.old == "pointer":
        return Answer(params, data=_INT.pack(old))
    return Answer(params, result=old if way.old else 0)


def _decide_seek(request: Request) -> Seek:
    offset, whence, reserved = _unpack(_SEEK, request.data)
    if reserved:
        raise _error(errno.EINVAL)
    return Seek(offset, whence)


def _decide_trim(request: Request) -> Trim:
    _require_writing(request)
    return Trim()


def _decide_punch(request: Request) -> Punch:
    _require_writing(request)
    offset, length = _unpack(_RANGE, request.data)
    if not length:
        raise _error(errno.EINVAL)  # as fallocate(2)
    if offset + length > 2**63 - 1:
        raise _error(errno.EFBIG)
    return Punch(offset, length)


def _decide_info(_request: Request) -> Info:
    return Info()


def _decide_text(request: Request) -> Text:
    offset, length, _ = _unpack(_TEXT, request.data)
    return Text(offset, length)


def _decide_statistics(request: Request) -> Statistics:
    return Statistics(view=request.cmd == VIEW_STATISTICS)


_EXTENSIONS: dict[int, Callable[[Request], Action]] = {
    SEEK: _decide_seek,
    TRIM: _decide_trim,
    PUNCH: _decide_punch,
    INFO: _decide_info,
    TEXT: _decide_text,
    STATISTICS: _decide_statistics,
    VIEW_STATISTICS: _decide_statistics,
}


def _unpack(shape: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != shape.size:  # no kernel sends this
        raise _error(errno.EINVAL)
    return shape.unpack(data)


def _as_int(arg: int) -> int:
    """The C `int` in an argument passed by value: the upper half is whatever the caller left."""
    return (arg & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
