"""The fake kernel itself: that it says what Linux says, and lets no driver get away with anything.

The server here is a few lines that write bytes to the other end, right or wrong.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cuse_scullv.cuse.fake import wire
from cuse_scullv.cuse.testing import (
    BAD,
    MAX_REQUEST,
    ClientMemory,
    FakeFile,
    FakeKernel,
    ProtocolError,
)

pytestmark = pytest.mark.fake

IOW_8 = 1 << 30 | 8 << 16 | 0x5401
IOR_8 = 2 << 30 | 8 << 16 | 0x5402


class Message:
    """A request as the server reads it."""

    def __init__(self, data: bytes) -> None:
        header = wire.IN_HEADER.unpack_from(data)
        self.length, self.opcode, self.unique, self.node, self.uid, self.gid, self.pid = header[:7]
        self.body = data[wire.IN_HEADER.size :]
        assert self.length == len(data)


class Server:
    """Answers by a table: opcode -> function(message) -> (errno, body), or None for no answer."""

    def __init__(self, kernel: FakeKernel, flags: int = 0) -> None:
        self.socket = socket.socket(fileno=kernel.server_fd)
        self.seen: list[Message] = []
        init = wire.CUSE_INIT_OUT.pack(7, 38, 0, flags, MAX_REQUEST, MAX_REQUEST, 0, 0)
        self.answers: dict[int, Callable[[Message], tuple[int, bytes] | None]] = {
            wire.OP_CUSE_INIT: lambda m: (0, init + b"DEVNAME=fake\0"),
            wire.OP_OPEN: lambda m: (0, wire.OPEN_OUT.pack(77, 0, 0)),
            wire.OP_RELEASE: lambda m: (0, b""),
            wire.OP_INTERRUPT: lambda m: None,
        }
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                data = self.socket.recv(2 * MAX_REQUEST)
            except OSError:
                return
            if not data:
                return
            message = Message(data)
            self.seen.append(message)
            answer = self.answers[message.opcode](message)
            if answer is not None:
                self.send(message.unique, *answer)

    def send(self, unique: int, error: int, body: bytes = b"", length: int | None = None) -> None:
        size = wire.OUT_HEADER.size + len(body) if length is None else length
        self.socket.send(wire.OUT_HEADER.pack(size, -error, unique) + body)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(60)
        self.socket.close()


class Pair:
    """A kernel and its server."""

    def __init__(self, kernel: FakeKernel, server: Server) -> None:
        self.kernel, self.server = kernel, server

    def open(self, flags: int = os.O_RDWR) -> FakeFile:
        return self.kernel.open(flags)

    def seen(self, opcode: int) -> list[Message]:
        return [message for message in self.server.seen if message.opcode == opcode]


@pytest.fixture(params=[0])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with FakeKernel() as kernel:
        server = Server(kernel, request.param)
        yield Pair(kernel, server)
        server.close()


unrestricted = pytest.mark.parametrize("pair", [wire.CUSE_UNRESTRICTED_IOCTL], indirect=True)


@pytest.fixture
def wrong() -> Iterator[Pair]:
    """For servers that break the rules: the kernel remembers, and close() says so once more."""
    kernel = FakeKernel()
    server = Server(kernel)
    yield Pair(kernel, server)
    server.close()
    with pytest.raises(ProtocolError):
        kernel.close()


# --- what the server is asked -------------------------------------------------------------------


def test_init_offers_the_protocol(pair: Pair) -> None:
    assert pair.kernel.init().name == "fake"
    (init,) = pair.seen(wire.OP_CUSE_INIT)
    assert wire.CUSE_INIT_IN.unpack(init.body) == (7, 38, 0, 1)


def test_open_passes_flags_and_caller(pair: Pair) -> None:
    pair.kernel.pid, pair.kernel.uid, pair.kernel.gid = 11, 12, 13
    pair.open(os.O_RDWR | os.O_NONBLOCK | os.O_TRUNC | os.O_CREAT | os.O_APPEND)
    (message,) = pair.seen(wire.OP_OPEN)
    assert (message.pid, message.uid, message.gid, message.node) == (11, 12, 13, 0)
    assert wire.OPEN_IN.unpack(message.body)[0] == os.O_RDWR | os.O_NONBLOCK | os.O_APPEND


def test_the_caller_is_the_calling_thread_unless_said(pair: Pair) -> None:
    pair.open()
    assert pair.seen(wire.OP_OPEN)[0].pid == threading.get_native_id()


def test_reads_are_cut_and_count_from_zero(pair: Pair) -> None:
    pair.server.answers[wire.OP_READ] = lambda m: (0, b"x" * wire.READ_IN.unpack(m.body)[2])
    file = pair.open()
    for _ in range(2):
        assert len(file.read(2 * MAX_REQUEST + 10)) == 2 * MAX_REQUEST + 10
    asked = [wire.READ_IN.unpack(m.body)[:3] for m in pair.seen(wire.OP_READ)]
    assert asked[:3] == [(77, 0, MAX_REQUEST), (77, MAX_REQUEST, MAX_REQUEST), (77, 262144, 10)]
    assert asked[3:] == asked[:3]


def test_a_short_read_ends_the_call(pair: Pair) -> None:
    pair.server.answers[wire.OP_READ] = lambda m: (0, b"short")
    assert pair.open().read(2 * MAX_REQUEST) == b"short"
    assert len(pair.seen(wire.OP_READ)) == 1


def test_an_error_after_some_bytes_shows_at_the_next_call(pair: Pair) -> None:
    answers = iter([(0, bytes(MAX_REQUEST)), (errno.EIO, b""), (errno.EIO, b"")])
    pair.server.answers[wire.OP_READ] = lambda m: next(answers)
    file = pair.open()
    assert len(file.read(2 * MAX_REQUEST)) == MAX_REQUEST
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EIO


def test_writes_are_cut_and_carry_the_bytes(pair: Pair) -> None:
    pair.server.answers[wire.OP_WRITE] = lambda m: (0, wire.WRITE_OUT.pack(len(m.body) - 40, 0))
    data = os.urandom(MAX_REQUEST + 5)
    assert pair.open(os.O_WRONLY | os.O_NONBLOCK).write(data) == len(data)
    first, second = pair.seen(wire.OP_WRITE)
    assert first.body[40:] + second.body[40:] == data
    fields = wire.WRITE_IN.unpack_from(second.body)
    assert fields == (77, MAX_REQUEST, 5, 0, 0, os.O_WRONLY | os.O_NONBLOCK, 0)


def test_nothing_to_move_asks_nobody(pair: Pair) -> None:
    file = pair.open()
    before = pair.kernel.requests
    assert (file.read(0), file.write(b"")) == (b"", 0)
    assert pair.kernel.requests == before


@pytest.mark.parametrize(
    ("flags", "call"),
    [
        (os.O_WRONLY, lambda file: file.read(1)),
        (os.O_RDONLY, lambda file: file.write(b"x")),
        (3, lambda file: file.read(1)),
    ],
)
def test_the_access_mode_is_the_kernels_business(
    pair: Pair, flags: int, call: Callable[[FakeFile], Any]
) -> None:
    file = pair.open(flags)
    before = pair.kernel.requests
    with pytest.raises(OSError) as caught:
        call(file)
    assert caught.value.errno == errno.EBADF
    assert pair.kernel.requests == before


def test_a_bad_buffer_is_efault(pair: Pair) -> None:
    file = pair.open()
    with pytest.raises(OSError) as caught:
        file.write(BAD)
    assert caught.value.errno == errno.EFAULT


def test_close_waits_for_release_and_hides_its_errno(pair: Pair) -> None:
    pair.server.answers[wire.OP_RELEASE] = lambda m: (errno.EIO, b"")
    file = pair.open()
    file.close()
    file.close()
    assert len(pair.seen(wire.OP_RELEASE)) == 1
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EBADF


# --- ioctl --------------------------------------------------------------------------------------


def ioctl_out(result: int, data: bytes = b"", flags: int = 0, ins: int = 0, outs: int = 0) -> bytes:
    return wire.IOCTL_OUT.pack(result, flags, ins, outs) + data


def test_restricted_ioctls_copy_what_the_number_says(pair: Pair) -> None:
    pair.server.answers[wire.OP_IOCTL] = lambda m: (0, ioctl_out(3))
    assert pair.open().ioctl(IOW_8, b"12345678extra") == (3, b"")
    message = pair.seen(wire.OP_IOCTL)[0]
    assert message.body[32:] == b"12345678"
    assert wire.IOCTL_IN.unpack_from(message.body)[4:] == (8, 0)


def test_ioctl_results_are_results_or_errors(pair: Pair) -> None:
    results = iter([5, -errno.EBUSY, -errno.ENOSYS, -5000])
    pair.server.answers[wire.OP_IOCTL] = lambda m: (0, ioctl_out(next(results)))
    file = pair.open()
    assert file.ioctl(1) == (5, b"")
    for code in (errno.EBUSY, errno.ENOTTY):
        with pytest.raises(OSError) as caught:
            file.ioctl(1)
        assert caught.value.errno == code
    assert file.ioctl(1) == (-5000, b"")


@pytest.mark.parametrize("pointer", [BAD, None, 0, 12345])
@pytest.mark.parametrize("command", [IOW_8, IOR_8])
def test_pointers_to_nothing_are_efault(pair: Pair, command: int, pointer: Any) -> None:
    pair.server.answers[wire.OP_IOCTL] = lambda m: (0, ioctl_out(0, bytes(8)))
    with pytest.raises(OSError) as caught:
        pair.open().ioctl(command, pointer)
    assert caught.value.errno == errno.EFAULT
    assert len(pair.seen(wire.OP_IOCTL)) == (command == IOR_8)  # found out when copying out


def test_what_comes_back_lands_in_the_clients_memory(pair: Pair) -> None:
    pair.server.answers[wire.OP_IOCTL] = lambda m: (0, ioctl_out(0, b"12345678"))
    address = pair.kernel.memory.alloc(b"........and more")
    assert pair.open().ioctl(IOR_8, address) == (0, b"12345678")
    assert pair.kernel.memory.read(address, 16) == b"12345678and more"


def test_too_little_memory_for_the_command_is_the_tests_mistake(pair: Pair) -> None:
    with pytest.raises(ValueError, match="passes 8 bytes, not 4"):
        pair.open().ioctl(IOW_8, b"1234")


def retry(kernel: FakeKernel, area: tuple[int, int]) -> Callable[[Message], tuple[int, bytes]]:
    def answer(message: Message) -> tuple[int, bytes]:
        in_size = wire.IOCTL_IN.unpack_from(message.body)[4]
        if in_size == 0:
            return 0, ioctl_out(0, struct.pack("=QQ", *area), wire.IOCTL_RETRY, 1, 0)
        return 0, ioctl_out(in_size)

    return answer


@unrestricted
def test_unrestricted_ioctls_come_again_with_what_was_asked_for(pair: Pair) -> None:
    address = pair.kernel.memory.alloc(b"content")
    pair.server.answers[wire.OP_IOCTL] = retry(pair.kernel, (address, 7))
    assert pair.open().ioctl(IOW_8, address).result == 7
    first, second = pair.seen(wire.OP_IOCTL)
    assert wire.IOCTL_IN.unpack_from(first.body)[1] == wire.IOCTL_UNRESTRICTED
    assert second.body[32:] == b"content"


def test_memory_serves_several_clients_at_once() -> None:
    memory = ClientMemory()
    first = memory.alloc(b"first")

    def use(_: int) -> set[int]:
        mine = set()
        for _ in range(500):
            mine.add(memory.alloc(1))
            assert memory.read(first, 5) == b"first"
        return mine

    with ThreadPoolExecutor(4) as pool:
        areas = list(pool.map(use, range(4)))
    assert len(set().union(*areas)) == 4 * 500


def test_memory_has_ends() -> None:
    memory = ClientMemory()
    address = memory.alloc(10)
    other = memory.alloc(b"x" * 5000)
    memory.write(address + 2, b"ab")
    assert memory.read(address, 10) == b"\0\0ab" + bytes(6)
    for bad in ((address, 11), (address - 1, 1), (other + 5000, 1), (0, 1)):
        with pytest.raises(OSError) as caught:
            memory.read(*bad)
        assert caught.value.errno == errno.EFAULT


# --- poll, interrupts, the end ------------------------------------------------------------------


def test_poll_schedules_a_wakeup_only_to_wait(pair: Pair) -> None:
    pair.server.answers[wire.OP_POLL] = lambda m: (0, wire.POLL_OUT.pack(0, 0))
    file = pair.open()
    assert file.poll(select.POLLIN) == 0
    assert file.poll(select.POLLIN, 0.01) == 0
    flags = [wire.POLL_IN.unpack(m.body)[2] for m in pair.seen(wire.OP_POLL)]
    assert flags[0] == 0
    assert set(flags[1:]) == {1}


def test_a_server_without_poll_is_asked_once(pair: Pair) -> None:
    pair.server.answers[wire.OP_POLL] = lambda m: (errno.ENOSYS, b"")
    file = pair.open()
    for _ in range(2):
        assert file.poll(select.POLLIN) == select.POLLIN
    assert len(pair.seen(wire.OP_POLL)) == 1


def test_a_failing_poll_is_pollerr(pair: Pair) -> None:
    pair.server.answers[wire.OP_POLL] = lambda m: (errno.EIO, b"")
    assert pair.open().poll(select.POLLIN) == select.POLLERR


def test_an_interrupt_is_sent_and_the_client_waits_on(pair: Pair) -> None:
    interrupted = threading.Event()
    pair.server.answers[wire.OP_READ] = lambda m: None
    pair.server.answers[wire.OP_INTERRUPT] = lambda m: interrupted.set()
    call = pair.kernel.start(pair.open().read, 10)
    call.interrupt()
    assert interrupted.wait(60)
    assert not call.done
    (read,), (interrupt,) = pair.seen(wire.OP_READ), pair.seen(wire.OP_INTERRUPT)
    assert interrupt.unique == read.unique | 1
    assert struct.unpack("=Q", interrupt.body) == (read.unique,)
    pair.server.send(read.unique, errno.EINTR)
    with pytest.raises(InterruptedError):
        call.result()
    call.interrupt()  # too late: nothing is sent
    assert len(pair.seen(wire.OP_INTERRUPT)) == 1


def test_an_interrupt_put_off_comes_again(pair: Pair) -> None:
    answers = iter([(errno.EAGAIN, b""), None])
    pair.server.answers[wire.OP_READ] = lambda m: None
    pair.server.answers[wire.OP_INTERRUPT] = lambda m: next(answers)
    call = pair.kernel.start(pair.open().read, 10)
    call.interrupt()
    while len(pair.seen(wire.OP_INTERRUPT)) < 2:
        call.wait(0.001)
    pair.server.send(pair.seen(wire.OP_READ)[0].unique, errno.EINTR)
    with pytest.raises(InterruptedError):
        call.result()


def test_a_server_that_dies_aborts_what_waits() -> None:
    with FakeKernel() as kernel:
        server = Server(kernel)
        server.answers[wire.OP_READ] = lambda m: None
        file = kernel.open()
        call = kernel.start(file.read, 1)
        call.wait_sent()
        server.close()
        with pytest.raises(ConnectionAbortedError):
            call.result()
        with pytest.raises(OSError) as caught:
            file.read(1)
        assert caught.value.errno == errno.ENOTCONN
        with pytest.raises(FileNotFoundError):
            kernel.open()
        assert file.poll() == select.POLLERR


# --- servers that break the rules ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0, b"x" * 11), "11 bytes where 0 to 10 were asked for"),
        ((errno.EIO, b"x"), "came with 1 bytes"),
    ],
)
def test_wrong_answers_to_read(wrong: Pair, answer: tuple[int, bytes], said: str) -> None:
    wrong.server.answers[wire.OP_READ] = lambda m: answer
    with pytest.raises(ProtocolError, match=said):
        wrong.open().read(10)


@pytest.mark.parametrize("body", [b"", b"1234", wire.WRITE_OUT.pack(11, 0), bytes(9)])
def test_wrong_answers_to_write(wrong: Pair, body: bytes) -> None:
    wrong.server.answers[wire.OP_WRITE] = lambda m: (0, body)
    with pytest.raises(ProtocolError):
        wrong.open().write(b"0123456789")


@pytest.mark.parametrize("error", [-1, 512, 4095])
def test_an_errno_that_cannot_be_does_not_answer(wrong: Pair, error: int) -> None:
    wrong.server.answers[wire.OP_READ] = lambda m: (error, b"")
    call = wrong.kernel.start(wrong.open().read, 10)
    while not wrong.kernel.errors:
        call.wait(0.001)
    assert not call.done
    wrong.server.send(wrong.seen(wire.OP_READ)[0].unique, 0, b"at last")
    assert call.result() == b"at last"


def test_a_length_that_is_not_so_does_not_answer(wrong: Pair) -> None:
    wrong.server.answers[wire.OP_READ] = lambda m: wrong.server.send(m.unique, 0, b"x", 99)  # type: ignore[func-returns-value]
    call = wrong.kernel.start(wrong.open().read, 10)
    while not wrong.kernel.errors:
        call.wait(0.001)
    wrong.server.send(wrong.seen(wire.OP_READ)[0].unique, 0, b"x")
    assert call.result() == b"x"


def test_a_second_answer_is_found(wrong: Pair) -> None:
    def twice(message: Message) -> tuple[int, bytes]:
        wrong.server.send(message.unique, 0, b"one")
        return 0, b"two"

    wrong.server.answers[wire.OP_READ] = twice
    assert wrong.open().read(10) == b"one"
    while not wrong.kernel.errors:
        wrong.kernel._reader.join(0.001)
    assert "answered twice?" in str(wrong.kernel.errors[0])


def test_no_answer_is_found(wrong: Pair) -> None:
    wrong.server.answers[wire.OP_READ] = lambda m: None
    file = wrong.open()
    request = wrong.kernel._send(wire.OP_READ, wire.READ_IN.pack(77, 0, 1, 0, 0, 0, 0), 0, 1)
    with pytest.raises(ProtocolError, match=r"not answered within 0\.01 s"):
        wrong.kernel._await(request, 0.01)
    assert file.kernel.errors


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (ioctl_out(0, b"123456789"), "more than there is room for"),
        (ioctl_out(0, bytes(16), wire.IOCTL_RETRY, 1), "retry was asked for in restricted mode"),
    ],
)
def test_wrong_answers_to_ioctl(wrong: Pair, body: bytes, said: str) -> None:
    wrong.server.answers[wire.OP_IOCTL] = lambda m: (0, body)
    with pytest.raises(ProtocolError, match=said):
        wrong.open().ioctl(IOR_8, bytes(8))


@pytest.mark.parametrize(("code", "body"), [(1, b"short"), (2, bytes(8)), (99, b"")])
def test_wrong_notifications_are_found(wrong: Pair, code: int, body: bytes) -> None:
    wrong.open()
    wrong.server.send(0, -code, body)
    while not wrong.kernel.errors:
        wrong.kernel._reader.join(0.001)
    assert "notification" in str(wrong.kernel.errors[0])


def test_a_message_without_a_header_is_found(wrong: Pair) -> None:
    wrong.open()
    wrong.server.socket.send(b"short")
    while not wrong.kernel.errors:
        wrong.kernel._reader.join(0.001)
    assert "no header" in str(wrong.kernel.errors[0])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (wire.CUSE_INIT_OUT.pack(6, 0, 0, 0, 0, 0, 0, 0) + b"DEVNAME=x\0", "protocol major 6"),
        (wire.CUSE_INIT_OUT.pack(7, 38, 0, 0, 0, 0, 0, 0) + b"NAME=x\0", "without a DEVNAME"),
        (wire.CUSE_INIT_OUT.pack(7, 38, 0, 0, 0, 0, 0, 0) + b"DEVNAME=\0", "without a DEVNAME"),
        (b"", "0 bytes where"),
    ],
)
def test_wrong_answers_to_init_are_found(body: bytes, said: str) -> None:
    kernel = FakeKernel()
    with socket.socket(fileno=kernel.server_fd) as server:
        init = Message(server.recv(4096))
        server.send(wire.OUT_HEADER.pack(16 + len(body), 0, init.unique) + body)
        with pytest.raises(ProtocolError, match=said):
            kernel.init()
    with pytest.raises(ProtocolError):
        kernel.close()
