"""A client's memory, by process_vm_readv: beyond what the kernel copies for an ioctl."""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import mmap
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import remote
from cuse_scullv.cuse.testing import FakeKernel
from nodes import until

NAME = "cusememory"
UPPER = cuse.IO("m", 1)
LIMIT = 1 << 20
TEXT = b"some text " * 60_000
Serve = Callable[..., FakeKernel]
libc = ctypes.CDLL(None, use_errno=True)


class Upper(cuse.Device):
    """The argument points to struct { u64 address, length; }; the text there is put in capitals."""

    client_memory = LIMIT
    runs = 0

    @cuse.ioctl(UPPER, raw=True)
    def upper(self, file: cuse.File, request: cuse.IoctlRequest) -> int:
        self.runs += 1
        address, length = struct.unpack("=QQ", request.memory.read(request.arg, 16))
        text = request.memory.read(address, length)
        request.memory.write(address, text.upper())
        return len(text)


class AsyncUpper(Upper):
    @cuse.ioctl(UPPER, raw=True)
    async def upper(self, file: cuse.File, request: cuse.IoctlRequest) -> int:  # type: ignore[override]
        return super().upper(file, request)


def nested(kernel: FakeKernel, text: bytes, length: int | None = None) -> tuple[int, int]:
    """The addresses of the struct and of the text."""
    address = kernel.memory.alloc(text)
    size = len(text) if length is None else length
    return kernel.memory.alloc(struct.pack("=QQ", address, size)), address


@pytest.mark.fake
@pytest.mark.parametrize("kind", [Upper, AsyncUpper])
@pytest.mark.parametrize("unrestricted", [False, True])
def test_nested_memory_of_any_size_is_one_run(
    cuse_device: Serve, kind: type[Upper], unrestricted: bool
) -> None:
    device = kind(NAME, unrestricted=unrestricted)
    kernel = cuse_device(device)
    head, address = nested(kernel, TEXT)
    assert kernel.open().ioctl(UPPER, head).result == len(TEXT)
    assert kernel.memory.read(address, len(TEXT)) == TEXT.upper()
    assert device.runs == 1


@pytest.mark.fake
@pytest.mark.parametrize(
    ("head", "code"),
    [
        ((4096, 8), errno.EFAULT),
        ((4096, 0), 0),
        ((1 << 63, LIMIT), errno.EFAULT),
        (((1 << 64) - 1, 8), errno.EFAULT),
        ((0, LIMIT + 1), errno.ENOMEM),
        ((0, 1 << 62), errno.ENOMEM),
    ],
)
def test_memory_that_cannot_be_is_an_errno(
    cuse_device: Serve, head: tuple[int, int], code: int
) -> None:
    kernel = cuse_device(Upper(NAME))
    argument = kernel.memory.alloc(struct.pack("=QQ", *head))
    if code == 0:
        assert kernel.open().ioctl(UPPER, argument).result == 0
        return
    with pytest.raises(OSError) as caught:
        kernel.open().ioctl(UPPER, argument)
    assert caught.value.errno == code


@pytest.mark.fake
@pytest.mark.logs_errors
def test_it_has_to_be_asked_for(cuse_device: Serve, cuse_log: list[logging.LogRecord]) -> None:
    device = Upper(NAME)
    device.client_memory = 0
    kernel = cuse_device(device)
    with pytest.raises(OSError) as caught:
        kernel.open().ioctl(UPPER, nested(kernel, TEXT)[0])
    assert caught.value.errno == errno.EIO
    assert "memory needs a device with client_memory" in logging.Formatter().format(cuse_log[0])


@pytest.mark.fake
def test_it_ends_with_the_ioctl(cuse_device: Serve) -> None:
    """What a method does later must not reach a client that has gone on."""
    kept: list[Any] = []
    device = cuse.Device(NAME, ioctl=lambda file, request: kept.append(request.memory))
    device.client_memory = 8
    cuse_device(device).open().ioctl(UPPER, 4096)
    with pytest.raises(ProcessLookupError):
        kept[0].read(4096, 1)
    with pytest.raises(ProcessLookupError):
        kept[0].write(4096, b"x")


