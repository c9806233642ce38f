"""fsx: random operations on a file, each checked against a model in memory.

    python tests/fsx.py FILE [--operations N] [--seed S] [--size BYTES] [--no-mmap]

In the spirit of the fsx of LTP and xfstests: reads, writes, appends, changes of size, holes,
preallocation, mappings, walks over extents, in any order. The first difference ends the run: the
last operations are printed, the status is 1. The same seed gives the same operations.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import mmap
import os
import random
import sys
from collections import deque
from collections.abc import Callable

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 0x10  # linux/falloc.h
REMEMBERED = 40

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which Python has without a mode only."""
    if _libc.fallocate(fd, mode, offset, length):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class DifferenceError(AssertionError):
    """The file is not what the model says."""


class Exerciser:
    """A file and its model. Every public method that takes nothing is an operation."""

    def __init__(self, path: str, size: int, seed: int, use_mmap: bool) -> None:
        self.path = path
        self.most = size
        self.random = random.Random(seed)
        self.model = bytearray()
        self.log: deque[str] = deque(maxlen=REMEMBERED)
        self.fd = os.open(path, os.O_RDWR | os.O_TRUNC)
        self.map: mmap.mmap | None = None
        plan: list[tuple[int, Callable[[], None]]] = [
            (6, self.read),
            (6, self.write),
            (1, self.append),
            (2, self.resize),
            (2, self.punch),
            (1, self.zero),
            (1, self.allocate),
            (2, self.walk),
            (1, self.reopen),
            (1, self.whole),
        ]
        if use_mmap:
            plan += [(2, self.remap), (5, self.map_read), (5, self.map_write)]
        self.operations = [operation for _, operation in plan]
        self.weights = [weight for weight, _ in plan]

    def run(self, count: int) -> None:
        for _ in range(count):
            (operation,) = self.random.choices(self.operations, self.weights)
            operation()
            self._same("size", os.fstat(self.fd).st_size, len(self.model))
        self.whole()
        self.close()

    def close(self) -> None:
        if self.map is not None:
            self.map.close()
            self.map = None
        os.close(self.fd)

    # --- what it draws

    def _range(self, end: int) -> tuple[int, int]:
        """An offset and a length up to `end`: often small, often at pages' or sectors' bounds."""
        offset = self.random.randrange(end)
        if self.random.random() < 0.3:
            offset -= offset % self.random.choice((512, 4096, 65536))
        most = self.random.choice((1, 100, 4096, 20000, end))
        length = self.random.randint(1, most)
        if self.random.random() < 0.2:
            length = -length % 4096 + length
        return offset, min(length, end - offset)

    def _bytes(self, length: int) -> bytes:
        return self.random.randbytes(length)

    def _did(self, what: str, *numbers: int) -> None:
        self.log.append(" ".join([what, *(f"{number:#x}" for number in numbers)]))

    def _same(self, what: str, got: object, expected: object) -> None:
        if got == expected:
            return
        if isinstance(got, bytes) and isinstance(expected, bytes) and len(got) == len(expected):
            at = next(i for i in range(len(got)) if got[i] != expected[i])
            got, expected = f"{got[at]:#x} at {at:#x}", f"{expected[at]:#x}"
        raise DifferenceError(f"{what}: {got!r:.200}, expected {expected!r:.200}")

    # --- operations

    def read(self) -> None:
        offset, length = self._range(self.most)
        self._did("read", offset, length)
        self._same("read", os.pread(self.fd, length, offset), self._expect(offset, length))

    def write(self) -> None:
        offset, length = self._range(self.most)
        data = self._bytes(length)
        self._did("write", offset, length)
        self._same("written", os.pwrite(self.fd, data, offset), length)
        self._put(offset, data)

    def append(self) -> None:
        length = self.random.randint(1, 5000)
        if len(self.model) + length > self.most:
            return
        data = self._bytes(length)
        self._did("append", len(self.model), length)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            self._same("appended", os.write(fd, data), length)
        finally:
            os.close(fd)
        self.model += data

    def resize(self) -> None:
        size = self.random.choice((0, self.random.randrange(self.most), len(self.model)))
        self._did("truncate", size)
        os.ftruncate(self.fd, size)
        del self.model[size:]
        self.model += bytes(size - len(self.model))

    def punch(self) -> None:
        offset, length = self._range(self.most)
        self._did("punch", offset, length)
        fallocate(self.fd, PUNCH_HOLE | KEEP_SIZE, offset, length)
        self._clear(offset, length)

    def zero(self) -> None:
        offset, length = self._range(self.most)
        keep = self.random.choice((0, KEEP_SIZE))
        self._did("zero", offset, length, keep)
        fallocate(self.fd, ZERO_RANGE | keep, offset, length)
        self._clear(offset, length)
        if not keep:
            self._reach(offset + length)

    def allocate(self) -> None:
        offset, length = self._range(self.most)
        keep = self.random.choice((0, KEEP_SIZE))
        self._did("allocate", offset, length, keep)
        fallocate(self.fd, keep, offset, length)
        if not keep:
            self._reach(offset + length)

    def walk(self) -> None:
        """All that is said to be a hole reads as zeros, and the walk comes to the end."""
        self._did("walk")
        if self.map is not None:
            self.map.flush()  # what is still in the mapping only, the server cannot know
        position = 0
        while position < len(self.model):
            data = self._next(position, os.SEEK_DATA)
            if any(self.model[position:data]):
                raise DifferenceError(
                    f"data in what is said to be a hole: {position:#x} to {data:#x}"
                )
            if data == len(self.model):
                return
            position = self._next(data, os.SEEK_HOLE)
            if position <= data:
                raise DifferenceError(f"a hole at {position:#x}, where data is: {data:#x}")
        self._same("end of the walk", position, len(self.model))

    def reopen(self) -> None:
        self._did("reopen")
        os.fsync(self.fd)
        self.close()
        self.fd = os.open(self.path, os.O_RDWR)

    def whole(self) -> None:
        self._did("whole")
        self._same("whole", os.pread(self.fd, self.most + 1, 0), bytes(self.model))

    def remap(self) -> None:
        """The mapping stays over what comes next, also where the file becomes shorter."""
        if self.map is not None:
            self.map.close()
            self.map = None
        if self.model:
            self._did("map", len(self.model))
            self.map = mmap.mmap(self.fd, len(self.model))

    def map_read(self) -> None:
        mapped = self._mapped()
        if mapped:
            offset, length = self._range(mapped)
            self._did("map_read", offset, length)
            assert self.map is not None
            self._same("mapped", self.map[offset : offset + length], self._expect(offset, length))

    def map_write(self) -> None:
        mapped = self._mapped()
        if mapped:
            offset, length = self._range(mapped)
            sync = self.random.random() < 0.5
            self._did("map_write", offset, length, sync)
            assert self.map is not None
            data = self._bytes(length)
            self.map[offset : offset + length] = data
            if sync:
                self.map.flush()
            self._put(offset, data)

    # --- the model

    def _mapped(self) -> int:
        """Bytes of the mapping that the file has."""
        return min(len(self.map), len(self.model)) if self.map is not None else 0

    def _expect(self, offset: int, length: int) -> bytes:
        return bytes(self.model[offset : offset + length])

    def _reach(self, end: int) -> None:
        self.model += bytes(max(0, end - len(self.model)))

    def _put(self, offset: int, data: bytes) -> None:
        self._reach(offset + len(data))
        self.model[offset : offset + len(data)] = data

    def _clear(self, offset: int, length: int) -> None:
        end = min(offset + length, len(self.model))
        if offset < end:
            self.model[offset:end] = bytes(end - offset)

    def _next(self, position: int, whence: int) -> int:
        """os.lseek; the size where there is no more data."""
        try:
            found = os.lseek(self.fd, position, whence)
        except OSError as error:
            if error.errno != errno.ENXIO or whence != os.SEEK_DATA:
                raise
            return len(self.model)
        if not position <= found <= len(self.model):
            raise DifferenceError(f"lseek({position:#x}, {whence}): {found:#x}")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description="random operations on a file, checked")
    parser.add_argument("file")
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=1 << 18, help="most bytes of the file")
    parser.add_argument("--no-mmap", action="store_true")
    options = parser.parse_args()
    exerciser = Exerciser(options.file, options.size, options.seed, not options.no_mmap)
    try:
        exerciser.run(options.operations)
    except (DifferenceError, OSError) as error:
        print("\n".join(exerciser.log))
        print(f"{options.file}, seed {options.seed}: {error}")
        return 1
    print(f"{options.operations} operations, seed {options.seed}: no difference")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
