"""The file view as the kernel sees it, message by message: what cannot be told from outside.

The other end of a socket is this test; no file system is mounted.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv.cuse import Workers
from cuse_scullv.device import ScullDevice
from cuse_scullv.server.daemon import make_devices
from cuse_scullv.view import mount
from cuse_scullv.view.fileview import FileView
from nodes import NAME, to_settings

pytestmark = [pytest.mark.fake, pytest.mark.usefixtures("quiet")]

# include/uapi/linux/fuse.h
IN_HEADER = struct.Struct("=IIQQIIIHH")
OUT_HEADER = struct.Struct("=IiQ")
INIT_IN = struct.Struct("=IIIII44x")  # major minor max_readahead flags flags2
INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")  # … max_background … max_write gran pages map flags2
ENTRY_OUT = struct.Struct("=QQQQII")  # nodeid generation entry_valid attr_valid nsecs
ATTR_OUT = struct.Struct("=QIIQQQ")  # attr_valid nsec dummy ino size blocks
ATTR_MTIME = 48  # bytes from the start of such an answer
OPEN_OUT = struct.Struct("=QII")
READ_IN = struct.Struct("=QQIIQII")
NOTIFY_INVAL = struct.Struct("=Qqq")

LOOKUP, GETATTR, UNLINK, OPEN, READ, WRITE, RELEASE, INIT = 1, 3, 10, 14, 15, 16, 18, 26
READDIR, FORGET = 28, 2
FLAGS = 0xFFFFFFFF  # a kernel that can do all that there is …
INIT_EXT = 1 << 30
DIRECT_IO_ALLOW_MMAP = 1 << (36 - 32)  # … and of flags2
ATOMIC_O_TRUNC, WRITEBACK_CACHE, AUTO_INVAL_DATA = 1 << 3, 1 << 16, 1 << 12
FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_PARALLEL_DIRECT_WRITES = 1, 2, 1 << 6
NOTIFY_CODE_INVAL_INODE = 2
TEXT, FIRST = 2, 3
ANSWER_S = 60.0


class Kernel:
    """The kernel's end of the socket: one request at a time."""

    def __init__(self, minor: int) -> None:
        self.end, self.server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.end, self.server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.end.settimeout(ANSWER_S)
        self.unique = 0
        self.notified: list[tuple[int, int, int]] = []
        self._send(INIT, 0, INIT_IN.pack(7, minor, 1 << 17, FLAGS, FLAGS))

    def _send(self, opcode: int, node: int, body: bytes) -> None:
        self.unique += 2
        length = IN_HEADER.size + len(body)
        header = IN_HEADER.pack(length, opcode, self.unique, node, 0, 0, os.getpid(), 0, 0)
        self.end.send(header + body)

    def init(self) -> tuple[int, ...]:
        """The answer to INIT."""
        return INIT_OUT.unpack(self._answer())

    def call(self, opcode: int, node: int, body: bytes = b"") -> bytes:
        """A request's answer. OSError as it says."""
        self._send(opcode, node, body)
        return self._answer()

    def _answer(self) -> bytes:
        while True:
            message = self.end.recv(4 << 20)
            length, code, unique = OUT_HEADER.unpack_from(message)
            assert length == len(message)
            if unique == 0:
                assert code == NOTIFY_CODE_INVAL_INODE
                self.notified.append(NOTIFY_INVAL.unpack_from(message, OUT_HEADER.size))
                continue
            assert unique == self.unique
            if code:
                raise OSError(-code, os.strerror(-code))
            return message[OUT_HEADER.size :]

    def open(self, node: int, flags: int = os.O_RDWR) -> tuple[int, int]:
        """The handle, and the flags of the answer."""
        handle, answer, _ = OPEN_OUT.unpack(self.call(OPEN, node, struct.pack("=II", flags, 0)))
        return handle, answer

    def write(self, node: int, handle: int, offset: int, data: bytes) -> int:
        body = READ_IN.pack(handle, offset, len(data), 0, 0, os.O_RDWR, 0) + data
        size: int = struct.unpack_from("=I", self.call(WRITE, node, body))[0]
        return size

    def read(self, node: int, handle: int, offset: int, size: int) -> bytes:
        return self.call(READ, node, READ_IN.pack(handle, offset, size, 0, 0, os.O_RDWR, 0))

    def release(self, node: int, handle: int) -> None:
        self.call(RELEASE, node, struct.pack("=QIIQ", handle, os.O_RDWR, 0, 0))

    def modified(self, node: int) -> int:
        """Seconds since 1970."""
        answer = self.call(GETATTR, node, bytes(16))
        seconds: int = struct.unpack_from("=Q", answer, ATTR_MTIME)[0]
        return seconds

    def size(self, node: int) -> tuple[int, int]:
        """Seconds that attributes are valid, and the size among them."""
        valid, _, _, _, size, _ = ATTR_OUT.unpack_from(self.call(GETATTR, node, bytes(16)))
        return valid, size


