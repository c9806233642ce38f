"""The book's modules as a model of a hundred lines, and further scripts by chance.

`opener(kind)` opens its devices in the shape that oracle.py plays scripts on. The model is
itself held to the recordings of the real modules; `scripts(kind, …)` then makes as many further
ones as are wanted, in the recordings' format, with what the model says to them.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from oracle import Op, Opener, perform

PAGE = 4096
_SEEK_ENDS = {os.SEEK_SET, os.SEEK_CUR, os.SEEK_END}
NONE, WRITE, READ = 0, 1, 2
LETTERS = "STGQXH"
DIRECTION = dict(zip(LETTERS, (WRITE, NONE, READ, NONE, READ | WRITE, NONE), strict=True))


class Kind(NamedTuple):
    """One of the modules."""

    magic: str
    by_order: bool
    """Whether its first number is an order of pages, else bytes."""
    first: int
    """At load: the order, or the bytes of a quantum."""
    qset: int
    values: tuple[int, ...]
    """Of that number, for scripts."""

    def number(self, name: str) -> int:
        """Of a command, as `TORDER` and `RESET` name them."""
        if name == "RESET":
            return ord(self.magic) << 8
        letter, is_qset = name[0], name.endswith("QSET")
        place = LETTERS.index(letter)
        nr = 2 * place + 1 + is_qset if self.magic == "k" else place + 1 + 6 * is_qset
        return ioc(DIRECTION[letter], self.magic, nr, 4 if DIRECTION[letter] else 0)


KINDS = {
    "scull": Kind("k", False, 4000, 1000, (100, 1000, 4000, 4096, 5000, 8192, 20000)),
    "scullc": Kind("K", False, 4000, 500, (100, 512, 1000, 3000, 4000)),
    "scullp": Kind("K", True, 0, 500, (0, 1, 2, 4)),
    "scullv": Kind("K", True, 4, 500, (0, 1, 2, 4)),
}
NAMES = ["RESET", *(letter + noun for noun in ("ORDER", "QSET") for letter in LETTERS)]


def ioc(direction: int, magic: str, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord(magic) << 8 | number


def _fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Module:
    """What all devices share: the numbers that a trim puts in force."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.names = {kind.number(name): name for name in NAMES}
        self.pending = {"ORDER": kind.first, "QSET": kind.qset}

    def control(self, name: str, value: int) -> tuple[int | None, int]:
        """(what a pointer gets, what the call returns)."""
        if name == "RESET":
            self.pending = {"ORDER": self.kind.first, "QSET": self.kind.qset}
            return None, 0
        letter, noun = name[0], name[1:]
        old = self.pending[noun]
        if letter in "STXH":
            self.pending[noun] = value
        return old if letter in "GX" else None, old if letter in "QH" else 0


class Disk:
    """A device: quanta by number."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.trim()

    def trim(self) -> None:
        first = self.module.pending["ORDER"]
        self.quantum = PAGE << first if self.module.kind.by_order else first
        self.quanta: dict[int, bytearray] = {}
        self.size = 0


class ModelFile:
    """An open file of a module, in oracle.OpenFile's shape."""

    def __init__(self, disk: Disk, flags: int) -> None:
        self._disk = disk
        self._mode = flags & os.O_ACCMODE
        self._position = 0
        if self._mode == os.O_WRONLY:
            disk.trim()

    def close(self) -> None:
        pass

    def _may(self, forbidden: int) -> None:
        if self._mode == forbidden:
            raise _fail(errno.EBADF)

    def read(self, length: int) -> bytes:
        self._may(os.O_WRONLY)
        disk, position = self._disk, self._position
        number, start = divmod(position, disk.quantum)
        if position >= disk.size or number not in disk.quanta:
            return b""  # a hole ends a read, as the end does
        end = min(start + min(length, disk.size - position), disk.quantum)
        data = bytes(disk.quanta[number][start:end])
        self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._may(os.O_RDONLY)
        disk = self._disk
        number, start = divmod(self._position, disk.quantum)
        data = data[: disk.quantum - start]
        disk.quanta.setdefault(number, bytearray(disk.quantum))[start : start + len(data)] = data
        self._position += len(data)
        disk.size = max(disk.size, self._position)
        return len(data)

    def read_bad(self, length: int) -> int:
        self._may(os.O_WRONLY)
        raise _fail(errno.EFAULT)

    def write_bad(self, length: int) -> int:
        self._may(os.O_RDONLY)
        raise _fail(errno.EFAULT)

    def _seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._disk.size}
        if whence not in base or base[whence] + offset < 0:
            raise _fail(errno.EINVAL)
        self._position = base[whence] + offset
        return self._position

    def ioctl_pointer(self, cmd: int, data: bytearray) -> int:
        if cmd >> 8 & 0xFF == 0xEE:  # how a script's lseek is played
            offset, whence = (
                int.from_bytes(data[0:8], sys.byteorder, signed=True),
                int.from_bytes(data[8:12], sys.byteorder),
            )
            data[0:8] = self._seek(offset, whence).to_bytes(8, sys.byteorder, signed=True)
            return 0
        value = int.from_bytes(data[:4], sys.byteorder, signed=True)
        told, result = self._command(cmd, value)
        if told is not None:
            data[:4] = told.to_bytes(4, sys.byteorder, signed=True)
        return result

    def ioctl_value(self, cmd: int, arg: int) -> int:
        if cmd >> 30 and cmd in self._disk.module.names:
            raise _fail(errno.EFAULT)  # the scripts pass nothing else so
        return self._command(cmd, arg)[1]

    def _command(self, cmd: int, value: int) -> tuple[int | None, int]:
        name = self._disk.module.names.get(cmd)
        if name is None:
            raise _fail(errno.ENOTTY)
        return self._disk.module.control(name, value)


