"""ioctls: numbers (IOWR …), requests and replies, and the @ioctl decorator with typed arguments.

A command's number says its direction and size (asm-generic/ioctl.h), and the kernel copies exactly
that many bytes in and out: so does `Command`, which knows the type as well and packs it.
"""

from __future__ import annotations

import ctypes
import inspect
import struct
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from .file import File
    from .remote import Area, RemoteMemory

Type: TypeAlias = "type[ctypes._CData] | str | struct.Struct | int"
"""Of an argument: a ctypes type, a format of the struct module, or a number of raw bytes."""
Handler = TypeVar("Handler", bound=Callable[..., Any])

_SIZE_LIMIT = 1 << 14  # _IOC_SIZEBITS
_NONE, _WRITE, _READ = 0, 1, 2  # of the command's direction, as the client sees it
_DIRECTIONS = ("IO", "IOW", "IOR", "IOWR")


class ArgumentError(TypeError):
    """A declared handler returned what its command's type cannot hold."""


class Retry(BaseException):
    """Ends a handler so that the kernel comes again with more of the client's memory.

    Not an Exception: a handler's `except Exception` shall not stop it."""


class Command(int):
    """An ioctl command: an int (32 bits, as clients pass it) that knows its argument's type."""

    direction: int
    size: int
    type: Type | None

    def __new__(cls, direction: int, magic: str | int, number: int, type: Type | None) -> Command:
        """Raises TypeError or ValueError for what does not fit in a command's fields."""
        letter = _letter(magic)
        size = 0 if type is None else size_of(type)
        if not 0 <= letter <= 255 or not 0 <= number <= 255:
            raise ValueError(f"ioctl magic {magic!r} and number {number} must each fit in a byte")
        if size >= _SIZE_LIMIT:
            raise ValueError(f"an ioctl argument has at most {_SIZE_LIMIT - 1} bytes, not {size}")
        return cls._made(direction << 30 | size << 16 | letter << 8 | number, direction, size, type)

    @classmethod
    def _made(cls, value: int, direction: int, size: int, type: Type | None) -> Command:
        self = super().__new__(cls, value)
        self.direction, self.size, self.type = direction, size, type
        return self

    @classmethod
    def of(cls, value: int, takes: Type | None = None, gives: Type | None = None) -> Command:
        """The command with the number `value`, as headers have it: what it says of direction and
        size (asm-generic/ioctl.h) holds, and where it says nothing, `takes` and `gives` do.

        Raises TypeError for two different types, or such as the number denies; ValueError for a
        number of more than 32 bits."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"no ioctl command {value:#x}: take 0 to {(1 << 32) - 1:#x}")
        if takes is not None and gives is not None and takes != gives:
            raise TypeError(f"{value:#x}: what it takes and gives is one argument, of one type")
        said, size = value >> 30, value >> 16 & _SIZE_LIMIT - 1
        type = gives if takes is None else takes
        if type is None:
            return cls._made(value, said, size if said else 0, size if said else None)
        wanted = (_NONE if takes is None else _WRITE) | (_NONE if gives is None else _READ)
        if said and (said, size) != (wanted, size_of(type)):
            raise TypeError(
                f"the number {value:#x} is of {_DIRECTIONS[said]} and {size} bytes, takes= and"
                f" gives= are of {_DIRECTIONS[wanted]} and {size_of(type)}"
            )
        return cls._made(value, wanted, size_of(type), type)

    def __repr__(self) -> str:
        return f"{_DIRECTIONS[self.direction]}({int(self):#x})"

    @property
    def needs_unrestricted(self) -> bool:
        """Bytes come in or go out of which the number says nothing, so the kernel copies none by
        itself."""
        return self.direction != int(self) >> 30

    @property
    def takes(self) -> bool:
        """The client's bytes come in."""
        return bool(self.direction & _WRITE)

    @property
    def gives(self) -> bool:
        """Bytes go out to the client."""
        return bool(self.direction & _READ)