@pytest.fixture(params=[36, 39, 45], ids="protocol 7.{}".format)
def minor(request: pytest.FixtureRequest) -> int:
    """The kernel's: 6.1, 6.6 and one of the future."""
    number: int = request.param
    return number


@pytest.fixture
def device() -> Iterator[ScullDevice]:
    (made,) = make_devices(to_settings())
    yield made
    made.close()


@pytest.fixture
def kernel(minor: int, device: ScullDevice) -> Iterator[Kernel]:
    kernel = Kernel(minor)
    view = FileView([device], "/nowhere", Workers(threads=1), fd=kernel.server.detach())
    with view:
        yield kernel
    kernel.end.close()


def test_the_answer_to_init_asks_for_mappings_where_there_are(kernel: Kernel, minor: int) -> None:
    major, _, _, flags, _, _, max_write, _, max_pages, _, flags2 = kernel.init()
    assert major == 7
    assert (max_write, max_pages) == (1 << 20, 256)
    assert not flags & (ATOMIC_O_TRUNC | WRITEBACK_CACHE | AUTO_INVAL_DATA)
    assert bool(flags2 & DIRECT_IO_ALLOW_MMAP) == (minor >= 39)
    assert flags & INIT_EXT or minor < 39


def test_files_are_opened_for_direct_io_where_that_can_be_mapped(
    kernel: Kernel, minor: int
) -> None:
    kernel.init()
    handle, flags = kernel.open(FIRST)
    direct = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
    assert flags & (direct | FOPEN_KEEP_CACHE) == (direct if minor >= 39 else 0)
    kernel.release(FIRST, handle)
    handle, flags = kernel.open(TEXT, os.O_RDONLY)
    assert flags & (direct | FOPEN_KEEP_CACHE) == FOPEN_DIRECT_IO
    assert kernel.read(TEXT, handle, 1, 6) == b"Device"
    kernel.release(TEXT, handle)


def test_attributes_are_never_kept(kernel: Kernel) -> None:
    kernel.init()
    node, _, entry_valid, attr_valid, _, _ = ENTRY_OUT.unpack_from(
        kernel.call(LOOKUP, 1, NAME.encode() + b"\0")
    )
    assert (node, entry_valid, attr_valid) == (FIRST, 0, 0)
    handle, _ = kernel.open(FIRST)
    assert kernel.write(FIRST, handle, 0, bytes(1 << 20)) == 1 << 20
    assert kernel.size(FIRST) == (0, 1 << 20)
    assert kernel.read(FIRST, handle, 0, 1 << 20) == bytes(1 << 20)
    kernel.release(FIRST, handle)


def test_what_was_changed_before_the_view_is_as_old_as_the_view(
    minor: int, device: ScullDevice
) -> None:
    device.store.write(0, b"before")
    for _ in range(2):
        kernel = Kernel(minor)
        began = int(time.time())
        with FileView([device], "/nowhere", Workers(threads=1), fd=kernel.server.detach()):
            kernel.init()
            assert began - 1 <= kernel.modified(FIRST) <= time.time()
            handle, _ = kernel.open(FIRST)
            kernel.write(FIRST, handle, 0, b"after")
            kernel.release(FIRST, handle)
            assert began - 1 <= kernel.modified(FIRST) <= time.time()
        kernel.end.close()


def test_changes_through_the_view_are_not_told(kernel: Kernel) -> None:
    kernel.init()
    handle, _ = kernel.open(FIRST)
    kernel.write(FIRST, handle, 0, b"abc")
    kernel.release(FIRST, handle)
    assert kernel.notified == []


