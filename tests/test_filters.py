"""Filters: what befalls requests before they are answered, in C and in front of Python alike."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import client, cuse
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.filter_ioctl import ADD, NEXT, REMOVE, Seen
from cuse_scullv.cuse.filtering import Filtering
from cuse_scullv.cuse.filters import Filters
from cuse_scullv.cuse.filterspec import KINDS, parse_filter
from cuse_scullv.ioctl import FLAG_PASSTHROUGH
from nodes import FakeServer, RealServer, until
from shell import CLI, NOBODYS_CLI, inside, out, refused, run
from views import FilesServer, served

LONG = "delay:ms=3600000"
WORKER = cuse.IO("z", 1)


class Memory(cuse.Device):
    """What was written last, read from its beginning."""

    content = b""

    def read(self, file: cuse.File, size: int) -> bytes:
        return self.content[:size].ljust(size, b"\0")

    def write(self, file: cuse.File, data: memoryview) -> int:
        self.content = bytes(data)
        return len(data)

    def poll(self, file: cuse.File) -> int:
        return select.POLLIN | select.POLLOUT

    @cuse.ioctl(cuse.IOR("m", 1, 4))
    def length(self, file: cuse.File) -> bytes:
        return len(self.content).to_bytes(4, "little")


class Coroutines(Memory):
    async def read(self, file: cuse.File, size: int) -> bytes:  # type: ignore[override]
        return super().read(file, size)

    async def write(self, file: cuse.File, data: memoryview) -> int:  # type: ignore[override]
        return super().write(file, data)

    async def poll(self, file: cuse.File) -> int:  # type: ignore[override]
        return super().poll(file)

    @cuse.ioctl(cuse.IOR("m", 1, 4))
    async def length(self, file: cuse.File) -> bytes:  # type: ignore[override]
        return len(self.content).to_bytes(4, "little")


class Pooled(Memory):
    def __init__(self, name: str) -> None:
        super().__init__(name, timeout=30)


class Unrestricted(Memory):
    unrestricted = True


@dataclass
class Board:
    """A device that is served to a fake kernel, and its filters."""

    kernel: testing.FakeKernel
    channel: cuse.Channel

    @property
    def filters(self) -> Filters:
        return self.channel.filters

    def open(self, flags: int = os.O_RDWR) -> testing.FakeFile:
        return self.kernel.open(flags)

    def acted(self) -> list[int]:
        return [seen.acted for seen in self.filters]

    def swap(self, *specs: str) -> None:
        """These in place of all that there are."""
        for seen in list(self.filters):
            self.filters.remove(seen.number)
        for spec in specs:
            self.filters.add(spec)


@contextlib.contextmanager
def scullv() -> Iterator[Board]:
    with contextlib.ExitStack() as stack:
        server = FakeServer(stack, threads=1)
        yield Board(server.kernels[0], server.channels[0])


@contextlib.contextmanager
def program(kind: type[cuse.Device]) -> Iterator[Board]:
    with testing.FakeKernel() as kernel, cuse.Channel(kind("x"), fd=kernel.server_fd) as channel:
        kernel.init()
        yield Board(kernel, channel)


BOARDS: dict[str, Callable[[], contextlib.AbstractContextManager[Board]]] = {
    "C": scullv,
    "threads": lambda: program(Memory),
    "loop": lambda: program(Coroutines),
    "pool": lambda: program(Pooled),
}


@pytest.fixture(params=list(BOARDS))
def board(request: pytest.FixtureRequest, quiet: None) -> Iterator[Board]:
    """Reads and writes are answered in C, or by Python on threads, on a loop, in a pool."""
    with BOARDS[request.param]() as board:
        yield board


def errors(call: Callable[[], object], times: int, code: int = errno.EIO) -> int:
    """How many of so many calls fail, all with `code`."""
    results = [attempt(call) for _ in range(times)]
    assert set(results) <= {0, code}
    return sum(result != 0 for result in results)


def attempt(call: Callable[[], object]) -> int:
    """The errno that it fails with; 0: it does not."""
    try:
        call()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


@contextlib.contextmanager
def fails(code: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code


# --- words ----------------------------------------------------------------------------------------

WRONG = [
    ("", "no filter '': type"),
    ("eror", "no filter 'eror': type error, "),
    ("stuckpoll", "no filter 'stuckpoll': type stuck-poll, "),
    ("error:", "filter 'error' has no key '': type "),
    ("error:errn=EIO", "filter 'error' has no key 'errn': type errno, "),
    ("error:errno", "errno has no value: type errno=VALUE"),
    ("error:errno=EOI", "errno=EOI: type the name of an errno as in errno(3), or 1 to 511"),
    ("error:errno=512", "1 to 511"),
    ("error:errno=0", "1 to 511"),
    ("error:op=raed", "op=raed: type read, "),
    ("error:op=read,op=write", "op was given twice"),
    ("error:rate=0", "rate=0: type more than 0%"),
    ("error:rate=101%", "at most 100%"),
    ("error:rate=nan", "type more than 0%"),
    ("error:rate=x%", "type more than 0%"),
    ("error:count=0", "count=0: type a number from 1"),
    ("error:count=-1", "type a number from 1"),
    ("error:seed=18446744073709551616", "type a number from 0"),
    ("error:after=soon", "after=soon: type bytes or a time"),
    ("error:file=" + "x" * 300, "type a path of at most 255 bytes"),
    ("delay", "filter 'delay' needs ms: type delay:ms=5"),
    ("delay:ms=fast", "type milliseconds"),
    ("delay:ms=3600001", "at most 3600000"),
    ("delay:ms=1,jitter=-1", "jitter=-1: type milliseconds"),
    ("rate", "filter 'rate' needs bytes: type rate:bytes=10M"),
    ("rate:bytes=0", "type 1 or more bytes"),
    ("rate:bytes=10X", "'10X' is not a size"),
    ("rate:bytes=1M,op=ioctl", "op=ioctl: type read, write, or read+write"),
    ("short:op=open", "type read, write, or read+write"),
    ("readonly:rate=1%", "filter 'readonly' has no key 'rate': type "),
    ("corrupt:bits=0", "bits=0: type a number from 1"),
    ("error:seed=1,count=2,file=/" + "é" * 130, "at most 255 bytes"),
]


@pytest.mark.parametrize(("spec", "said"), WRONG, ids=[spec[:40] for spec, _ in WRONG])
def test_a_filter_that_is_none_is_said_in_a_line(spec: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_filter(spec)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "type " in str(caught.value)


def test_all_filters_are_offered_the_nearest_first() -> None:
    with pytest.raises(ValueError) as caught:
        parse_filter("dealy")
    offered = str(caught.value).partition("type ")[2].split(", ")
    assert offered[0] == "delay"
    assert sorted(offered) == sorted(KINDS)


def test_a_seed_is_chosen_where_chance_has_a_say() -> None:
    assert str(parse_filter("error:rate=1%,seed=5")) == "error:rate=1%,seed=5"
    assert str(parse_filter("error")) == "error"
    here = str(parse_filter("error:file=here,count=2"))
    assert here == f"error:file={Path.cwd()}/here,count=2"
    chosen = {str(parse_filter("short")) for _ in range(3)}
    assert len(chosen) == 3
    assert all(str(parse_filter(text)) == text for text in chosen)


def test_what_a_channel_does_not_take() -> None:
    with pytest.raises(ValueError, match="no filter 'no'"):
        cuse.Channel(Memory("x"), filters=["no"])
    with pytest.raises(TypeError, match="a list of strings"):
        cuse.Channel(Memory("x"), filters="readonly")
    with pytest.raises(ValueError, match="no filter 'no'"):
        cuse.serve(Memory("x"), filters=["no"])
    with fails(errno.ENOSPC):
        Filters(["readonly"] * 17)


# --- what they do ---------------------------------------------------------------------------------


@pytest.mark.fake
def test_errors_come_by_a_chance_that_the_seed_repeats(board: Board) -> None:
    with board.open() as file:
        for _ in range(2):
            board.swap("error:rate=10%,seed=7,op=write")
            assert errors(lambda: file.write(b"x"), 1000) == 98
            assert board.acted() == [98]
        assert errors(lambda: file.read(1), 10) == 0
        board.swap("error:errno=ENXIO,op=read,count=3")
        assert errors(lambda: file.read(1), 10, errno.ENXIO) == 3
        board.swap("eintr:op=read,count=1")
        assert errors(lambda: file.read(1), 10, errno.EINTR) == 1
    assert board.channel.statistics().errors == 2 * 98 + 3 + 1


@pytest.mark.fake
def test_what_is_short_is_as_long_as_it_says(board: Board) -> None:
    with board.open() as file:
        board.swap("short:seed=1")
        assert file.write(b"a" * 1000) == 546
        assert file.write(b"b" * 1000) == 242
        board.swap("short:bytes=10,op=read")
        assert len(file.read(1000)) in (0, 10)  # scullv's position is past all
        assert file.write(b"c" * 1000) == 1000


def bits(one: bytes, other: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


@pytest.mark.fake
@pytest.mark.parametrize("size", [100, 128 << 10])
def test_bits_change_on_the_way_in_or_out(board: Board, size: int) -> None:
    data = os.urandom(size)

    def written_and_read(repeat: int) -> bytes:
        with board.open(os.O_WRONLY) as file:
            for _ in range(repeat):  # quanta are laid out for a write that is expected
                assert file.write(data) == size
        with board.open(os.O_RDONLY) as file:
            for _ in range(repeat):
                got = file.read(size)
        return got

    assert written_and_read(1) == data
    board.swap("corrupt:bits=1,op=read,seed=1")
    assert bits(written_and_read(1), data) == 1
    board.swap()
    with board.open(os.O_RDONLY) as file:
        assert file.read(size) == data  # it was not what is kept that changed
    board.swap("corrupt:bits=1,op=write,seed=1")
    assert bits(written_and_read(3), data) == 1
    board.swap()
    with board.open(os.O_RDONLY) as file:
        assert bits(file.read(size), data) == 1


@pytest.mark.fake
def test_readonly_keeps_what_there_is(board: Board) -> None:
    with board.open() as writer:
        writer.write(b"kept")
        board.swap("readonly")
        for flags in (os.O_WRONLY, os.O_RDWR):
            with fails(errno.EROFS):
                board.open(flags)
        with fails(errno.EROFS):
            writer.write(b"lost")
    with board.open(os.O_RDONLY) as file:
        assert file.read(4) == b"kept"


@pytest.mark.fake
def test_a_device_hangs_up_for_good(board: Board) -> None:
    with board.open() as file:
        board.swap("hangup:after=100")
        assert file.write(bytes(100)) == 100
        for call in (lambda: file.write(b"x"), lambda: file.read(1), board.open):
            with fails(errno.ENODEV):
                call()
        assert file.poll() == select.POLLERR | select.POLLHUP
        board.swap()
        assert file.write(b"x") == 1


@pytest.mark.fake
@pytest.mark.parametrize("kind", [Memory, Coroutines])
def test_pollers_wake_when_filters_change(kind: type[cuse.Device], quiet: None) -> None:
    with program(kind) as board, board.open() as file:
        board.swap("stuck-poll")
        assert file.poll() == 0
        poller = board.kernel.start(file.poll, select.POLLIN, 20)
        assert not poller.wait(0.05)
        board.swap()
        assert poller.result() == select.POLLIN
        board.swap("stuck-poll", "hangup:after=1")
        poller = board.kernel.start(file.poll, select.POLLIN, 20)
        assert not poller.wait(0.05)
        board.filters.remove(next(iter(board.filters)).number)
        assert poller.result() == select.POLLIN
        file.read(1)
        with fails(errno.ENODEV):
            file.read(1)
        assert file.poll() == select.POLLERR | select.POLLHUP


@pytest.mark.fake
def test_filters_come_in_order(board: Board) -> None:
    with board.open() as file:
        board.swap("delay:ms=30", "error:op=write", LONG)
        begun = time.monotonic()
        with fails(errno.EIO):
            file.write(b"x")
        assert 0.03 <= time.monotonic() - begun < 10
        assert board.acted() == [1, 1, 0]
        board.swap("error:op=write", LONG)
        assert errors(lambda: file.write(b"x"), 5) == 5


# --- delays ---------------------------------------------------------------------------------------


@pytest.mark.fake
def test_who_waits_holds_nobody_up(board: Board) -> None:
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(board.open()) for _ in range(30)]
        board.swap(LONG.replace("delay:", "delay:count=29,"))
        calls = [board.kernel.start(file.write, b"x") for file in files[:29]]
        until(lambda: board.acted() == [29])
        begun = time.monotonic()
        assert files[29].write(b"x") == 1
        with board.open():
            pass
        assert time.monotonic() - begun < 5
        assert not any(call.done for call in calls)
        board.swap()  # they go on at once
        assert [call.result(10) for call in calls] == [1] * 29


@pytest.mark.fake
def test_who_waits_can_be_interrupted(board: Board) -> None:
    with board.open() as file, board.open() as other:
        board.swap(LONG)
        calls = [board.kernel.start(one.write, b"x") for one in (file, other)]
        until(lambda: board.acted() == [2])
        calls[0].interrupt()
        with fails(errno.EINTR):
            calls[0].result(10)
        assert not calls[1].done
        calls[1].interrupt()
        with fails(errno.EINTR):
            calls[1].result(10)


@pytest.mark.fake
def test_an_interrupt_is_heeded_whenever_it_comes(board: Board) -> None:
    with board.open() as file:
        board.swap(LONG)
        for _ in range(30):
            call = board.kernel.start(file.write, b"x")
            call.interrupt()  # the request may not have been read yet
            with fails(errno.EINTR):
                call.result(10)


@pytest.mark.fake
@pytest.mark.parametrize("name", list(BOARDS))
def test_the_end_of_the_channel_ends_all_that_wait(name: str) -> None:
    with BOARDS[name]() as board:
        board.swap(LONG)
        file = board.open()
        calls = [board.kernel.start(file.write, b"x") for _ in range(5)]
        until(lambda: board.acted() == [5])
        begun = time.monotonic()
        board.channel.close()
        assert time.monotonic() - begun < 5
        for call in calls:
            with pytest.raises(OSError):
                call.result(10)


@pytest.mark.fake
def test_a_rate_is_kept(board: Board) -> None:
    with board.open() as file:
        board.swap("rate:bytes=1M")
        begun = time.monotonic()
        for _ in range(10):
            assert file.write(bytes(16 << 10)) == 16 << 10
        assert 0.156 <= time.monotonic() - begun < 1.5
        assert board.acted() == [10]


# --- who may change them --------------------------------------------------------------------------


def pack(number: int = 0, text: str = "") -> bytes:
    return Seen(number, text).pack()


def listed(file: Any) -> list[str]:
    found = [Seen(0, "")]
    with fails(errno.ENOENT):
        while True:
            found.append(Seen.unpack(file.ioctl(NEXT, pack(found[-1].number)).data))
    return [seen.text for seen in found[1:]]


@pytest.mark.fake
@pytest.mark.parametrize("name", [*BOARDS, "unrestricted"])
def test_filters_are_changed_by_ioctl_and_never_in_the_way(name: str, quiet: None) -> None:
    boards = {**BOARDS, "unrestricted": lambda: program(Unrestricted)}
    with boards[name]() as board:
        board.filters.is_admin = lambda pid: True
        file = board.open(os.O_WRONLY | os.O_RDWR)
        for text in ("error:op=open", "error:op=ioctl", "hangup"):
            file.ioctl(ADD, pack(text=text))
        with fails(errno.EIO):
            board.open()
        with board.open(os.O_WRONLY | os.O_RDWR) as other:
            assert listed(other) == ["error:op=open", "error:op=ioctl", "hangup"]
            with fails(errno.EINVAL):
                other.ioctl(ADD, pack(text="eror"))
            with fails(errno.ENOENT):
                other.ioctl(REMOVE, pack(9))
            for number in (1, 2, 3):
                other.ioctl(REMOVE, pack(number))
            assert listed(other) == []
        board.open().close()
        board.filters.is_admin = lambda pid: False
        for command in (ADD, REMOVE):
            with fails(errno.EPERM):
                file.ioctl(command, pack(1, "readonly"))
        file.close()


@pytest.mark.fake
def test_the_kernels_own_io_is_no_filters(quiet: None) -> None:
    with contextlib.ExitStack() as stack:
        server = FakeServer(stack)
        server.devices[0].shared.is_admin = lambda pid: True
        server.devices[0].passthrough = True
        with server.open() as file, fails(errno.EOPNOTSUPP):
            file.ioctl(ADD, pack(text="readonly"))


@pytest.mark.fake
def test_filters_change_under_load(board: Board) -> None:
    """Every request ends, in one of the ways that there are, while filters come and go."""
    done = threading.Event()

    def use() -> int:
        count = 0
        while not done.is_set():
            with contextlib.suppress(OSError), board.open(os.O_RDWR) as file:
                for _ in range(10):
                    count += 1
                    with contextlib.suppress(OSError):
                        file.write(b"x" * 100)
                        file.read(100)
        return count

    clients = [board.kernel.start(use) for _ in range(6)]
    for turn in range(30):
        specs = ("delay:ms=1,jitter=1", "error:rate=50%", "corrupt", "short", "hangup", LONG)
        board.swap(*(specs[(turn + i) % len(specs)] for i in range(3)))
        time.sleep(0.005)
    board.swap()
    done.set()
    assert all(client.result(20) > 0 for client in clients)


# --- the command ----------------------------------------------------------------------------------

BAD = [
    (["filter"], "DEVICE"),
    (["filter", "/dev/null"], "list, add, remove"),
    (["filter", "/dev/null", "show"], "'show' is not one of 'list', 'add', 'remove'"),
    (["filter", "/dev/null", "list", "1"], "leave out the rest"),
    (["filter", "/dev/null", "add"], "type add error:errno=EIO"),
    (["filter", "/dev/null", "add", "readonly", "eror"], "no filter 'eror': type error, "),
    (["filter", "/dev/null", "add", "--json", "readonly"], "--json is for list"),
    (["filter", "/dev/null", "remove"], "type remove 1"),
    (["filter", "/dev/null", "remove", "one"], "'one' is no filter's number"),
    (["filter", "/dev/null", "list"], "not a device that cuse-scullv"),
    (["filter", "/no/such", "list"], "/no/such: no such device: type 'cuse-scullv serve'"),
    (["serve", "--filter", "eror"], "no filter 'eror': type error, "),
    (["serve", "--filter", "error:rate=2"], "rate=2: type more than 0%"),
    (
        ["serve", "--files", "/tmp", "--view", "passthrough", "--filter", "readonly"],
        "type --view direct",
    ),
    (["serve", *["--filter", "readonly"] * 17], "16 filters at most"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words)[:60] for words, _ in BAD])
def test_bad_input_is_refused(words: list[str], said: str) -> None:
    assert said in refused(*words, run=inside)


def shown(path: Path) -> list[str]:
    done = inside("filter", str(path), "list")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def told(*words: object) -> None:
    done = inside("filter", *map(str, words))
    assert done.returncode == 0, done.stderr


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has CAP_SYS_ADMIN")


@pytest.mark.mount
@AS_ROOT
def test_who_may_not_change_filters_may_look() -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's are the owner's alone
    folder.chmod(0o755)
    server = FilesServer(folder, "--filter", "readonly", "--mode", "0666")
    path = str(server.files[0])
    try:
        done = run(*NOBODYS_CLI, "filter", path, "remove", "1")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode() == (
            f"cuse-scullv: {path}: this takes CAP_SYS_ADMIN: type the command after 'sudo'\n"
        )
        assert out(*NOBODYS_CLI, "filter", path, "list").startswith(b"1  readonly  acted on ")
    finally:
        server.stop()
        folder.rmdir()


def passes(path: Path) -> bool:
    with client.open(path) as file:
        return bool(file.info().flags & FLAG_PASSTHROUGH)


@pytest.mark.mount
@AS_ROOT
def test_what_the_kernel_does_by_itself_no_filter_sees(tmp_path: Path) -> None:
    with served(tmp_path / "with", "--backing", "memfd", "--filter", "readonly") as server:
        assert not passes(server.files[0])
    with served(tmp_path / "without", "--backing", "memfd") as server:
        path = server.files[0]
        if not passes(path):
            pytest.skip("needs a kernel with FUSE passthrough: Linux 6.9")
        assert "--view direct" in refused("filter", str(path), "add", "readonly", run=inside)
        assert shown(path) == []


@pytest.mark.mount
@AS_ROOT
def test_filters_of_files_outlive_their_worker(tmp_path: Path) -> None:
    folder = tmp_path / "view"
    folder.mkdir()
    server = FilesServer(folder, "--recover", "--filter", "error:op=read,after=8K,count=2")
    try:
        path = server.files[0]
        path.write_bytes(bytes(4096))
        fd = os.open(path, os.O_RDWR)
        read = [os.pread(fd, 4096, 0) for _ in range(2)]
        assert read == [bytes(4096)] * 2
        assert errors(lambda: os.pread(fd, 4096, 0), 1) == 1
        told(path, "add", "readonly")
        before = shown(path)
        assert before == [
            "1  error:op=read,after=8K,count=2  acted on 1 of 3 requests",
            "2  readonly  acted on 0 of 0 requests",
        ]
        server.kill_worker()
        assert shown(path) == before
        assert errors(lambda: os.pread(fd, 4096, 0), 5) == 1
        for call in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0)):
            with fails(errno.EROFS):
                call()
        told(path, "remove", 1, 2)
        assert os.pwrite(fd, b"x", 0) == 1
        told(path, "add", LONG)
        reader = subprocess.Popen(
            [*CLI[:1], "-c", f"import os; os.read(os.open({str(path)!r}, 0), 10)"]
        )
        with Filtering(path) as filters:
            until(lambda: [seen.acted for seen in filters] == [1])
            worker = server.worker
            os.kill(worker, 9)  # what waits is not lost
            assert reader.wait(20) == 0
            assert [seen.text for seen in filters] == [LONG]
        os.close(fd)
    finally:
        server.stop()


# --- a real node ----------------------------------------------------------------------------------


@pytest.mark.real
def test_a_node_while_clients_use_it() -> None:
    server = RealServer("--recover", "--filter", "error:op=write,count=1", "--max-bytes", "64M")
    path = server.path
    try:
        write = ["dd", "if=/dev/zero", f"of={path}", "bs=64K", "count=16", "status=none"]
        done = subprocess.run(write, capture_output=True, check=False, timeout=60)
        assert done.returncode == 1
        assert b"Input/output error" in done.stderr
        assert shown(path) == ["1  error:op=write,count=1  acted on 1 of 1 requests"]
        out(*write)
        assert shown(path) == ["1  error:op=write,count=1  acted on 1 of 17 requests"]

        server.kill_worker()
        told(path, "remove", 1)
        told(path, "add", "readonly")
        done = subprocess.run(write, capture_output=True, check=False, timeout=60)
        assert b"Read-only file system" in done.stderr
        told(path, "remove", 2)

        # Changes while clients run: a reader that a delay holds up goes on when it is removed.
        told(path, "add", "delay:ms=3600000,op=read")
        fd = os.open(path, os.O_RDONLY)
        with os.fdopen(fd, "rb", buffering=0) as file, Filtering(path) as filters:
            reader = subprocess.Popen(["head", "-c", "100"], stdin=file, stdout=subprocess.PIPE)
            until(lambda: [seen.acted for seen in filters] == [1])
            out("dd", "if=/dev/zero", f"of={path}", "bs=1", "count=1", "status=none")  # no reader
            told(path, "remove", 3)
            assert reader.communicate(timeout=20) is not None
            assert reader.returncode == 0

            # … and one that is killed while it waits ends at once.
            told(path, "add", "delay:ms=3600000,op=read")
            reader = subprocess.Popen(["head", "-c", "100"], stdin=file, stdout=subprocess.PIPE)
            until(lambda: [seen.acted for seen in filters] == [1])
            reader.kill()
            assert reader.wait(20) == -9
            told(path, "remove", 4)
        assert subprocess.run([*CLI, "info", str(path)], check=False, timeout=60).returncode == 0
    finally:
        server.stop()


KEPT = """
import os, sys
from cuse_scullv import cuse

