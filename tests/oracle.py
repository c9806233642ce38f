"""Plays scripts of operations that were recorded on the book's real kernel modules.

A file of tests/data has one script a line: `ops`, and `results`, what the module returned for each
on Linux 6.1 with pages of 4 KiB. A script begins with RESET and a trim of both devices, so that
scripts can follow one another on the same pair. To play a file on nodes that are there:

    cuse-scullv serve --ldd3 --devices 2 --run \\
        python tests/oracle.py tests/data/scullv.jsonl.gz /dev/scullv0 /dev/scullv1

(each of the others wants the `--preset` that it is named for). Prints every operation whose result
differs, and exits with 1 if one did. An lseek is played as the SEEK ioctl: no CUSE node has an
lseek.
"""

from __future__ import annotations

import ctypes
import errno
import gzip
import json
import operator
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cuse_scullv import ioctl

DATA = Path(__file__).parent / "data"
BAD_ADDRESS = 16
"""In no process's memory."""
POINTER_ROOM = 1 << 14
"""Bytes behind a pointer that a script passes: more than any command's _IOC_SIZE."""

Op = dict[str, Any]
Result = dict[str, Any]


class OpenFile(Protocol):
    """An open device. Every method raises OSError where the system call fails."""

    def read(self, length: int) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def read_bad(self, length: int) -> int:
        """Reads into BAD_ADDRESS."""

    def write_bad(self, length: int) -> int:
        """Writes from BAD_ADDRESS."""

    def ioctl_pointer(self, cmd: int, data: bytearray) -> int:
        """Passes the address of `data`, which the device may change."""

    def ioctl_value(self, cmd: int, arg: int) -> int: ...
    def close(self) -> None: ...


Opener = Callable[[int, int], OpenFile]
"""Opens a device: its index, 0 or 1, and the flags of open(2)."""


class Difference(NamedTuple):
    """An operation that the device under test answers differently."""

    seed: int
    position: int
    op: Op
    expected: Result
    got: Result

    def __str__(self) -> str:
        return (
            f"seed {self.seed} op {self.position}: {json.dumps(self.op)}\n"
            f"    expected {json.dumps(self.expected)}\n"
            f"    got      {json.dumps(self.got)}"
        )


def load(path: Path) -> Iterator[dict[str, Any]]:
    """The scripts of a recorded file, plain or gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="ascii") as lines:
        for line in lines:
            yield json.loads(line)


def play(script: dict[str, Any], opener: Opener) -> list[Difference]:
    """Plays one script; the operations that came out otherwise. Closes what the script left."""
    differences = []
    files: dict[int, OpenFile] = {}
    try:
        for index, (op, expected) in enumerate(zip(script["ops"], script["results"], strict=True)):
            try:
                got = perform(op, files, opener)
            except OSError as error:
                got = {"ret": -1, "errno": errno.errorcode[error.errno or 0]}
            if got != expected:
                differences.append(Difference(script["seed"], index, op, expected, got))
    finally:
        for file in files.values():
            file.close()
    return differences


def play_all(scripts: Iterable[dict[str, Any]], opener: Opener) -> tuple[int, list[Difference]]:
    """How many scripts were played, and every difference in them."""
    count = 0
    differences = []
    for script in scripts:
        differences += play(script, opener)
        count += 1
    return count, differences


def perform(op: Op, files: dict[int, OpenFile], opener: Opener) -> Result:
    if op["op"] == "open":
        flags = reduce(operator.or_, (getattr(os, name) for name in op["flags"].split("|")))
        files[op["fd"]] = opener(op["dev"], flags)
        return {"ret": 0}
    if op["op"] == "close":
        files.pop(op["fd"]).close()
        return {"ret": 0}
    return _ON_OPEN_FILE[op["op"]](files[op["fd"]], op)


def _read(file: OpenFile, op: Op) -> Result:
    if op.get("bad"):
        return {"ret": file.read_bad(op["len"])}
    data = file.read(op["len"])
    return {"ret": len(data), "crc32": zlib.crc32(data)}


def _write(file: OpenFile, op: Op) -> Result:
    if op.get("bad"):
        return {"ret": file.write_bad(op["len"])}
    return {"ret": file.write(random.Random(op["seed"]).randbytes(op["len"]))}


def _lseek(file: OpenFile, op: Op) -> Result:
    data = bytearray(ioctl.pack_seek(op["off"], op["whence"]))
    file.ioctl_pointer(ioctl.SEEK, data)
    return {"ret": ioctl.unpack_seek(bytes(data))}


def _ioctl(file: OpenFile, op: Op) -> Result:
    if op.get("bad"):
        return {"ret": file.ioctl_value(op["cmd"], BAD_ADDRESS)}
    if "ptr" not in op:
        return {"ret": file.ioctl_value(op["cmd"], op.get("arg", 0))}
    data = bytearray(op["ptr"].to_bytes(4, sys.byteorder, signed=True).ljust(POINTER_ROOM, b"\0"))
    ret = file.ioctl_pointer(op["cmd"], data)
    return {"ret": ret, "out": int.from_bytes(data[:4], sys.byteorder, signed=True)}


_ON_OPEN_FILE: dict[str, Callable[[OpenFile, Op], Result]] = {
    "read": _read,
    "write": _write,
    "lseek": _lseek,
    "ioctl": _ioctl,
}


class NodeFile:
    """An open file descriptor of a device node."""

    _libc = ctypes.CDLL(None, use_errno=True)
    for _name in ("read", "write"):
        getattr(_libc, _name).argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
        getattr(_libc, _name).restype = ctypes.c_ssize_t
    _libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)

    def __init__(self, path: str, flags: int) -> None:
        self._fd = os.open(path, flags)

    def read(self, length: int) -> bytes:
        return os.read(self._fd, length)

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def read_bad(self, length: int) -> int:
        return self._checked(self._libc.read(self._fd, BAD_ADDRESS, length))

    def write_bad(self, length: int) -> int:
        return self._checked(self._libc.write(self._fd, BAD_ADDRESS, length))

    def ioctl_pointer(self, cmd: int, data: bytearray) -> int:
        room = (ctypes.c_char * len(data)).from_buffer(data)
        return self.ioctl_value(cmd, ctypes.addressof(room))

    def ioctl_value(self, cmd: int, arg: int) -> int:
        return self._checked(self._libc.ioctl(self._fd, cmd, arg))

    def close(self) -> None:
        os.close(self._fd)

    @staticmethod
    def _checked(ret: int) -> int:
        if ret < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return ret


def nodes(*paths: str) -> Opener:
    """Opens real nodes, in the order of the recording's devices."""
    return lambda index, flags: NodeFile(paths[index], flags)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) < 2:
        print("type: python tests/oracle.py FILE.jsonl.gz NODE0 NODE1", file=sys.stderr)
        return 2
    try:
        count, differences = play_all(load(Path(arguments[0])), nodes(*arguments[1:]))
    except FileNotFoundError:
        print(f"{arguments[0]}: no such recording", file=sys.stderr)
        return 2
    for difference in differences:
        print(difference)
    print(f"{arguments[0]}: {count} scripts, {len(differences)} operations differ")
    return 1 if differences or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
