"""Copying a live device to and from a file, holes as holes."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import Protocol

from cuse_scullv.client import Scullv

BLOCK = 1 << 20
"""Bytes that are moved at once."""

Progress = Callable[[int], None]
"""Told how many bytes, or holes, are done."""


class Seekable(Protocol):
    def seek(self, offset: int, whence: int = ..., /) -> int: ...


def extents(file: Seekable, size: int) -> Iterator[tuple[int, int]]:
    """Where the data is: (first byte, end) of each stretch below `size`."""
    at = 0
    while at < size:
        try:
            first = file.seek(at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # only a hole is left
        at = min(file.seek(first, os.SEEK_HOLE), size)
        if first < at:
            yield first, at


def save(device: Scullv, fd: int, progress: Progress = lambda _done: None) -> int:
    """The device's bytes into the empty file `fd`; how many it has. Writers meanwhile are seen as a
    read sees them."""
    size = device.seek(0, os.SEEK_END)
    os.ftruncate(fd, size)
    for first, end in extents(device, size):
        device.seek(first)
        at = first
        while at < end:
            block = device.read(min(BLOCK, end - at))
            if not block:
                break  # somebody has cut it meanwhile
            os.pwrite(fd, block, at)
            at += len(block)
            progress(at)
    progress(size)
    return size


def load(fd: int, device: Scullv, progress: Progress = lambda _done: None) -> int:
    """The bytes of the file `fd` into the device, which is trimmed first; how many there are."""
    size = os.fstat(fd).st_size
    device.trim()
    hole = 0
    for first, end in extents(io.FileIO(fd, closefd=False), size):
        _clear(device, hole, first)
        at = first
        while at < end:
            block = os.pread(fd, min(BLOCK, end - at), at)
            if not block:
                break
            device.seek(at)
            at += write_all(device, block)
            progress(at)
        hole = end
    _clear(device, hole, size)
    _extend(device, size)
    progress(size)
    return size


def write_all(writer: io.RawIOBase, data: bytes | memoryview) -> int:
    """The bytes of `data`, all of which are written then."""
    view = memoryview(data)
    while view:
        written = writer.write(view)
        if not written:
            raise OSError(errno.EIO, "the output takes no more")
        view = view[written:]
    return len(data)


def _clear(device: Scullv, first: int, end: int) -> None:
    """A device that is mapped memory has its bytes still."""
    if first < end and device.seek(0, os.SEEK_END) > first:
        device.punch(first, end - first)


def _extend(device: Scullv, size: int) -> None:
    """A hole at the end: a node's size only a write can move."""
    if device.seek(0, os.SEEK_END) >= size:
        return
    if device.is_node:
        device.seek(size - 1)
        device.write(b"\0")
    else:
        device.truncate(size)
