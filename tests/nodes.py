"""The same device seen through a fake kernel and through a real node.

A test takes the fixture `serve` (conftest.py) and runs over both. What it opens is a FakeFile of
cuse_scullv.cuse.testing or a RealFile: both have read, write, ioctl and close, as the system calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from cuse_scullv import client, cuse, ioctl
from cuse_scullv.backing import Backing
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.filters import Filters
from cuse_scullv.cuse.filterspec import parse_filters
from cuse_scullv.cuse.testing import Bad, FakeKernel, IoctlResult
from cuse_scullv.params import Params
from cuse_scullv.server.daemon import Settings, make_devices
from shell import CLI

CUSE = Path("/dev/cuse")
NAME = "testscullv"
# Of the servers that are kept: others run beside them.
POOL_NAME = "poolscullv"
# In no process's memory; the oracle's recordings use the same.
BAD_ADDRESS = 16
# For a server to start or to stop, on a machine that may be very slow.
SERVER_S = 90.0

_libc = ctypes.CDLL(None, use_errno=True)
for _call in ("read", "write"):
    getattr(_libc, _call).argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    getattr(_libc, _call).restype = ctypes.c_ssize_t
_libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)


def has_cuse() -> bool:
    """Whether nodes can be served here."""
    return os.access(CUSE, os.R_OK | os.W_OK)


class OpenFile(Protocol):
    """An open device. Every method raises OSError as its system call does."""

    def read(self, size: int) -> bytes: ...
    def write(self, data: bytes | bytearray | memoryview | Bad) -> int: ...
    def ioctl(self, cmd: int, arg: int | bytes | bytearray | Bad | None = 0) -> IoctlResult: ...
    def close(self) -> None: ...


def seek(file: OpenFile, offset: int, whence: int = os.SEEK_SET) -> int:
    """The new position."""
    return ioctl.unpack_seek(file.ioctl(ioctl.SEEK, ioctl.pack_seek(offset, whence)).data)


def info(file: OpenFile) -> ioctl.Information:
    return ioctl.Information.unpack(file.ioctl(ioctl.INFO, bytes(ioctl.INFO >> 16 & 0x3FFF)).data)


def pointer(value: int) -> bytes:
    """An int that is passed by pointer."""
    return value.to_bytes(4, "little", signed=True)


@contextlib.contextmanager
def fails(code: int) -> Iterator[None]:
    """Asserts that the block raises an OSError of that errno."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code


def number(result: IoctlResult) -> int:
    """The int that came back through the pointer."""
    return int.from_bytes(result.data, "little", signed=True)


class RealFile:
    """A file descriptor of a node."""

    def __init__(self, path: Path, flags: int) -> None:
        self.fd = os.open(path, flags | os.O_CLOEXEC)

    def __enter__(self) -> RealFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def write(self, data: bytes | bytearray | memoryview | Bad) -> int:
        if isinstance(data, Bad):
            return _checked(_libc.write(self.fd, BAD_ADDRESS, 1))
        return os.write(self.fd, data)

    def ioctl(self, cmd: int, arg: int | bytes | bytearray | Bad | None = 0) -> IoctlResult:
        if isinstance(arg, int):
            return IoctlResult(_checked(_libc.ioctl(self.fd, cmd, arg)), b"")
        if isinstance(arg, Bad) or arg is None:
            return IoctlResult(_checked(_libc.ioctl(self.fd, cmd, BAD_ADDRESS)), b"")
        room = ctypes.create_string_buffer(bytes(arg), max(len(arg), cmd >> 16 & 0x3FFF))
        result = _checked(_libc.ioctl(self.fd, cmd, ctypes.addressof(room)))
        return IoctlResult(result, room.raw if cmd >> 31 else b"")

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def free_major() -> int:
    """A major number that no driver of this kernel has (proc(5): /proc/devices)."""
    taken = {
        int(line.split()[0])
        for line in Path("/proc/devices").read_text().splitlines()
        if line[:3].strip().isdigit()
    }
    # Those that are left to experiments come first (Documentation/admin-guide/devices.txt).
    return next(major for major in (*range(240, 255), *range(384, 512)) if major not in taken)