def IO(magic: str | int, number: int) -> Command:  # noqa: N802 - the kernel's names
    """_IO: no memory; the argument is an int that the handler gets by value."""
    return Command(_NONE, magic, number, None)


def IOR(magic: str | int, number: int, type: Type) -> Command:  # noqa: N802
    """_IOR: the client reads; the handler returns a value of `type`."""
    return Command(_READ, magic, number, type)


def IOW(magic: str | int, number: int, type: Type) -> Command:  # noqa: N802
    """_IOW: the client writes; the handler gets a value of `type`."""
    return Command(_WRITE, magic, number, type)


def IOWR(magic: str | int, number: int, type: Type) -> Command:  # noqa: N802
    """_IOWR: the handler gets a value of `type` and returns one."""
    return Command(_READ | _WRITE, magic, number, type)


def _letter(magic: str | int) -> int:
    if isinstance(magic, str) and len(magic) == 1:
        return ord(magic)
    if isinstance(magic, int):
        return magic
    raise TypeError(f"no ioctl magic {magic!r}: take one letter, or an int of 0 to 255")


def size_of(type: Type) -> int:
    """Bytes of a value of `type`. TypeError, or struct.error for a bad format."""
    if isinstance(type, int):
        return type
    if isinstance(type, str):
        return struct.calcsize(type)
    if isinstance(type, struct.Struct):
        return type.size
    try:
        return ctypes.sizeof(type)
    except TypeError:
        raise TypeError(
            f"an ioctl's argument is no {_name(type)}: take a ctypes type (a C int is"
            " ctypes.c_int), a format of the struct module ('i'), or a number of bytes"
        ) from None


def _name(type: object) -> str:
    return str(getattr(type, "__name__", type))


def unpack(type: Type, data: bytes) -> Any:
    """The value that `data` hold: bytes for a number of raw bytes, a ctypes structure or array as
    itself, a simple ctypes type as its value, a struct format as a tuple, or as its only item."""
    if isinstance(type, int):
        return data
    if isinstance(type, (str, struct.Struct)):
        values = struct.unpack(type, data) if isinstance(type, str) else type.unpack(data)
        return values[0] if len(values) == 1 else values
    # typeshed gives from_buffer_copy to a metaclass that it keeps to itself.
    value = cast(Any, type).from_buffer_copy(data)
    return value.value if isinstance(value, ctypes._SimpleCData) else value


def pack(type: Type, value: Any) -> bytes:
    """The bytes of `value`, the other way round. ArgumentError where it does not fit."""
    if isinstance(type, int):
        if not isinstance(value, (bytes, bytearray, memoryview)) or len(value) != type:
            raise ArgumentError(f"{_short(value)} is not {type} bytes")
        return bytes(value)
    if isinstance(type, (str, struct.Struct)):
        values = value if isinstance(value, tuple) else (value,)
        try:
            return struct.pack(type, *values) if isinstance(type, str) else type.pack(*values)
        except struct.error as error:
            raise ArgumentError(f"{_short(value)} does not fit the format: {error}") from error
    if isinstance(value, type):
        return bytes(value)
    if not issubclass(type, ctypes._SimpleCData):
        raise ArgumentError(f"{_short(value)} is no {type.__name__}")
    try:
        packed = type(value)
    except TypeError as error:
        raise ArgumentError(f"{_short(value)} is no {type.__name__}: {error}") from error
    # ctypes cuts an integer that is too wide, without a word.
    if isinstance(value, int) and packed.value != value:
        raise ArgumentError(f"{value} does not fit in {type.__name__}")
    return bytes(packed)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(slots=True)
