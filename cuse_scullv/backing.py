"""Where the bytes of a server's devices are: what `serve --backing` and `--map` say, and what is
opened by it.

- anon: memory of the server's own, quanta anywhere (csrc/store/anon.c). It ends with the server.
- memfd: an anonymous file a device, in a tmpfs of the limit's size that is mounted nowhere, or with
  the limit kept by us where the server may not mount.
- a file: a regular file a device, made if missing, kept at the end: a sparse image of the device.
- map: a part of a file that is there, as the book's ioremap: the device does not grow, and trimming
  leaves its bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cuse_scullv._native import lib
from cuse_scullv.ioctl import FLAG_FILE, FLAG_MAP, FLAG_MEMFD
from cuse_scullv.kernels import running
from cuse_scullv.memory import cgroup_limit, default_limit
from cuse_scullv.params import Geometry, parse_size
from cuse_scullv.store import Budget, Store

logger = logging.getLogger(__name__)

ANON, MEMFD, FILE, MAP = "anon", "memfd", "file", "map"
AUTO, PASSTHROUGH, DIRECT = VIEWS = ("auto", "passthrough", "direct")
"""Who reads and writes the files of a view: the kernel by itself where it can; it alone; the server
alone."""
_FLAGS = {ANON: 0, MEMFD: FLAG_MEMFD, FILE: FLAG_FILE, MAP: FLAG_MAP}
_F_OFD_SETLK = 37  # linux/fcntl.h; Python has no name for it
_FLOCK = struct.Struct("hh4xqqi4x")
_PUNCH_KEEPING_SIZE = 3  # linux/falloc.h
_LARGE_PAGES = (6, 14)  # from this Linux on tmpfs has pages about as large as a write is
_UNLIMITED = 2**62  # bytes: of a budget that a file system keeps

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class BackingError(Exception):
    """What is asked for cannot be opened: one line, with what to type."""


@dataclass(frozen=True)
class Backing:
    """What was asked for. `path` may have a %d, for the devices' numbers."""

    kind: str = ANON
    path: str = ""
    offset: int = 0
    size: int | None = None
    """Bytes of a map; None: to the end of the file."""

    @classmethod
    def of(cls, text: str) -> Backing:
        """Of `--backing anon|memfd|FILE`."""
        return cls(text) if text in (ANON, MEMFD) else cls(FILE, str(Path(text).absolute()))

    @classmethod
    def of_map(cls, text: str) -> Backing:
        """Of `--map FILE[:OFFSET[:SIZE]]`. A name may have colons, if its end is no number."""
        path, numbers = text, list[int]()
        while len(numbers) < 2 and not Path(path).exists():
            head, _, last = path.rpartition(":")
            try:
                numbers.insert(0, parse_size(last))
            except ValueError:
                break
            path = head
        offset, size = [*numbers, None, None][:2]
        return cls(MAP, str(Path(path).absolute()), offset or 0, size)

    def path_of(self, number: int, devices: int) -> Path:
        if "%d" in self.path:
            return Path(self.path.replace("%d", str(number)))
        if devices > 1:
            raise BackingError(
                f"{devices} devices need {devices} files: put a %d into the name, as in"
                f" {self.path}%d"
            )
        return Path(self.path)


def _foreseen(max_bytes: int) -> int:
    """As much of it as the server's cgroup lets: past that its clients would get no ENOSPC, but
    the server SIGKILL."""
    most = cgroup_limit()
    if most is None or max_bytes <= most:
        return max_bytes
    logger.warning(
        "--max-bytes %d is more than this memory cgroup has left: the limit is %d", max_bytes, most
    )
    return most


class Inherited(NamedTuple):
    """What a server holds open for its devices, and hands on to whoever takes over from it."""

    files: list[int]
    """Of the devices' stores, in order."""
    limited: bool
    """The limit is kept by us, and not by their file system."""


