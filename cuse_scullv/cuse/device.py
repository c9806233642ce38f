"""Device: a character device, and what it does with what clients ask of it."""

from __future__ import annotations

import errno
import os
import re
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from .body import check_body
from .client import Client
from .errors import DeviceError
from .file import File
from .ioctl import Declared, IoctlRequest, declared_in

if TYPE_CHECKING:
    from cuse_scullv._native import CData

Buffer: TypeAlias = "bytes | bytearray | memoryview"
"""What a read may return; anything else that has the buffer protocol and is contiguous does too."""

NAME_MAX = 63
"""Bytes of a device's name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+@#-]*")
_FOLDER = "; in a folder, as input/event9"
PARTS, WHOLE = TRANSFERS = ("parts", "whole")
PART_MAX = 128 << 10
"""Bytes that the kernel asks for, or sends, at once (fs/fuse/cuse.c: 32 pages)."""


def check_name(name: str, *, in_folder: bool = True) -> str:
    """`name`, if a node of /dev may be called so, `in_folder` also below a folder there. Raises
    DeviceError, EINVAL."""
    words = name.split("/") if isinstance(name, str) and in_folder else [name]
    if not all(isinstance(word, str) and _NAME.fullmatch(word) for word in words) or (
        len(name) > NAME_MAX
    ):
        raise DeviceError(
            errno.EINVAL,
            f"{name!r} is no name for a device: take 1 to {NAME_MAX} letters, digits and"
            f" _ . : + @ # -, a letter or digit first{_FOLDER if in_folder else ''}",
        )
    return name


class Serving(Protocol):
    """Who serves a device."""

    def notify_all(self) -> None: ...


class Device:
    """A character device. Subclass it and define the methods that it has, or pass functions:

        Device("rot13", read=read, write=write)

    A method may be `def`, and then runs on a thread of its own (as many at once as
    `Workers.callers`; it may block), or `async def`, and then runs on the one asyncio loop of the
    process (it must not block). Methods of one device run concurrently: guard what they share.
    started(), stopped(), save() and restore() say at each which thread they run on.

    What a method raises is what the client gets: an OSError's errno, which for BlockingIOError,
    InterruptedError, PermissionError, TimeoutError and their like may be left out. Any other
    exception, and a value of the wrong type or length, is EIO to the client and an error with the
    method's name in the log `cuse_scullv`; the device lives on.

    A method that the device does not have answers as a kernel driver without it: open succeeds,
    read and write are EINVAL, ioctl is ENOTTY, poll is always ready.
    """

    _ioctls: ClassVar[dict[int, Declared]] = {}

    transfers: str = PARTS
    """"whole": read() is asked for, and write() gets, all of one system call of a client, up to
    `transfers_max` bytes, where that can be known: `File.whole` says whether. "parts": what the
    kernel makes of it, at most 128 KiB each."""
    transfers_max: int = 16 << 20
    """Bytes; a system call of more is a short one. At least 131,072."""
    client_memory: int = 0
    """Bytes of a client's memory that ioctls may read or write at once by `IoctlRequest.memory`; 0:
    they may not. The three are set in a class, or before the device is served."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table: dict[int, Declared] = {}
        for base in reversed(cls.__mro__[1:]):
            table |= base.__dict__.get("_ioctls", {})
        check_body(cls.__qualname__, cls.__dict__, METHODS + KEEPING + HOOKS, Device)
        cls._ioctls = table | declared_in(dict(cls.__dict__))

    def __init__(
        self,
        name: str,
        *,
        major: int = 0,
        minor: int = 0,
        mode: int = 0o660,
        owner: str | int | None = None,
        group: str | int | None = None,
        unrestricted: bool = False,
        timeout: float | None = None,
        **methods: Callable[..., Any],
    ) -> None:
        """`name`: of the node, below /dev; it may be in a folder, `input/event9`. `major`: 0 is the
        kernel's choice, of `minor` as well.

        `mode`, `owner`, `group`: of the node; None leaves what it is made with (root).
        `unrestricted`: ioctls may name any memory of the client (`IoctlRequest.fetch`); else the
        kernel copies what the command's number says, which is all that most devices need.
        `timeout`: seconds until a method has to be done; the client gets ETIMEDOUT then, and what
        the method returns later is dropped. None: it may wait for ever, as a blocking read does.
        `methods`: plain functions for open, release, read, readinto, write, ioctl, poll,
        save, restore, client_gone, started, stopped.

        Raises DeviceError (EINVAL) for a bad name or number, TypeError for a method unheard of.
        """
        self.name = check_name(name)
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise DeviceError(
                errno.EINVAL,
                f"no device number {major}:{minor}: take a major of 0 to 4095, a minor to 1048575",
            )
        if not 0 <= mode <= 0o777:
            raise DeviceError(errno.EINVAL, f"no mode {mode:#o}: take 0o000 to 0o777, as 0o660")
        if timeout is not None and timeout <= 0:
            raise DeviceError(errno.EINVAL, f"no timeout {timeout}: take seconds above 0, or None")
        self.major, self.minor = major, minor
        self.mode, self.owner, self.group = mode, owner, group
        self.unrestricted = unrestricted
        self.timeout = timeout
        self._session: Serving | None = None  # while a channel serves the device
        for method, function in methods.items():
            if method not in METHODS + KEEPING + HOOKS:
                raise TypeError(f"a device has no method {method!r}; it has {', '.join(METHODS)}")
            setattr(self, method, function)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self.name!r}>"

    # Declared as returning Any where both a value and an awaitable of it will do: so that
    # subclasses may say exactly what they return, and be `async def`.

    def open(self, file: File) -> Any:
        """A client opens the device; what is returned is kept as `file.state`."""

    def release(self, file: File) -> Any:
        """The last descriptor of an open file was closed, or the device goes away. Called once for
        each open that succeeded. What it raises no client sees; it is logged. `file.ending` says
        why, and by whom, as far as that can be known."""

    def read(self, file: File, size: int) -> Any:
        """Up to `size` bytes (at most 131,072: longer reads come in parts, and a part that is not
        full ends the read); b"" is the end of file. Returns bytes or another buffer, which is not
        copied."""
        raise _oserror(errno.EINVAL)

    def readinto(self, file: File, buffer: memoryview) -> Any:
        """read without making a bytes object: fills `buffer` from its start, and returns how many
        bytes of it are the answer. Defined, it stands in for read. `buffer` holds old bytes of this
        device, and is valid until the method returns."""
        raise _oserror(errno.EINVAL)

    def write(self, file: File, data: memoryview) -> Any:
        """The client writes 1 to 131,072 bytes (longer writes come in parts). Returns how many were
        taken, None for all. `data` is a memoryview of bytes (format "B") that are a copy, may be
        kept and cannot be changed; bytes(data) copies them once more."""
        raise _oserror(errno.EINVAL)

    def ioctl(self, file: File, request: IoctlRequest) -> Any:
        """An ioctl: an IoctlReply, or the int that ioctl(2) returns (None is 0).

        This one looks the command up among the methods under `@cuse.ioctl`. Define it instead for
        all commands raw, and call super().ioctl(file, request) for the declared ones."""
        declared = self._ioctls.get(request.cmd)
        if declared is None:
            raise _oserror(errno.ENOTTY)
        return declared.call(getattr(self, declared.name), file, request)

    def poll(self, file: File) -> Any:
        """The events of select.POLLIN, POLLOUT, … that are so now. A device that has this method
        calls notify() whenever an event becomes so."""
        raise _oserror(errno.ENOSYS)

    def save(self, file: File | None) -> bytes:
        """Where the device is served with `recover`: what `file` is (at most 4,072 bytes; its
        `state`, in whatever form), or, with None, what the device is beside its open files (at most
        4 MiB). Called whenever a handler has ended, for both; not async. What it gives is kept with
        the handler's answer: after a death of the worker either both are there or neither."""
        return b""

    def restore(self, file: File | None, data: bytes) -> None:
        """In the next worker: makes of `data` what save() made it of; first of the device, if
        anything was saved of it, then of each open file, whose open() is not called again. Defined
        where save is."""

    def client_gone(self, file: File, client: Client) -> Any:
        """The process `client`, which used the open file, has died, and others still have it open,
        by dup or fork. Called once for each of its files, after its descriptors were closed; where
        it was the last that had the file, release() is called instead, and says so in
        `file.ending`. Of a process that made no request nothing is known.

        A `def` one runs on a thread of its own, an `async def` one on the loop; both beside other
        methods. What it raises is logged. That a device has this method makes each of its requests
        1 to 2 µs dearer. (pidfd_open(2), proc(5).)"""

    def started(self) -> Any:
        """The device begins to be served, and no request has come yet: the place to start threads
        or tasks of its own. A `def` one runs on the thread that called Channel.start() or serve(),
        an `async def` one on the loop, where it may make tasks; the channel goes on when it is
        done, for which it has 30 s. What it raises ends the start. With `recover` it runs in each
        worker, after restore()."""

    def stopped(self) -> Any:
        """The device is not served any more: no handler runs, all files have been released. Called
        once for each started() that was done, on the thread that closes the channel or, `async
        def`, on the loop (5 s). What it raises is logged. A worker that is killed calls nothing."""

    def measures(self) -> Mapping[str, float]:
        """What the device itself counts, by name, for `serve(metrics=)`: `jobs_total` is a counter,
        as all whose name ends so, and `jobs` a gauge; Prometheus has them with the label `device`.
        Not async; called for each scrape, on a thread of its own beside other methods. What it
        raises is logged, as are names that are none there; then its values are missing."""
        return {}

    def notify(self) -> None:
        """Wakes who polls any open file of the device: they ask poll() again. Any thread."""
        session = self._session
        if session is not None:
            session.notify_all()


KEEPING = ("save", "restore")
HOOKS = ("client_gone", "started", "stopped", "measures")
METHODS = ("open", "release", "read", "readinto", "write", "ioctl", "poll")


class DataPathDevice(Device):
    """A device whose reads and writes are answered in C: scullv's. Not for general use."""

    @abstractmethod
    def handle(self, file: File) -> CData:
        """The `struct handle *` that answers this open file's reads and writes. Asked once, after
        open(); the channel frees it after release."""

    @abstractmethod
    def reopen(self, file: File) -> Any:
        """As open(), of a file that is open: a worker that has died had opened it."""


def _oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def overrides(device: Device, method: str) -> bool:
    """Whether the device has a `method` of its own, or was given one."""
    if method in vars(device):
        return True
    return getattr(type(device), method) is not getattr(Device, method)


Handler: TypeAlias = Callable[..., "Any | Awaitable[Any]"]


def handlers(device: Device) -> list[Handler]:
    """The methods that the device has itself, those of its ioctls among them."""
    names = {name for name in METHODS if overrides(device, name)}
    names |= {declared.name for declared in device._ioctls.values()}
    return [getattr(device, name) for name in names]
