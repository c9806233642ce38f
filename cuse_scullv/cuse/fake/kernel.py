"""FakeKernel: the kernel's end of a CUSE channel, over a socket pair.

Requests go out on the threads of the clients; one reader thread takes the server's messages and
hands each answer to the thread that waits for it, so that many calls can be under way.

Lock order: FakeKernel._lock alone; no lock is held while sending or waiting.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from . import wire
from .file import FakeFile
from .memory import ClientMemory, oserror

T = TypeVar("T")

ANSWER_SECONDS = 60.0  # how long a call waits for its answer before the test is failed
_SOCKET_BUFFER = 1 << 20  # bytes; a message with MAX_REQUEST bytes must fit


class ProtocolError(AssertionError):
    """The server did what the kernel would refuse, or did not answer."""


@dataclass(frozen=True)
class DeviceInfo:
    """What the server said of its device in the answer to CUSE_INIT."""

    name: str
    major: int  # 0: the kernel's choice
    minor: int
    unrestricted: bool
    max_read: int  # bytes
    max_write: int


class _Request:
    """A message that awaits its answer."""

    def __init__(self, unique: int, out_min: int, out_max: int) -> None:
        self.unique = unique
        self.out_min = out_min  # bytes of a good answer, without its header
        self.out_max = out_max
        self.answered = threading.Event()
        self.body = b""
        self.error: Exception | None = None

    def finish(self, body: bytes = b"", error: Exception | None = None) -> None:
        self.body, self.error = body, error
        self.answered.set()


class Blocked(Generic[T]):
    """A system call that runs on a thread of its own: `FakeKernel.start` makes it."""

    def __init__(
        self, kernel: FakeKernel, function: Callable[..., T], arguments: tuple[object, ...]
    ):
        self._kernel = kernel
        self._function = function
        self._arguments = arguments
        self._sent = threading.Event()
        self._unique = 0
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fake client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._kernel._local.call = self
        try:
            self._value = self._function(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - it belongs to who asks for the result
            self._error = error
        finally:
            self._sent.set()

    def _sending(self, unique: int) -> None:
        self._unique = unique
        self._sent.set()

    def wait_sent(self, timeout: float = ANSWER_SECONDS) -> None:
        """Returns when the server has been sent the first request of the call."""
        if not self._sent.wait(timeout):
            raise ProtocolError("the call sent nothing to the server")

    def interrupt(self) -> None:
        """A signal hits the client: the server is sent INTERRUPT, and the client waits on."""
        self.wait_sent()
        self._kernel._interrupt(self._unique)

    @property
    def done(self) -> bool:
        """The call has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout: float) -> bool:
        """True if the call ended within `timeout` seconds."""
        self._thread.join(timeout)
        return self.done

    def result(self, timeout: float = ANSWER_SECONDS) -> T:
        """What the call returned or raised; ProtocolError if it does not end."""
        if not self.wait(timeout):
            raise ProtocolError(f"the call has not ended within {timeout:g} s")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class FakeKernel:
    """The kernel's end of one CUSE channel. CUSE_INIT is under way as soon as it is made."""

    pid: int | None = None  # of the caller, for files opened from now on; None: the calling thread
    uid: int
    gid: int

    def __init__(self, *, minor: int = wire.PROTOCOL_MINOR, answers_again: bool = False) -> None:
        """`minor`: of the protocol. `answers_again`: the server may answer twice, as one does that
        finishes what another has left; the kernel says ENOENT to that, which a socket cannot."""
        self._answers_again = answers_again
        self.memory = ClientMemory()
        self.uid, self.gid = os.getuid(), os.getgid()
        self.unrestricted = False  # as the server asked for in the answer to CUSE_INIT
        self.errors: list[ProtocolError] = []
        self.requests = 0  # sent so far, CUSE_INIT and INTERRUPT not counted
        self._local = threading.local()
        self._lock = threading.Lock()  # of the fields below
        self._pending: dict[int, _Request] = {}
        self._unique = 0
        self._kh = 0
        self._wakeups: dict[int, list[threading.Event]] = {}  # by kh: of those who poll
        self._no_poll = False
        self._connected = True
        self._info: DeviceInfo | None = None
        self._sock, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server: socket.socket | None = server
        for end in (self._sock, server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._server_fd = server.fileno()
        self._reader = threading.Thread(target=self._read_answers, name="fake kernel", daemon=True)
        self._reader.start()
        offer = wire.CUSE_INIT_IN.pack(wire.PROTOCOL_MAJOR, minor, 0, wire.CUSE_UNRESTRICTED_IOCTL)
        self._init = self._send(
            wire.OP_CUSE_INIT, offer, wire.CUSE_INIT_OUT.size, wire.CUSE_INIT_OUT.size + 4096
        )

    def __enter__(self) -> FakeKernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except ProtocolError:
            if error is None:  # else the test has its failure already
                raise

    @property
    def server_fd(self) -> int:
        """The server's end, in place of an open /dev/cuse. Whoever takes it closes it."""
        if self._server is not None:
            self._server.detach()
            self._server = None
        return self._server_fd

    def init(self, timeout: float = ANSWER_SECONDS) -> DeviceInfo:
        """Waits for the answer to CUSE_INIT and returns what it says. OSError, ProtocolError."""
        if self._info is None:
            body = self._await(self._init, timeout)
            self._info = self._parse_init(body)
            self.unrestricted = self._info.unrestricted
        return self._info

    def _parse_init(self, body: bytes) -> DeviceInfo:
        major, _, _, flags, max_read, max_write, dev_major, dev_minor = (
            wire.CUSE_INIT_OUT.unpack_from(body)
        )
        if major != wire.PROTOCOL_MAJOR:
            raise self._wrong(f"CUSE_INIT answered with protocol major {major}")
        items = body[wire.CUSE_INIT_OUT.size :].split(b"\0")
        names = [item[8:] for item in items if item.startswith(b"DEVNAME=")]
        if len(names) != 1 or not names[0]:
            raise self._wrong(f"CUSE_INIT answered without a DEVNAME: {items}")
        return DeviceInfo(
            name=os.fsdecode(names[0]),
            major=dev_major,
            minor=dev_minor,
            unrestricted=bool(flags & wire.CUSE_UNRESTRICTED_IOCTL),
            max_read=max(max_read, 4096),
            max_write=max(max_write, 4096),
        )

    def open(self, flags: int = os.O_RDWR) -> FakeFile:
        """open(2) of the node. OSError as the server says, ENOENT once the server is gone."""
        self.init()
        if not self._connected:
            raise oserror(errno.ENOENT)
        file = FakeFile(self, flags)
        file._open()
        return file

    def start(self, function: Callable[..., T], *arguments: object) -> Blocked[T]:
        """Runs a system call that may block on a thread of its own: `start(file.read, 10)`."""
        return Blocked(self, function, arguments)

    def abort(self) -> None:
        """Ends the channel from the kernel's side, as /sys/class/cuse/NAME/abort does."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._reader.join(ANSWER_SECONDS)

    def close(self) -> None:
        """Ends the channel and raises the first ProtocolError that was seen."""
        self.abort()
        self._sock.close()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self.errors:
            raise self.errors[0]

    # --- messages ---------------------------------------------------------------------------

    def _send(
        self,
        opcode: int,
        body: bytes,
        out_min: int,
        out_max: int,
        caller: tuple[int | None, int, int] | None = None,
    ) -> _Request:
        """Sends a request whose answer has `out_min` … `out_max` bytes after its header."""
        pid, uid, gid = caller or (0, 0, 0)
        with self._lock:
            if not self._connected:
                raise oserror(errno.ENOTCONN)
            self._unique += wire.UNIQUE_STEP
            request = _Request(self._unique, out_min, out_max)
            self._pending[request.unique] = request
            self.requests += opcode != wire.OP_CUSE_INIT
        if pid is None:
            pid = threading.get_native_id()
        length = wire.IN_HEADER.size + len(body)
        header = wire.IN_HEADER.pack(length, opcode, request.unique, 0, uid, gid, pid, 0, 0)
        self._transmit(header + body)
        call: Blocked[object] | None = getattr(self._local, "call", None)
        if call is not None:
            call._sending(request.unique)
        return request

    def _transmit(self, message: bytes) -> None:
        # A server that ended while this is sent is found out by the reader, which aborts it.
        try:
            self._sock.send(message)
        except BrokenPipeError:  # it had ended before
            raise oserror(errno.ENOTCONN) from None

    def _await(self, request: _Request, timeout: float = ANSWER_SECONDS) -> bytes:
        if not request.answered.wait(timeout):
            raise self._wrong(f"request {request.unique} was not answered within {timeout:g} s")
        if request.error is not None:
            raise request.error
        return request.body

    def _interrupt(self, unique: int) -> None:
        with self._lock:
            if unique not in self._pending:
                return  # answered meanwhile
        length = wire.IN_HEADER.size + wire.INTERRUPT_IN.size
        number = unique | wire.INTERRUPT_BIT
        header = wire.IN_HEADER.pack(length, wire.OP_INTERRUPT, number, 0, 0, 0, 0, 0, 0)
        with contextlib.suppress(OSError):  # there is no server to tell
            self._transmit(header + wire.INTERRUPT_IN.pack(unique))

    def _wrong(self, what: str) -> ProtocolError:
        error = ProtocolError(what)
        with self._lock:
            self.errors.append(error)
        return error

    def _read_answers(self) -> None:
        """The reader thread: what the server writes."""
        while True:
            try:
                message = self._sock.recv(2 * wire.MAX_REQUEST)
            except OSError:
                break
            if not message:
                break
            self._answer(message)
        with self._lock:
            self._connected = False
            pending, self._pending = self._pending, {}
            wakeups = [event for events in self._wakeups.values() for event in events]
        for request in pending.values():
            request.finish(error=oserror(errno.ECONNABORTED))
        for wakeup in wakeups:
            wakeup.set()

    def _answer(self, message: bytes) -> None:
        """One message of the server. The order of the checks is fuse_dev_do_write's."""
        if len(message) < wire.OUT_HEADER.size:
            self._wrong(f"a message of {len(message)} bytes has no header")
            return
        length, error, unique = wire.OUT_HEADER.unpack_from(message)
        body = message[wire.OUT_HEADER.size :]
        if length != len(message):
            self._wrong(f"a message of {len(message)} bytes says it has {length}")
        elif unique == 0:
            self._notified(error, body)
        elif not -wire.ERRNO_LIMIT < error <= 0:
            self._wrong(f"request {unique} answered with error {error}")
        elif unique & wire.INTERRUPT_BIT:
            if error == -errno.EAGAIN:  # the server had not seen the request yet
                self._interrupt(unique & ~wire.INTERRUPT_BIT)
        else:
            self._complete(unique, error, body)

    def _complete(self, unique: int, error: int, body: bytes) -> None:
        with self._lock:
            request = self._pending.pop(unique, None)
        if request is None and self._answers_again:
            return
        if request is None:
            self._wrong(f"an answer to request {unique}, which awaits none (answered twice?)")
        elif error and body:
            wrong = self._wrong(f"error {error} came with {len(body)} bytes")
            request.finish(error=wrong)
        elif error:
            request.finish(error=oserror(-error))
        elif not request.out_min <= len(body) <= request.out_max:
            wrong = self._wrong(
                f"an answer of {len(body)} bytes where"
                f" {request.out_min} to {request.out_max} were asked for"
            )
            request.finish(error=wrong)
        else:
            request.finish(body)

    def _notified(self, code: int, body: bytes) -> None:
        if code != wire.NOTIFY_CODE_POLL or len(body) != wire.NOTIFY_POLL.size:
            self._wrong(f"a notification with code {code} and {len(body)} bytes")
            return
        (kh,) = wire.NOTIFY_POLL.unpack(body)
        with self._lock:
            wakeups = list(self._wakeups.get(kh, ()))
        for wakeup in wakeups:
            wakeup.set()

    @contextlib.contextmanager
    def _wakeup_of(self, kh: int) -> Iterator[threading.Event]:
        """An event that notifications for `kh`, and the end of the server, set."""
        wakeup = threading.Event()
        with self._lock:
            self._wakeups.setdefault(kh, []).append(wakeup)
        try:
            yield wakeup
        finally:
            with self._lock:
                self._wakeups[kh].remove(wakeup)