class Ground:
    """What the devices of a server stand on: one limit, and a store for each."""

    def __init__(
        self,
        backing: Backing,
        devices: int,
        max_bytes: int | None,
        *,
        exact_holes: bool = False,
        inherited: Inherited | None = None,
    ) -> None:
        """Opens nothing that cannot be closed again; the stores are made by `store`.

        `max_bytes`: the limit of all devices together; None: half of the memory that is available
        for anon and memfd, and what its file system has for a file. `exact_holes`: what was not
        written is a hole, as by the book's rules a read ends there; else the kernel may make
        zeros of what is next to a write, which is faster. `inherited`: what a keeper before had
        opened. Raises BackingError."""
        self.backing = backing
        self.read_only = False
        self._devices = devices
        self._stores: list[Store] = []
        self._tmpfs = -1
        self._limited = True
        self.limit = max_bytes or 0
        """Bytes; 0: there is none but the file system's."""
        if backing.kind in (ANON, MEMFD):
            self.limit = default_limit() if max_bytes is None else _foreseen(max_bytes)
        elif max_bytes is None:
            self._limited = False
        self.budget = Budget(self.limit or _UNLIMITED)
        self._inherited = inherited
        if inherited is not None:
            self._limited = inherited.limited
            if not inherited.limited:
                self.budget.follow(os.dup(inherited.files[0]))
        elif backing.kind == MEMFD:
            self._open_tmpfs(huge=not exact_holes and running() >= _LARGE_PAGES)

    def _open_tmpfs(self, huge: bool) -> None:
        self._tmpfs = open_tmpfs(self.limit, huge)
        if self._tmpfs < 0:
            logger.info("no tmpfs of our own: %s", os.strerror(-self._tmpfs))
            return
        self._limited = False
        self.budget.follow(os.dup(self._tmpfs))

    @property
    def flags(self) -> int:
        """As INFO tells them."""
        return _FLAGS[self.backing.kind]

    @property
    def limited(self) -> bool:
        """The limit is kept by us, and not by the file system."""
        return self._limited

    @property
    def used(self) -> int:
        """Bytes of memory, or of disk, that the devices have."""
        if self._limited:
            return self.budget.used
        return sum(store.resident for store in self._stores)

    def store(self, number: int, geometry: Geometry) -> Store:
        """Of device `number`; the caller closes it. Raises BackingError."""
        quantum, qset = geometry.quantum, geometry.qset
        if self.backing.kind == ANON:
            return Store(self.budget, quantum, qset)
        fixed = 0
        if self._inherited is not None:
            fd = self._inherited.files[number]
        elif self.backing.kind == MEMFD:
            fd = self._memory_file(number)
        else:
            path = self.backing.path_of(number, self._devices)
            is_map = self.backing.kind == MAP
            fd, fixed = self._open_map(path) if is_map else (self._open_file(path), 0)
        store = Store.of_file(
            self.budget,
            geometry,
            fd,
            offset=self.backing.offset,
            fixed=fixed,
            limited=self._limited and not fixed,
        )
        self._stores.append(store)
        return store

    def close(self) -> None:
        if self._tmpfs >= 0:
            os.close(self._tmpfs)
            self._tmpfs = -1

    # --- files

    def _memory_file(self, number: int) -> int:
        if self._tmpfs < 0:
            return os.memfd_create(f"scullv{number}", os.MFD_CLOEXEC)
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self._tmpfs)

    def _open_file(self, path: Path) -> int:
        _require_regular(path, missing_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError as error:
            raise BackingError(f"--backing {path}: {_reason(error, path)}") from None
        with _closed_on_error(fd):
            _lock(fd, path, 0, 0, fcntl.F_WRLCK)
            if not self._limited and not self._stores:
                self.budget.follow(os.open(path.parent, os.O_PATH | os.O_CLOEXEC))
            if not _has_holes(fd):
                logger.warning("%s: its file system has no holes: they take room, as zeros", path)
        return fd

    def _open_map(self, path: Path) -> tuple[int, int]:
        """The descriptor, and the bytes of the device."""
        _require_regular(path, missing_ok=False)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ETXTBSY):
                raise BackingError(f"--map {path}: {_reason(error, path)}") from None
            fd = self._open_to_read(path)
        with _closed_on_error(fd):
            fixed = self._fixed(path, os.fstat(fd).st_size)
            kind = fcntl.F_RDLCK if self.read_only else fcntl.F_WRLCK
            _lock(fd, path, self.backing.offset, fixed, kind)
        return fd, fixed

    def _open_to_read(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BackingError(f"--map {path}: {_reason(error, path)}") from None
        self.read_only = True
        return fd

    def _fixed(self, path: Path, end: int) -> int:
        offset = self.backing.offset
        size = end - offset if self.backing.size is None else self.backing.size
        if size <= 0 or offset + size > end:
            raise BackingError(
                f"--map {path}: it has {end} bytes, none to map from {offset} on: type another"
                if size <= 0
                else f"--map {path}: it has {end} bytes, not {offset} + {size}: type less, or"
                f" truncate -s {offset + size} {path}"
            )
        return size


def open_tmpfs(max_bytes: int, huge: bool) -> int:
    """A descriptor of a file system that is mounted nowhere, or -errno (csrc/memory/tmpfs.c)."""
    return lib.tmpfs_open(max_bytes, huge)


@contextlib.contextmanager
def _closed_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def _require_regular(path: Path, *, missing_ok: bool) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if missing_ok and path.parent.is_dir():
            return
        missing = path if path.parent.is_dir() else path.parent
        raise BackingError(f"{path}: there is no {missing}") from None
    except OSError as error:
        raise BackingError(f"{path}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise BackingError(f"{path} is a directory: type the name of a file in it")
    if not stat.S_ISREG(mode):
        raise BackingError(f"{path} is no regular file: type the name of one, or of none yet")


def _reason(error: OSError, path: Path) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "it is not yours to write: chmod it, or serve it by --map, which reads too"
    if error.errno == errno.EROFS:
        return "its file system is read-only: serve it by --map, or copy it"
    return error.strerror or str(error)


def _lock(fd: int, path: Path, start: int, length: int, kind: int) -> None:
    """One server a file: a lock of the open file (fcntl(2), F_OFD_SETLK), which ends with it."""
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return  # a file system without locks
        raise BackingError(
            f"{path} is served already: stop that server, or name another file"
        ) from None


def _has_holes(fd: int) -> bool:
    end = os.fstat(fd).st_size
    done = _libc.fallocate(fd, _PUNCH_KEEPING_SIZE, end, 4096)
    return done == 0 or ctypes.get_errno() != errno.EOPNOTSUPP