def opener(kind: str) -> Opener:
    """Opens two fresh devices of a fresh module."""
    module = Module(KINDS[kind])
    disks = [Disk(module), Disk(module)]
    return lambda index, flags: ModelFile(disks[index], flags)


class _Author:
    """Writes one script, and plays it on the model as he goes."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = KINDS[kind]
        self.seed = seed
        self.random = random.Random(seed)
        self.opener = opener(kind)
        self.files: dict[int, Any] = {}
        self.ops: list[Op] = []
        self.results: list[dict[str, Any]] = []

    def say(self, **op: Any) -> None:
        self.ops.append(op)
        try:
            self.results.append(perform(op, self.files, self.opener))
        except OSError as error:
            self.results.append({"ret": -1, "errno": errno.errorcode[error.errno or 0]})

    def open(self, fd: int, device: int, flags: str) -> None:
        self.say(op="open", fd=fd, dev=device, flags=flags)

    def command(self, fd: int, name: str, value: int) -> None:
        op = {"op": "ioctl", "fd": fd, "cmd": self.kind.number(name), "name": name}
        by_pointer = name != "RESET" and DIRECTION[name[0]] != NONE
        if by_pointer and self.random.random() < 0.1:
            self.say(**op, bad=True)
        elif by_pointer:
            self.say(**op, ptr=-7 if name[0] == "G" else value)
        else:
            self.say(**op, arg=value)

    def begin(self) -> None:
        self.open(0, 0, "O_RDWR")
        self.command(0, "RESET", 0)
        self.command(0, "TORDER", self.random.choice(self.kind.values))
        self.command(0, "TQSET", self.random.choice((1, 2, 3, 7, 50)))
        for device in (0, 1):
            self.open(99, device, "O_WRONLY")
            self.say(op="close", fd=99)

    def _length(self) -> int:
        quantum = self.files[min(self.files)]._disk.quantum
        near = self.random.choice((1, 9, quantum - 1, quantum, quantum + 1, 2 * quantum, 200_000))
        return near if self.random.random() < 0.7 else self.random.randint(1, 2 * quantum)

    def step(self, seeks: bool) -> None:
        fd = self.random.choice(list(self.files))
        what = self.random.choices(
            ("read", "write", "ioctl", "wrong", "open", "close", "bad", "lseek"),
            (30, 20, 12, 3, 8, 6, 2, 15 if seeks else 0),
        )[0]
        if what == "read":
            self.say(op="read", fd=fd, len=self._length())
        elif what == "write":
            self.say(op="write", fd=fd, len=self._length(), seed=self.random.getrandbits(32))
        elif what == "ioctl":
            name = self.random.choice(NAMES)
            values = self.kind.values if name.endswith("ORDER") else range(1, 300)
            self.command(fd, name, self.random.choice(values))
        elif what == "wrong":
            code = ioc(self.random.randrange(4), self.random.choice("kKz"), 13 + fd % 9, 4)
            self.say(op="ioctl", fd=fd, cmd=code, name="BADNR", ptr=3)
        elif what == "open" and len(self.files) < 6:
            free = min(set(range(8)) - set(self.files))
            modes = ("O_RDONLY", "O_RDWR", "O_WRONLY", "O_RDWR|O_TRUNC", "O_RDWR|O_APPEND")
            self.open(free, self.random.randrange(2), self.random.choice(modes))
        elif what == "close" and len(self.files) > 1:
            self.say(op="close", fd=fd)
        elif what == "bad" and not self._at_an_end(fd):
            self.say(op="read", fd=fd, len=self._length(), bad=True)
        elif what == "lseek":
            whence = self.random.choice((*_SEEK_ENDS, 9))
            self.say(op="lseek", fd=fd, off=self.random.randint(-5000, 50_000), whence=whence)

    def _at_an_end(self, fd: int) -> bool:
        """There the module says 0, and the kernel EFAULT before a server hears of it."""
        file = self.files[fd]
        return file._mode != os.O_WRONLY and file._position >= file._disk.size


def scripts(
    kind: str, first_seed: int, count: int, seeks: bool = False
) -> Iterator[dict[str, Any]]:
    """`count` scripts, in the recordings' format; the same for the same seed."""
    for seed in range(first_seed, first_seed + count):
        author = _Author(kind, seed)
        author.begin()
        for _ in range(author.random.randint(20, 90)):
            author.step(seeks)
        yield {"seed": seed, "ops": author.ops, "results": author.results}