class IoctlRequest:
    """An ioctl as it reached the server."""

    cmd: int
    """The command, 32 bits, unsigned."""
    arg: int
    """The argument: a value for `IO` commands, else the address of the client's memory."""
    data: bytes = b""
    """What the kernel copied in: `_IOC_SIZE` bytes if the command has `_IOC_WRITE`, else none."""
    out_size: int = 0
    """Bytes that a reply may have: `_IOC_SIZE` if the command has `_IOC_READ`, else 0."""
    compat: bool = False
    """The client is a 32-bit program: its long and its pointers have 4 bytes."""
    unrestricted: bool = False
    """The device has asked to name the client's memory itself: `fetch` and `reserve` work."""
    ins: list[Area] = field(default_factory=list, repr=False)
    outs: list[Area] = field(default_factory=list, repr=False)
    _memory: RemoteMemory | None = field(default=None, repr=False)
    _fetched: int = 0
    _reserved: int = 0

    @property
    def size(self) -> int:
        """_IOC_SIZE: bytes of the argument, as far as the command's number says."""
        return self.cmd >> 16 & _SIZE_LIMIT - 1

    @property
    def unsized(self) -> int:
        """The command without its size, which tells those that are a family, one a length: of
        SPI_IOC_MESSAGE(n) it is SPI_IOC_MESSAGE(0)."""
        return self.cmd & ~(_SIZE_LIMIT - 1 << 16)

    def fetch(self, address: int, length: int) -> bytes:
        """`length` bytes of the client's memory. Unrestricted devices only (else RuntimeError).

        The kernel hands over only what it was asked for, so the first time this *ends the handler*:
        the kernel is told, copies, and the handler runs again from its start, to come further. So a
        handler must do nothing that shows before its last fetch and reserve, and must ask in the
        same order each time. A bad address is EFAULT to the client, and the handler hears no more
        of it."""
        return self.exchange([(address, length)], [])[0]

    def reserve(self, address: int, length: int) -> None:
        """Makes room for `length` bytes of the reply at `address` of the client's memory.

        The reply's data fill the reserved areas in the order they were reserved. As fetch."""
        self.exchange([], [(address, length)])

    def exchange(self, ins: Iterable[Area], outs: Iterable[Area]) -> list[bytes]:
        """As fetch of each of `ins`, whose bytes this returns, and reserve of each of `outs`, areas
        of (address, length); but the kernel is told of all at once, so that many of them end the
        handler no more often than one."""
        if not self.unrestricted:
            raise RuntimeError("fetch and reserve need Device(unrestricted=True)")
        pieces = [self._piece(address, length) for address, length in ins]
        for address, length in outs:
            if length:
                self.outs.append((address, length))
                self._reserved += length
        if self._fetched > len(self.data) or self._reserved > self.out_size:
            raise Retry
        return pieces

    @property
    def memory(self) -> RemoteMemory:
        """All memory of the client, by process_vm_readv(2): beyond 128 KiB, and the method runs
        once. Of devices with `client_memory` only, else RuntimeError."""
        if self._memory is None:
            raise RuntimeError("memory needs a device with client_memory = BYTES")
        return self._memory

    def _piece(self, address: int, length: int) -> bytes:
        if length:
            self.ins.append((address, length))
        start = self._fetched
        self._fetched += length
        return self.data[start : self._fetched]


@dataclass(frozen=True, slots=True)
class IoctlReply:
    """The answer to an ioctl."""

    result: int = 0
    """What ioctl(2) returns: 0 … 2^31-1. Failures are raised, as OSError."""
    data: bytes = b""
    """Copied to the client, at most `out_size` bytes of it."""


Result: TypeAlias = "IoctlReply | int | None"