def memory_of(tid: int) -> remote.RemoteMemory:
    return remote.RemoteMemory(tid, LIMIT, lambda: True)


def test_another_process_of_the_same_number_is_not_taken_for_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = ctypes.create_string_buffer(b"text")
    address = ctypes.addressof(text)
    child = os.fork()
    if child == 0:
        threading.Event().wait(60)
        os._exit(0)
    try:
        memory = memory_of(child)
        assert memory.read(address, 4) == b"text"
        memory.write(address, b"TEXT")
        assert memory.read(address, 4) == b"TEXT"
        assert text.value == b"text"  # ours
        os.kill(child, 9)
    finally:
        os.waitpid(child, 0)
    memory._remote = remote.Thread(os.getpid())  # as if the number were given again
    with pytest.raises(ProcessLookupError):
        memory.read(address, 4)


def test_a_client_that_cannot_be_seen_is_esrch() -> None:
    for tid in (0, 1 << 22):
        with pytest.raises(ProcessLookupError):
            memory_of(tid).read(4096, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_trace_the_client_is_told_so() -> None:
    """Another user's process, as a server that is not root has clients."""
    text = ctypes.create_string_buffer(b"text")
    thread = remote.Thread(threading.get_native_id())
    child = os.fork()
    if child == 0:
        got = []
        os.setresuid(65534, 65534, 65534)
        for look in (
            lambda: thread.read([(ctypes.addressof(text), 4)]),
            lambda: thread.write(ctypes.addressof(text), b"TEXT"),
            thread.system_call,
        ):
            try:
                look()
            except OSError as error:
                got.append(error.errno)
        here = Path("/proc/self/syscall").exists()  # not in user-mode-linux
        wanted = ({errno.EPERM}, {errno.EPERM}, {errno.EPERM, errno.EACCES} if here else {2})
        good = len(got) == 3 and all(code in may for code, may in zip(got, wanted, strict=True))
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert text.value == b"text"


def test_the_protection_of_pages_is_kept() -> None:
    """Which /proc/PID/mem would not: a text segment is not written."""
    page = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    memory = memory_of(threading.get_native_id())
    memory.write(address, bytes([5]) * mmap.PAGESIZE)
    pointer = ctypes.c_void_p(address + mmap.PAGESIZE)
    assert libc.mprotect(pointer, mmap.PAGESIZE, mmap.PROT_READ) == 0
    assert memory.read(address, mmap.PAGESIZE + 1) == bytes([5]) * mmap.PAGESIZE + b"\0"
    with pytest.raises(OSError) as caught:
        memory.write(address, bytes(mmap.PAGESIZE + 1))
    assert caught.value.errno == errno.EFAULT
    assert libc.mprotect(pointer, mmap.PAGESIZE, 0) == 0
    with pytest.raises(OSError) as caught:
        memory.read(address, mmap.PAGESIZE + 1)
    assert caught.value.errno == errno.EFAULT


def test_no_descriptor_is_left() -> None:
    text = ctypes.create_string_buffer(b"text")
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        assert memory_of(threading.get_native_id()).read(ctypes.addressof(text), 4) == b"text"
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.real
def test_a_client_of_a_node(tmp_path: Path) -> None:
    """A process of its own, whose text is larger than the kernel would copy."""
    device = Upper(NAME)
    text = ctypes.create_string_buffer(TEXT)
    head = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(text), len(TEXT)))
    libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
    with cuse.Channel(device) as channel:
        assert channel.path is not None
        child = os.fork()
        if child == 0:
            status = 1
            try:
                fd = os.open(str(channel.path), os.O_RDWR)
                result = libc.ioctl(fd, UPPER, ctypes.addressof(head))
                status = 0 if (result, text.value) == (len(TEXT), TEXT.upper()) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        until(lambda: device.runs == 1)
    assert text.value == TEXT
