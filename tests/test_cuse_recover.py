"""serve(recover=True): devices in Python whose worker dies, and whose clients do not notice."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kept_server as kept
from cuse_scullv.cuse.testing import FakeFile, FakeKernel
from nodes import RealFile, child_named, until
from reaper import Reaper

KINDS = ["def", "async def"]
DEATHS = int(os.environ.get("CUSE_SCULLV_KILLS", "40"))
POINTS = ["KEPT", "OPENED", "UNANSWERED", "UNCOMMITTED", "COMMITTED", "ANSWERED"]


class Keeper:
    """A kept_server whose workers may die, however often."""

    def __init__(self, kind: str, where: str, *descriptors: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, kept.__file__, kind, where],
            pass_fds=descriptors,
            stderr=subprocess.PIPE,
            env={**os.environ, "CUSE_SCULLV_DEATHS": "1000000"},
        )

    @property
    def worker(self) -> int:
        return child_named(self.process.pid, "scullv-worker")

    def kill(self) -> None:
        """A worker, and waits for the next one."""
        before = self.worker
        os.kill(before, signal.SIGKILL)
        until(lambda: self.worker not in (0, before))

    def stop(self) -> str:
        """What it said."""
        self.process.terminate()
        assert self.process.stderr is not None
        if not self.process.stderr.closed:
            with self.process.stderr as errors:
                self._said = errors.read().decode()
        self.process.wait(10)
        return self._said


class Server(Keeper):
    """On a fake kernel."""

    def __init__(self, kind: str) -> None:
        self.kernel = FakeKernel(answers_again=True)
        fd = self.kernel.server_fd
        super().__init__(kind, str(fd), fd)
        os.close(fd)

    def open(self) -> FakeFile:
        return self.kernel.open()

    def stop(self) -> str:
        said = super().stop()
        self.kernel.close()
        return said


class NodeServer(Keeper):
    """On a node."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind, "kept")
        self._path = Path("/dev/kept")
        until(self._path.exists)
        until(lambda: os.access(self._path, os.R_OK))

    def open(self) -> RealFile:
        return RealFile(self._path, os.O_RDWR)


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as made:
        yield made


@contextlib.contextmanager
def serving(kind: str) -> Iterator[Server]:
    server = Server(kind)
    try:
        server.kernel.init()
        yield server
    finally:
        said = server.stop()
    assert server.process.returncode == 0, said


def number(file: FakeFile | RealFile) -> int:
    return int(struct.unpack("QQ", file.read(16))[0])


def total(file: FakeFile | RealFile) -> int:
    return int(struct.unpack("QQ", file.read(16))[1])


def ask(file: FakeFile | RealFile, command: int, value: int = 0) -> int:
    return int(struct.unpack("Q", file.ioctl(command, struct.pack("Q", value)).data)[0])


def test_open_files_and_what_they_are_outlive_a_worker(server: Server) -> None:
    one, other = server.open(), server.open()
    assert [number(one), number(one), number(other)] == [1, 2, 1]
    assert one.write(struct.pack("Q", 7)) == 8
    server.kill()
    assert [number(one), number(other)] == [3, 2]
    assert ask(one, kept.FILES) == 2
    assert total(one) == 7
    other.close()
    server.kill()
    assert ask(one, kept.FILES) == 1


def test_large_messages_are_kept(server: Server) -> None:
    file = server.open()
    assert file.write(struct.pack("16384Q", *[1] * 16384)) == 1 << 17
    server.kill()
    assert total(file) == 16384


def test_a_handler_that_may_not_be_repeated_gives_eio() -> None:
    with serving("def") as server:
        file = server.open()
        waits = server.kernel.start(file.ioctl, kept.HANG)
        waits.wait_sent()
        time.sleep(0.1)  # until the handler runs
        server.kill()
        with pytest.raises(OSError, match="Input/output") as caught:
            waits.result()
        assert caught.value.errno == errno.EIO
        assert number(file) == 1


def test_each_worker_is_started_after_it_was_restored() -> None:
    with serving("starting") as server:
        file = server.open()
        first = server.worker
        assert ask(file, kept.EXCHANGE, 1) == first
        assert ask(file, kept.EXCHANGE, 2) == 1
        server.kill()
        assert ask(file, kept.EXCHANGE, 3) == server.worker != first


@pytest.mark.parametrize("kind", ["watching", "watching loop"])
def test_what_the_death_of_a_client_changed_outlives_a_worker(kind: str) -> None:
    with serving(kind) as server, subprocess.Popen(["sleep", "600"]) as client:
        theirs, ours = server.open(), server.open()
        theirs.pid = client.pid
        assert total(theirs) == 0
        client.kill()
        until(lambda: total(ours) == client.pid)
        server.kill()
        assert total(ours) == client.pid


@pytest.mark.parametrize("kind", ["tokens", "loop tokens"])
def test_no_token_is_lost_with_a_worker_and_none_is_made(kind: str) -> None:
    with serving(kind) as server:
        stop = threading.Event()
        taken: list[int] = []

        def work(flags: int) -> None:
            with server.kernel.open(flags) as file:
                while not stop.is_set():
                    try:
                        taken.append(len(file.read(1)))
                    except BlockingIOError:
                        file.poll(select.POLLIN, 0.05)
                        continue
                    file.write(b"+")

        flags = [os.O_RDWR] * 6 + [os.O_RDWR | os.O_NONBLOCK] * 2
        calls = [server.kernel.start(work, each) for each in flags]
        for _ in range(15):
            before = len(taken)
            until(lambda before=before: len(taken) > before + 10)
            server.kill()
        stop.set()
        for call in calls:
            call.result()
        assert server.open().ioctl(kept.LEFT).result == 3