@dataclass(frozen=True, slots=True)
class Declared:
    """A method under @ioctl."""

    command: Command
    name: str
    raw: bool

    def call(self, handler: Callable[..., Any], file: File, request: IoctlRequest) -> Any:
        """Runs the handler with its argument unpacked; an IoctlReply, or an awaitable of one."""
        if self.raw:
            return handler(file, request)
        command = self.command
        if command.type is None:
            return handler(file, request.arg)
        data = request.data
        if request.unrestricted:
            data = request.fetch(request.arg, command.size) if command.takes else b""
            if command.gives:
                request.reserve(request.arg, command.size)
        if not command.takes:
            return self.reply(handler(file), None)
        value = unpack(command.type, data)
        return self.reply(handler(file, value), value)

    def reply(self, result: Any, argument: Any) -> Any:
        """The reply for what a handler returned."""
        if inspect.isawaitable(result):
            return _Later(self, result, argument)
        if isinstance(result, IoctlReply) or not self.command.gives:
            return result
        assert self.command.type is not None
        if result is None and isinstance(argument, (ctypes.Structure, ctypes.Union, ctypes.Array)):
            result = argument  # changed in place
        return IoctlReply(0, pack(self.command.type, result))


@dataclass(frozen=True, slots=True)
class _Later:
    """A reply for what is to be awaited. It can be closed as a coroutine can: nothing is left then
    of a handler that has not begun."""

    declared: Declared
    result: Awaitable[Any]
    argument: Any

    def __await__(self) -> Generator[Any, Any, Any]:
        value = yield from self.result.__await__()
        return self.declared.reply(value, self.argument)

    def close(self) -> None:
        close(self.result)


def close(awaitable: Any) -> None:
    """Ends what will not be awaited any more; a coroutine that never was would be a warning."""
    if inspect.iscoroutine(awaitable) or isinstance(awaitable, _Later):
        awaitable.close()


def ioctl(
    command: int, *, raw: bool = False, takes: Type | None = None, gives: Type | None = None
) -> Callable[[Handler], Handler]:
    """Declares a method as the handler of `command`: `@cuse.ioctl(IOWR("K", 5, Type))`.

    The method is called, and may be `async def`, as

    - `IO`:   `method(file, arg: int) -> int | None`: what ioctl(2) returns; None is 0,
    - `IOW`:  `method(file, value) -> int | None`,
    - `IOR`:  `method(file) -> value`,
    - `IOWR`: `method(file, value) -> value`; None gives a ctypes structure back as it was left.

    Each may return an `IoctlReply` instead, for a result and data. With `raw` the method is
    `method(file, request: IoctlRequest) -> IoctlReply | int`. A command that no method declares is
    ENOTTY to the client.

    `command` may be a plain number of an old header as well: 0x0703 is IO(7, 3). Where it says
    nothing of the argument, and the argument is a pointer, `takes` is the type of what the client
    has there, `gives` of what it is to get there; the device is to be unrestricted then. A number
    that says a size is of so many raw bytes, unless `takes` or `gives` has a type.

    TypeError where `command` is no number, where takes or gives are said of what IO, IOR, IOW or
    IOWR has made, or deny what the number says."""
    if isinstance(command, bool) or not isinstance(command, int):
        raise TypeError(
            f"@ioctl needs IO, IOR, IOW or IOWR(...), or a command's number, not {command!r}"
        )
    typed = takes is not None or gives is not None
    if isinstance(command, Command) and typed:
        raise TypeError(f"{command!r} has its type: takes= and gives= are for plain numbers")
    known = command if isinstance(command, Command) else Command.of(command, takes, gives)

    def declare(method: Handler) -> Handler:
        method.__dict__.setdefault("_cuse_ioctls", []).append(Declared(known, method.__name__, raw))
        return method

    return declare


def declared_in(namespace: dict[str, Any]) -> dict[int, Declared]:
    """The declarations in the body of one class. TypeError for a command declared twice."""
    table: dict[int, Declared] = {}
    for name, value in namespace.items():
        for declared in getattr(value, "_cuse_ioctls", ()):
            if declared.command in table:
                other = table[declared.command].name
                raise TypeError(f"{declared.command!r} is declared by {other}() and by {name}()")
            table[declared.command] = Declared(declared.command, name, declared.raw)
    return table
