"""Devices that get each read and write in one piece: over the fake kernel, and on real nodes.

A kernel without /proc/TID/syscall, as user-mode-linux, hands over parts: a test there says so."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import mmap
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uring
from cuse_scullv import cuse
from cuse_scullv.cuse import remote, testing, whole
from cuse_scullv.cuse.fake import wire
from cuse_scullv.cuse.fake.client import FakeClient
from cuse_scullv.cuse.system_call import NUMBERS, READ, WRITE, SystemCall, system_call_of
from cuse_scullv.cuse.whole import WholeSession
from nodes import Open, opener, until

NAME = "cusewhole"
PART = testing.MAX_REQUEST
SIZE = 1_000_193
CAN_LOOK = Path("/proc/self/syscall").exists()
DATA = bytes(range(256)) * (SIZE // 256) + b"\1"
assert len(DATA) == SIZE

BUFFER = "0x7e0000000000"  # the fake client's


class Kept(cuse.Device):
    """Keeps what is written, and notes how it came; gives what it has kept."""

    transfers = "whole"

    def __init__(self, **settings: Any) -> None:
        super().__init__(NAME, **settings)
        self.calls: list[tuple[int, bool]] = []
        self.kept = b""
        self.limit: int | None = None  # bytes that a method takes or gives

    def write(self, file: cuse.File, data: memoryview) -> int:
        self.calls.append((len(data), file.whole))
        taken = len(data) if self.limit is None else min(self.limit, len(data))
        self.kept += bytes(data[:taken])
        return taken

    def read(self, file: cuse.File, size: int) -> Any:
        self.calls.append((size, file.whole))
        size = size if self.limit is None else min(size, self.limit)
        data, self.kept = self.kept[:size], self.kept[size:]
        return data


class Async(Kept):
    async def write(self, file: cuse.File, data: memoryview) -> int:
        return super().write(file, data)

    async def read(self, file: cuse.File, size: int) -> Any:
        return super().read(file, size)


class Into(Kept):
    def readinto(self, file: cuse.File, buffer: memoryview) -> int:
        data = super().read(file, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Watched(Kept):
    def client_gone(self, file: cuse.File, client: cuse.Client) -> None:
        raise NotImplementedError


class Patient(Kept):
    def __init__(self) -> None:
        super().__init__(timeout=60.0)


@pytest.fixture(
    params=[
        pytest.param("fake", marks=pytest.mark.fake),
        pytest.param("smp", marks=[pytest.mark.real, pytest.mark.smp]),
    ]
)
def serve(
    request: pytest.FixtureRequest, cuse_log: list[logging.LogRecord]
) -> Iterator[Callable[[cuse.Device], Open]]:
    """Serves a device; returns a function that opens it."""
    with opener(request.param) as open_device:
        yield open_device


def rests(device: cuse.Device) -> dict[Any, Any]:
    assert isinstance(device._session, WholeSession)
    return device._session._rests


# --- what the client gets -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kept, Async, Into, Watched, Patient])
def test_a_system_call_is_one_call_of_the_method(
    serve: Callable[[cuse.Device], Open], kind: Callable[[], Kept]
) -> None:
    device = kind()
    file = serve(device)()
    assert file.write(DATA) == SIZE
    assert device.kept == DATA
    assert file.read(2 * SIZE) == DATA
    assert file.write(b"short") == 5
    assert file.read(100) == b"short"
    assert file.read(100) == b""
    assert device.calls == [(n, True) for n in (SIZE, 2 * SIZE, 5, 100, 100)]
    assert not rests(device)


@pytest.mark.parametrize("count", [0, 1, PART - 1, PART, PART + 1, 3 * PART, SIZE - 1])
def test_a_short_answer_ends_the_call_where_it_ended(
    serve: Callable[[cuse.Device], Open], count: int
) -> None:
    device = Kept()
    file = serve(device)()
    device.limit = count
    assert file.write(DATA) == count
    assert device.kept == DATA[:count]
    assert file.read(SIZE) == DATA[:count]
    assert device.calls == [(SIZE, True)] * 2
    assert not rests(device)


@pytest.mark.parametrize("method", ["read", "write"])
def test_an_error_is_the_clients(serve: Callable[[cuse.Device], Open], method: str) -> None:
    """In parts, it would be a short count from the second part on."""

    def fail(file: cuse.File, argument: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    device = Kept()
    setattr(device, method, fail)
    file = serve(device)()
    with pytest.raises(OSError) as caught:
        getattr(file, method)(DATA if method == "write" else SIZE)
    assert caught.value.errno == errno.ENOSPC
    assert not rests(device)


def test_more_than_the_device_takes_at_once_is_a_short_count(
    serve: Callable[[cuse.Device], Open],
) -> None:
    device = Kept()
    device.transfers_max = 3 * PART + 5
    file = serve(device)()
    assert file.write(DATA) == 3 * PART + 5
    assert file.write(DATA[3 * PART + 5 :]) == 3 * PART + 5
    assert file.read(SIZE) == DATA[: 3 * PART + 5]
    assert file.read(PART) == DATA[3 * PART + 5 :][:PART]
    assert device.calls == [(3 * PART + 5, True)] * 3 + [(PART, True)]


def test_threads_of_one_file_do_not_mix(serve: Callable[[cuse.Device], Open]) -> None:
    both = threading.Barrier(2)
    got: list[bytes] = []

    def write(file: cuse.File, data: memoryview) -> None:
        got.append(bytes(data))
        both.wait(60)  # both have begun

    device = Kept(write=write)
    file = serve(device)()
    contents = [letter * SIZE for letter in (b"a", b"b")]
    threads = [threading.Thread(target=file.write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == contents
    assert not rests(device)


# --- where it cannot be known, and what is left ---------------------------------------------------


@pytest.mark.fake
@pytest.mark.logs_errors
def test_a_client_that_cannot_be_looked_into_is_served_in_parts(
    monkeypatch: pytest.MonkeyPatch, cuse_device: Any, cuse_log: list[logging.LogRecord]
) -> None:
    def deny(self: FakeClient) -> str:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(FakeClient, "system_call", deny)
    device = Kept()
    file = cuse_device(device).open()
    assert file.write(DATA[: PART + 5]) == PART + 5
    assert file.read(PART + 6) == DATA[: PART + 5]
    assert device.calls == [(PART, False), (5, False), (PART, False), (6, False)]
    (record,) = cuse_log
    assert "transfers come in parts" in record.getMessage()
    assert "Operation not permitted" in record.getMessage()


@pytest.mark.fake
@pytest.mark.parametrize(
    "text",
    [
        "running\n",
        "-1 0x0 0x0\n",
        "",
        f"425 0x3 {BUFFER} {SIZE:#x} 0x0 0x0 0x0 0x7ffe0000 0x55550000\n",
        f"1 0x3 {BUFFER} 0x1 0x0 0x0 0x0 0x7ffe0000 0x55550000\n",
        f"1 0x3 {BUFFER} {SIZE:#x} 0x0 0x0 0x0 0x0 0x0\n",  # io_uring's thread
    ],
)
def test_another_system_call_is_served_in_parts(
    monkeypatch: pytest.MonkeyPatch, cuse_device: Any, text: str
) -> None:
    monkeypatch.setattr(FakeClient, "system_call", lambda self: text)
    device = Kept()
    assert cuse_device(device).open().write(DATA[: PART + 5]) == PART + 5
    assert device.calls == [(PART, False), (5, False)]


@pytest.mark.fake
def test_memory_that_is_not_what_came_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, cuse_device: Any
) -> None:
    monkeypatch.setattr(FakeClient, "read", lambda self, areas: bytearray(SIZE))
    device = Kept()
    assert cuse_device(device).open().write(DATA) == SIZE
    assert not any(whole for _, whole in device.calls)
    assert device.kept == DATA


@pytest.mark.fake
@pytest.mark.logs_errors
@pytest.mark.parametrize(("kind", "method"), [(Kept, "write"), (Async, "read")])
def test_a_look_that_lasts_past_the_deadline_is_etimedout(
    monkeypatch: pytest.MonkeyPatch, cuse_device: Any, kind: type[Kept], method: str
) -> None:
    """As of memory whose page somebody else has to bring."""
    say, done = FakeClient.system_call, threading.Event()

    def last(self: FakeClient) -> str:
        done.wait(60)
        return say(self)

    monkeypatch.setattr(FakeClient, "system_call", last)
    device = kind(timeout=1.5)  # open() has to be quicker
    file = cuse_device(device).open()
    with pytest.raises(TimeoutError):
        getattr(file, method)(DATA if method == "write" else SIZE)
    done.set()
    assert file.write(b"next") == 4
    assert device.calls == [(4, True)]
    assert not rests(device)


def first_part(file: testing.FakeFile) -> None:
    """The client is killed when its read has got one part of more."""
    body = wire.READ_IN.pack(file._fh, 0, PART, 0, 0, file.flags, 0)
    with file._seen(READ, SIZE):
        file._transact(wire.OP_READ, body, 0, PART)


@pytest.mark.fake
def test_nothing_is_left_of_a_client_that_died_half_way(
    cuse_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Kept()
    kernel = cuse_device(device)
    file, other = kernel.open(), kernel.open()
    for end in ("the next call that has parts", "release"):
        device.kept = 2 * DATA
        with subprocess.Popen(["sleep", "600"]) as child:
            file.pid = child.pid
            first_part(file)
            assert len(rests(device)) == 1
            monkeypatch.setattr(whole, "_KEPT_MAX", 1)
            assert len(other.read(PART + 1)) == PART + 1  # in parts: too much is waited for
            assert device.calls[-2:] == [(PART, False), (1, False)]
            monkeypatch.undo()
            child.kill()
        if end == "release":
            file.close()
        else:
            other.read(PART + 1)
        assert not rests(device), end


@pytest.mark.fake
def test_a_new_call_of_the_thread_ends_the_one_before(cuse_device: Any) -> None:
    device = Kept()
    file = cuse_device(device).open()
    device.kept = DATA + b"next"
    first_part(file)
    assert file.read(4) == b"next"  # what was not fetched is gone, as with any driver
    assert not rests(device)


@pytest.mark.fake
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transfers", "all"),
        ("transfers", None),
        ("transfers_max", PART - 1),
        ("transfers_max", "1M"),
        ("client_memory", -1),
        ("client_memory", 1 << 40),
    ],
)
def test_settings_that_cannot_be_are_said(name: str, value: object) -> None:
    device = Kept()
    setattr(device, name, value)
    with pytest.raises(cuse.DeviceError, match=rf"Kept\.{name} is .*: take ") as caught:
        cuse.Channel(device)
    assert caught.value.errno == errno.EINVAL


# --- what the kernel says ------------------------------------------------------------------------


def test_the_numbers_are_the_systems(tmp_path: Path) -> None:
    names = [
        ["read", "pread64"], ["readv", "preadv", "preadv2"],
        ["write", "pwrite64"], ["writev", "pwritev", "pwritev2"],
    ]  # fmt: skip
    source, program = tmp_path / "numbers.c", tmp_path / "numbers"
    words = "".join(f'printf("%d ", SYS_{name});' for group in names for name in group)
    source.write_text(
        f"#include <stdio.h>\n#include <sys/syscall.h>\nint main(void) {{ {words} return 0; }}\n"
    )
    subprocess.run(["gcc", "-o", program, source], check=True)
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    known = NUMBERS[platform.machine()]
    assert [int(word) for word in found] == [n for way in known for group in way for n in group]


def blocked(call: Callable[[int], object], end: int) -> subprocess.Popen[bytes] | int:
    """A process that blocks in a call on one end of a pipe."""
    child = os.fork()
    if child == 0:
        try:
            call(end)
        finally:
            os._exit(0)
    return child


@pytest.mark.skipif(not CAN_LOOK, reason="this kernel has no /proc/TID/syscall")
def test_what_a_thread_is_in_is_seen() -> None:
    ways: list[tuple[int, Callable[[int], object], int]] = [
        (WRITE, lambda fd: os.write(fd, DATA), SIZE),
        (WRITE, lambda fd: os.writev(fd, [DATA[:PART], b"", DATA[PART:]]), SIZE),
        (READ, lambda fd: os.read(fd, 12345), 12345),
        (READ, lambda fd: os.readv(fd, [bytearray(5), bytearray(70)]), 75),
    ]
    for direction, call, size in ways:
        ends = os.pipe()
        child = blocked(call, ends[direction])
        assert isinstance(child, int)
        try:
            client = remote.remote_of(child)
            seen: list[SystemCall | None] = []
            until(lambda client=client, direction=direction, seen=seen: (
                seen.append(system_call_of(client, direction)) or seen[-1]
            ))  # fmt: skip
            found = seen[-1]
            assert found is not None
            assert found.total == size
            assert system_call_of(client, 1 - direction) is None
            if direction == WRITE:
                assert client.read(found.areas) == DATA
                assert client.read(found.first(PART + 7)) == DATA[: PART + 7]
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            for end in ends:
                os.close(end)


def test_a_thread_that_does_not_sleep_yet_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = iter(["running\n", "running\n", "1 0x3 0x0 0x5 0x0 0x0 0x0 0x7ffe0000 0x55550000\n"])
    monkeypatch.setattr(remote, "syscall_of", lambda tid: next(texts))
    assert system_call_of(remote.Thread(1), WRITE) == SystemCall([(0, 5)], 5)
    monkeypatch.setattr(remote, "syscall_of", lambda tid: "running\n")
    monkeypatch.setattr(remote, "_SLEEP_S", 0.01)
    assert system_call_of(remote.Thread(1), WRITE) is None


# --- on a real node -----------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def node(device: cuse.Device) -> Iterator[int]:
    with cuse.Channel(device) as channel:
        assert channel.path is not None
        fd = os.open(channel.path, os.O_RDWR)
        try:
            yield fd
        finally:
            os.close(fd)


@pytest.mark.real
@pytest.mark.smp
def test_vectors_are_one_call_too() -> None:
    """The kernel cuts them after 32 segments, however small."""
    device = Kept()
    with node(device) as fd:
        pieces = [DATA[n : n + 100] for n in range(0, 100_000, 100)]
        assert os.writev(fd, pieces) == 100_000
        assert os.readv(fd, [bytearray(7) for _ in range(1000)]) == 7000
        assert os.pwrite(fd, DATA, 5) == SIZE  # the position is the kernel's to drop
    assert device.calls == [(100_000, True), (7000, True), (SIZE, True)]


@pytest.mark.real
@pytest.mark.smp
def test_memory_that_ends_half_way_ends_the_call() -> None:
    device = Kept()
    pages = mmap.mmap(-1, 1 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    there = 3 * PART
    ctypes.memset(address, 7, there)
    assert libc.mprotect(ctypes.c_void_p(address + there), (1 << 20) - there, 0) == 0
    libc.write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    with node(device) as fd:
        assert libc.write(fd, address, 1 << 20) == there
        assert device.kept == bytes([7]) * there
        device.kept = DATA
        assert libc.read(fd, ctypes.c_void_p(address), 1 << 20) == there
        device.kept = b"next"
        assert os.read(fd, 10) == b"next"
        assert not rests(device)
    assert device.calls[0] == (there, True)


@pytest.mark.real
@pytest.mark.smp
def test_a_client_that_is_killed_while_the_method_waits_takes_nothing() -> None:
    condition = cuse.Condition()
    ends: list[object] = []

    def write(file: cuse.File, data: memoryview) -> None:
        with condition:
            try:
                ends.append(len(data))
                condition.wait()
            except OSError as error:
                ends.append(error.errno)
                raise

    device = Kept(write=write)
    with node(device) as fd:
        child = blocked(lambda end: os.write(end, DATA), fd)
        assert isinstance(child, int)
        until(lambda: ends)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert ends == [SIZE, errno.EINTR]
        assert not rests(device)


class _Iocb(ctypes.Structure):
    """struct iocb of linux/aio_abi.h"""

    _fields_ = (
        ("data", ctypes.c_uint64), ("key", ctypes.c_uint32), ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16), ("reqprio", ctypes.c_int16), ("fd", ctypes.c_uint32),
        ("buf", ctypes.c_uint64), ("nbytes", ctypes.c_uint64), ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("resfd", ctypes.c_uint32),
    )  # fmt: skip


@pytest.mark.real
@pytest.mark.smp
@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls")
def test_aio_comes_in_parts() -> None:
    device = Kept()
    context, data = ctypes.c_ulong(0), ctypes.create_string_buffer(DATA, SIZE)
    assert libc.syscall(206, 8, ctypes.byref(context)) == 0  # io_setup
    with node(device) as fd:
        request = _Iocb(opcode=1, fd=fd, buf=ctypes.addressof(data), nbytes=SIZE)
        pointer = ctypes.pointer(request)
        assert libc.syscall(209, context, ctypes.c_long(1), ctypes.byref(pointer)) == 1
        until(lambda: len(device.kept) == SIZE)
    assert libc.syscall(207, context) == 0  # io_destroy
    assert device.kept == DATA
    assert not any(whole for _, whole in device.calls)


@pytest.mark.real
@pytest.mark.smp
def test_io_uring_comes_in_parts() -> None:
    """Its own threads make the requests, beside reads and writes of the same size."""
    device = Kept()
    data = ctypes.create_string_buffer(SIZE)
    with node(device) as fd:
        for content in (DATA, bytes(SIZE)):
            assert os.write(fd, content) == SIZE
            ctypes.memmove(data, device.kept, SIZE)
            device.calls.clear()
            assert uring.transfer(uring.WRITE, fd, ctypes.addressof(data), SIZE) == SIZE
            assert device.kept == 2 * content
            assert os.read(fd, SIZE) == content
            assert uring.transfer(uring.READ, fd, ctypes.addressof(data), SIZE) == SIZE
            assert data.raw == content
            assert device.calls.count((SIZE, True)) == 1  # of os.read
            assert {whole for size, whole in device.calls if size != SIZE} == {False}
            assert not device.kept


@pytest.mark.real
@pytest.mark.logs_errors
@pytest.mark.skipif(CAN_LOOK, reason="this kernel has /proc/TID/syscall")
def test_a_kernel_that_does_not_say_serves_parts(cuse_log: list[logging.LogRecord]) -> None:
    device = Kept()
    with node(device) as fd:
        assert os.write(fd, DATA) == SIZE
        assert os.read(fd, SIZE) == DATA
    assert len(device.calls) > 2 * SIZE // PART
    assert not any(whole for _, whole in device.calls)
    assert len(cuse_log) == 1