def test_who_was_interrupted_before_is_so_after() -> None:
    with serving("def") as server:
        waits = server.kernel.start(server.open().ioctl, kept.SLOW)
        waits.wait_sent()
        time.sleep(0.1)  # until the handler runs
        waits.interrupt()
        time.sleep(0.1)  # until that is known, and nothing has come of it
        server.kill()
        with pytest.raises(InterruptedError):
            waits.result()


def test_who_waits_can_be_interrupted_after() -> None:
    with serving("async def") as server:
        file = server.open()
        waits = server.kernel.start(file.ioctl, kept.HANG)  # which may be repeated there
        waits.wait_sent()
        time.sleep(0.1)
        server.kill()
        assert not waits.wait(0.2)
        waits.interrupt()
        with pytest.raises(InterruptedError):
            waits.result()


def test_who_polls_asks_again(server: Server) -> None:
    file = server.open()
    polls = server.kernel.start(file.poll, select.POLLIN, 60.0)
    polls.wait_sent()
    time.sleep(0.1)
    server.kill()
    assert not polls.wait(0.2)
    file.ioctl(kept.MAIL)
    assert polls.result(10.0) == select.POLLIN


def test_a_handler_that_kills_its_worker_is_not_called_again() -> None:
    with serving("def") as server:
        file = server.open()
        with pytest.raises(OSError, match="Input/output"):
            file.ioctl(kept.DIE)
        assert number(file) == 1


def test_what_is_too_much_is_said() -> None:
    with serving("def") as server:
        file = server.open()
        file.ioctl(kept.TOO_MUCH)
        assert number(file) == 1
        said = server.stop()
        assert "save() gave 5242" in said
        assert "File too large" in said


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("mixed", "both def and async def"),
        ("mixed watching", "both def and async def"),
        ("whole", "a next worker would not know which parts of a system call it has taken"),
    ],
)
def test_a_device_that_cannot_be_kept_is_said(kind: str, why: str) -> None:
    server = Server(kind)
    said = server.process.communicate(timeout=10)[1].decode()
    assert "DeviceError: " in said
    assert why in said
    assert server.process.returncode == 1
    server.kernel.close()


# --- torture --------------------------------------------------------------------------------------


class Clients:
    """Threads that read, write, exchange, open and close, and check every answer."""

    def __init__(self, open: Callable[[], FakeFile | RealFile]) -> None:
        self._open = open
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.added = 0
        self._seen: list[int] = []
        roles: list[Callable[[], None]] = [self._read, self._read, self._write, self._exchange]
        roles.append(self._come_and_go)
        self._threads = [threading.Thread(target=self._guard, args=(role,)) for role in roles]
        for thread in self._threads:
            thread.start()

    def _guard(self, role: Callable[[], None]) -> None:
        try:
            role()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self._failures.append(error)

    def _read(self) -> None:
        file = self._open()
        last = 0
        while not self._stop.is_set():
            last += 1
            assert number(file) == last

    def _write(self) -> None:
        file = self._open()
        while not self._stop.is_set():
            file.write(struct.pack("Q", 1))
            self.added += 1

    def _exchange(self) -> None:
        file = self._open()
        before = 0
        while not self._stop.is_set():
            assert ask(file, kept.EXCHANGE, before + 1) == before
            before += 1

    def _come_and_go(self) -> None:
        while not self._stop.is_set():
            file = self._open()
            assert number(file) == 1
            file.close()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        if self._failures:
            raise self._failures[0]


def check(server: Server | NodeServer, clients: Clients) -> None:
    """Nothing was lost, and nothing done twice."""
    clients.end()
    file = server.open()
    assert total(file) == clients.added
    assert ask(file, kept.FILES) == 5


def test_deaths_at_random(server: Server) -> None:
    die_at_random(server, DEATHS)


def die_at_random(server: Server | NodeServer, deaths: int) -> None:
    clients = Clients(server.open)
    dice = random.Random(1)
    for _ in range(deaths):
        time.sleep(dice.uniform(0.01, 0.1))
        server.kill()
    check(server, clients)


@pytest.mark.real
@pytest.mark.smp
@pytest.mark.parametrize("kind", KINDS)
def test_deaths_under_a_node(kind: str) -> None:
    server = NodeServer(kind)
    try:
        die_at_random(server, int(os.environ.get("CUSE_SCULLV_KILLS", "12")))
    finally:
        said = server.stop()
    assert server.process.returncode == 0, said
    assert not Path("/dev/kept").exists()


@pytest.mark.real
def test_a_node_and_its_open_files_outlive_a_worker() -> None:
    server = NodeServer("def")
    file = server.open()
    assert number(file) == 1
    server.kill()
    assert number(file) == 2
    file.close()
    server.stop()
    assert not Path("/dev/kept").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_deaths_at_every_kill_point(
    kind: str, mortal_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(mortal_build))
    with serving(kind) as server:
        until(lambda: server.worker != 0)
        clients = Clients(server.open)
        reaper = Reaper(server.process.pid, POINTS)
        reaper.run(DEATHS)
        check(server, clients)