class Served(Protocol):
    """Devices that are being served, by whom ever."""

    def open(self, flags: int = os.O_RDWR, dev: int = 0) -> Any: ...


class FakeServer:
    """Devices served in this process, each to a fake kernel of its own."""

    def __init__(self, stack: contextlib.ExitStack, **options: Any) -> None:
        workers = cuse.Workers(threads=options.pop("threads", 2))
        settings = to_settings(**options)
        self.devices = make_devices(settings)
        self.kernels: list[FakeKernel] = []
        self.channels: list[cuse.Channel] = []
        for device in self.devices:
            stack.callback(device.close)
        for device in self.devices:
            kernel = stack.enter_context(FakeKernel())
            device.filter(Filters(settings.filters))
            channel = cuse.Channel(
                device, fd=kernel.server_fd, workers=workers, filters=device.filters or ()
            )
            stack.enter_context(channel)
            device.statistics = channel.statistics
            kernel.init()
            self.kernels.append(kernel)
            self.channels.append(channel)

    def open(self, flags: int = os.O_RDWR, dev: int = 0) -> Any:
        return self.kernels[dev].open(flags)


class RealServer:
    """A `cuse-scullv serve` of its own, started by `under` if that says so."""

    def __init__(self, *arguments: str, name: str = NAME, under: Sequence[str] = ()) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self.arguments = arguments
        self.name = name
        words = [*under, *CLI, "serve", "--name", name, *arguments]
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        self._errors: list[bytes] = []
        self._announced = threading.Event()
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        if not self._announced.wait(SERVER_S) or b"serving" not in self.errors:
            self.process.kill()
            raise AssertionError(f"{words} did not start:\n{self.errors.decode()}")

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)
            if b"serving" in line:
                self._announced.set()
        self._announced.set()

    @property
    def errors(self) -> bytes:
        """What it has said on stderr so far."""
        return b"".join(self._errors)

    @property
    def paths(self) -> list[Path]:
        """Its nodes."""
        numbered = [Path(f"/dev/{self.name}{n}") for n in range(self.device_count)]
        return numbered if len(numbered) > 1 else [Path(f"/dev/{self.name}")]

    @property
    def path(self) -> Path:
        return self.paths[0]

    @property
    def device_count(self) -> int:
        if "--devices" not in self.arguments:
            return 1
        return int(self.arguments[self.arguments.index("--devices") + 1])

    def open(self, flags: int = os.O_RDWR, dev: int = 0) -> Any:
        return RealFile(self.paths[dev], flags)

    @property
    def worker(self) -> int:
        """The process that serves, a child of the one that was started. 0: there is none
        just now."""
        return child_named(self.process.pid, "scullv-worker")

    @property
    def spare(self) -> int:
        """The process that follows it. 0: there is none."""
        return child_named(self.process.pid, "scullv-spare")

    def kill_worker(self) -> None:
        """Returns when there is another."""
        worker = self.worker
        os.kill(worker, signal.SIGKILL)
        until(lambda: self.worker not in (0, worker))

    def stop(self) -> int:
        """Ends it as a service manager would; its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(SERVER_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(SERVER_S)
        self.process.stderr.close()  # type: ignore[union-attr]
        self._log.close()
        return status

    def check_log(self) -> None:
        """Fails if the server said more than that it serves."""
        said = [line for line in self._errors if b"serving" not in line]
        assert not said, b"".join(said).decode()


def to_settings(**options: Any) -> Settings:
    """Settings from the options of `serve`, as Python has them: devices=2, order=0, ldd3=True."""
    params = {key: options.pop(key) for key in ("order", "quantum", "qset") if key in options}
    preset, ldd3 = options.pop("preset", "scullv"), options.pop("ldd3", False)
    mapped, backing = options.pop("map", None), options.pop("backing", "anon")
    return Settings(
        name=NAME,
        backing=Backing.of_map(mapped) if mapped else Backing.of(backing),
        params=Params.of(preset, ldd3=ldd3, **params),
        filters=tuple(parse_filters(options.pop("filters", ()))),
        **{"max_bytes": 1 << 30, **options},
    )


def to_arguments(**options: Any) -> tuple[str, ...]:
    """The same options for the command line."""
    words: list[str] = []
    for key, value in {"max_bytes": 1 << 30, **options}.items():
        option = f"--{key.replace('_', '-')}"
        if key == "filters":
            words += [word for spec in value for word in ("--filter", spec)]
        elif value is True:
            words.append(option)
        elif value is not False and value is not None:
            words += [option, str(value)]
    return tuple(words)


@dataclass
class _Kept:
    """A server of the pool, and the parameters that it started with."""

    server: RealServer
    quantum: int
    qset: int


class RealPool:
    """Servers that are kept from test to test: starting one takes a second or more in a guest."""

    MOST = 10

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], _Kept] = {}  # by arguments, the latest used last
        self._made = 0

    def get(self, **options: Any) -> RealServer:
        """A server as if it had just been started with `options`."""
        arguments = to_arguments(**options)
        kept = self._kept.pop(arguments, None)
        if kept is not None and kept.server.process.poll() is not None:
            self._end(kept)
            kept = None
        if kept is None:
            kept = self._start(arguments)
        self._kept[arguments] = kept
        self._reset(kept)
        return kept.server

    def _start(self, arguments: tuple[str, ...]) -> _Kept:
        while len(self._kept) >= self.MOST:
            self._end(self._kept.pop(next(iter(self._kept))))
        self._made += 1
        server = RealServer(*arguments, name=f"{POOL_NAME}{self._made}n")
        with client.open(server.path) as file:
            state = file.info()
        return _Kept(server, state.pending_quantum, state.pending_qset)

    @staticmethod
    def _reset(kept: _Kept) -> None:
        with client.open(kept.server.path, "r+") as file:
            file.set("quantum", kept.quantum)
            file.set("qset", kept.qset)
        for path in kept.server.paths:
            with client.open(path, "r+") as file:
                file.trim()

    @staticmethod
    def _end(kept: _Kept) -> None:
        """It must have had nothing to complain of."""
        status = kept.server.stop()
        assert status == 0, kept.server.errors.decode()
        kept.server.check_log()

    def stop(self) -> None:
        """Ends all servers."""
        while self._kept:
            self._end(self._kept.popitem()[1])


Serve = Callable[..., Served]
Open = Callable[..., Any]
OpenDevice = Callable[[cuse.Device], Open]


@contextlib.contextmanager
def fake_serve() -> Iterator[Serve]:
    """A function that serves to fake kernels until the context ends."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: FakeServer(stack, **options)


@contextlib.contextmanager
def opener(kind: str) -> Iterator[OpenDevice]:
    """A function that serves a device and returns a function that opens it, of kind "fake" or on a
    real node: `open_device(device)(os.O_RDWR)`. What was opened is closed at the end."""
    with contextlib.ExitStack() as stack:

        def real(device: cuse.Device) -> Open:
            path = stack.enter_context(cuse.Channel(device)).path
            assert path is not None
            return lambda flags=os.O_RDWR: stack.enter_context(RealFile(path, flags))

        def fake(device: cuse.Device) -> Open:
            kernel = stack.enter_context(testing.serve(device))
            return lambda flags=os.O_RDWR: stack.enter_context(kernel.open(flags))

        yield fake if kind == "fake" else real


def child_named(parent: int, name: str) -> int:
    """The child of that name. 0: there is none just now."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == f"{name}\n":
                return int(child)
    return 0


def until(what: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)