def test_changes_by_another_way_are_told_while_the_file_is_open(
    kernel: Kernel, device: ScullDevice
) -> None:
    kernel.init()
    device.store.punch(0, 1)
    handle, _ = kernel.open(FIRST)
    device.store.punch(4096, 8192)
    device.trim()
    kernel.release(FIRST, handle)
    device.trim()
    assert kernel.size(FIRST) == (0, 0)
    punched, trimmed = (FIRST, 4096, 8192), (FIRST, 0, 0)
    assert kernel.notified == [punched, punched, trimmed, trimmed]


def test_an_unlinked_file_is_told_to_be_empty(kernel: Kernel) -> None:
    kernel.init()
    handle, _ = kernel.open(FIRST)
    kernel.write(FIRST, handle, 0, b"abc")
    assert kernel.call(UNLINK, 1, NAME.encode() + b"\0") == b""
    assert kernel.size(FIRST) == (0, 0)
    assert set(kernel.notified) == {(FIRST, 0, 0)}
    with pytest.raises(OSError) as error:
        kernel.call(UNLINK, 1, b"scullvmem\0")
    assert error.value.errno == errno.EPERM


def test_a_view_that_gets_no_init_fails_in_time(
    device: ScullDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuse_scullv.view.fileview.READY_S", 0.1)
    silent, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with silent, pytest.raises(mount.MountError) as error:
        FileView([device], Path("/nowhere"), fd=server.detach()).start()
    assert error.value.errno == errno.ETIMEDOUT


def code_of(kernel: Kernel, opcode: int, node: int, body: bytes) -> int:
    """The errno that a message gets."""
    with pytest.raises(OSError) as caught:
        kernel.call(opcode, node, body)
    return caught.value.errno or 0


@pytest.mark.parametrize(
    ("node", "code"), [(1, errno.EISDIR), (FIRST + 1, errno.ENOENT), (1 << 63, errno.ENOENT)]
)
def test_a_file_that_is_not_there_is_not_opened(kernel: Kernel, node: int, code: int) -> None:
    kernel.init()
    assert code_of(kernel, OPEN, node, struct.pack("=II", os.O_RDONLY, 0)) == code


def test_a_file_is_released_by_its_own_node_alone_and_once(
    kernel: Kernel, device: ScullDevice
) -> None:
    kernel.init()
    handle, _ = kernel.open(FIRST)
    body = struct.pack("=QIIQ", handle, os.O_RDWR, 0, 0)
    for node in (1, TEXT, FIRST + 1):
        assert code_of(kernel, RELEASE, node, body) == errno.EBADF
    assert kernel.write(FIRST, handle, 0, b"there") == 5
    kernel.call(RELEASE, FIRST, body)
    assert code_of(kernel, RELEASE, FIRST, body) == errno.EBADF
    # As often as it was opened: else the kernel would be told, or not be told, of changes.
    device.store.write(0, b"by another way")
    kernel.size(FIRST)
    assert not kernel.notified
    kernel.open(FIRST)
    device.store.punch(0, 4)
    kernel.size(FIRST)
    assert kernel.notified


def test_a_directory_is_read_with_numbers_that_no_kernel_has(kernel: Kernel) -> None:
    kernel.init()
    most = READ_IN.pack(0, 0, 0xFFFFFFFF, 0, 0, 0, 0)
    assert b"scullvmem" in kernel.call(READDIR, 1, most)
    for offset in (1 << 63, (1 << 64) - 1):
        body = READ_IN.pack(0, offset, 0xFFFFFFFF, 0, 0, 0, 0)
        assert code_of(kernel, READDIR, 1, body) == errno.EINVAL


def test_what_is_forgotten_is_not_answered_even_before_init(device: ScullDevice) -> None:
    end, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    view = FileView([device], "/nowhere", Workers(threads=1), fd=server.detach())
    header = IN_HEADER.pack(IN_HEADER.size + 8, FORGET, 2, 1, 0, 0, 0, 0, 0)
    init = INIT_IN.pack(7, 38, 1 << 17, FLAGS, FLAGS)
    end.send(header + bytes(8))
    end.send(IN_HEADER.pack(IN_HEADER.size + len(init), INIT, 4, 0, 0, 0, 0, 0, 0) + init)
    with view:
        length, code, unique = OUT_HEADER.unpack_from(end.recv(4096))
    end.close()
    assert (length, code, unique) == (OUT_HEADER.size + INIT_OUT.size, 0, 4)