class Zeros(cuse.Device):
    def read(self, file, size):
        return bytes(size)

    @cuse.ioctl(cuse.IO("z", 1))
    def worker(self, file, arg):
        return os.getpid()

cuse.serve(Zeros(sys.argv[1]), recover=True, filters=["error:op=read,rate=50%,seed=3"], daemon=True)
"""


@pytest.mark.real
def test_filters_of_a_program_outlive_its_worker() -> None:
    name = "filteredzeros"
    path = Path("/dev") / name
    out(CLI[0], "-c", KEPT, name)
    try:
        fd = os.open(path, os.O_RDONLY)
        first = errors(lambda: os.read(fd, 10), 20)
        with Filtering(path) as filters:
            assert filters.add("hangup:after=4K") == 2
            worker = fcntl.ioctl(fd, WORKER)
            os.kill(worker, 9)
            until(lambda: not attempt(lambda: fcntl.ioctl(fd, WORKER)))  # EIO: it ran it
            assert fcntl.ioctl(fd, WORKER) != worker
            failed = errors(lambda: os.read(fd, 10), 20)
            half, hangup = filters
            assert (half.seen, half.acted) == (40, first + failed)
            assert hangup.acted == 0
            filters.remove(1)
            assert len(os.read(fd, 8192)) == 8192
            assert errors(lambda: os.read(fd, 1), 3, errno.ENODEV) == 3
            filters.remove(2)
            assert len(os.read(fd, 1)) == 1
        os.close(fd)
    finally:
        out(*CLI, "stop", name)
