"""Clients that die at the wrong moment or open too much, on a real node: one errno or line in the
log each, and nothing is left of them."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.session import Session
from nodes import until

NAME = "cusebad"
pytestmark = pytest.mark.real


class Counting(cuse.Device):
    """Counts, and hangs where it is told to."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(NAME, mode=0o666, **settings)
        self.opened = self.released = 0
        self.entered: list[str] = []  # methods that hang
        self.hangs = ""
        self.end = threading.Event()

    def hang(self, method: str) -> None:
        if self.hangs == method:
            self.entered.append(method)
            self.end.wait()

    def open(self, file: cuse.File) -> None:
        self.opened += 1
        self.hang("open")

    def read(self, file: cuse.File, size: int) -> bytes:
        self.hang("read")
        return b"data"[:size]

    def release(self, file: cuse.File) -> None:
        self.released += 1


@pytest.fixture
def device() -> Iterator[Counting]:
    made = Counting()
    yield made
    made.end.set()


def session(device: cuse.Device) -> Session:
    assert isinstance(device._session, Session)
    return device._session


def path_of(channel: cuse.Channel) -> Path:
    assert channel.path is not None
    return channel.path


def client(*calls: Callable[[], object]) -> int:
    """A process that makes the calls, and then sleeps. It is no holder of the channel."""
    child = os.fork()
    if child == 0:
        try:
            for entry in list(Path("/proc/self/fd").iterdir()):
                if entry.is_symlink() and str(entry.readlink()) == "/dev/cuse":
                    os.close(int(entry.name))
            for call in calls:
                call()
            signal.pause()
        finally:
            os._exit(0)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)


def reap(child: int) -> None:
    os.waitpid(child, 0)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_client_that_dies_between_open_and_the_first_read(
    device: Counting, cuse_log: list[logging.LogRecord]
) -> None:
    with cuse.Channel(device) as channel:
        path = path_of(channel)
        for count in range(1, 9):
            child = client(lambda: os.open(path, os.O_RDWR))
            until(lambda count=count: device.opened == count)
            kill(child)
            reap(child)
            until(lambda count=count: device.released == count)
        assert not session(device).files
        assert not session(device).pending
        assert path.open("rb", 0).read(4) == b"data"


def test_a_client_that_dies_while_it_is_opened_is_released(
    device: Counting, cuse_log: list[logging.LogRecord]
) -> None:
    device.hangs = "open"
    with cuse.Channel(device) as channel:
        path = path_of(channel)
        child = client(lambda: os.open(path, os.O_RDWR))
        until(lambda: device.entered)
        kill(child)
        device.end.set()  # a method that has not looked at `interrupted`
        reap(child)
        until(lambda: device.released == device.opened == 1)
        assert not session(device).files
        assert not session(device).pending


def test_ten_thousand_open_files_of_one_client(
    device: Counting, cuse_log: list[logging.LogRecord]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (12_000, max(limits[1], 12_000)))
    try:
        with cuse.Channel(device) as channel:
            path, before = path_of(channel), descriptors()
            files = [os.open(path, os.O_RDONLY) for _ in range(10_000)]
            assert len(session(device).files) == 10_000
            assert os.read(files[-1], 4) == b"data"
            assert descriptors() == before + 10_000  # the server has none of its own for them
            for fd in files:
                os.close(fd)
            until(lambda: device.released == 10_000)
            assert not session(device).files
            assert not session(device).pending
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.logs_errors
def test_a_method_that_never_returns_with_a_deadline(cuse_log: list[logging.LogRecord]) -> None:
    """Its clients die at the deadline, one line each, and others are served meanwhile."""
    device = Counting(timeout=1.0)
    device.hangs = "read"
    workers = cuse.Workers(callers=2)
    with cuse.Channel(device, workers=workers) as channel:
        path = path_of(channel)
        children = [client(lambda: os.read(os.open(path, os.O_RDWR), 4)) for _ in range(4)]
        pending = session(device).pending  # some of them wait for a thread
        until(lambda: [one.handler for one in list(pending.values())] == ["read"] * 4)
        for child in children:
            kill(child)
        for child in children:
            reap(child)
        device.hangs = ""
        assert path.open("rb", 0).read(4) == b"data"
        until(lambda: device.released == 5)
        assert not session(device).files
        assert not pending
        said = [record.getMessage() for record in cuse_log]
        assert [line.partition("; ")[0][:50] for line in said] == [
            f"{NAME}: read() has not answered within 1 s"[:50]
        ] * 4, said
        device.end.set()
    until(lambda: "cuse-handler" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.logs_errors
def test_a_method_that_never_returns_without_one(
    device: Counting, cuse_log: list[logging.LogRecord]
) -> None:
    """Its clients cannot even be killed before the device ends; then each is a line."""
    device.hangs = "read"
    channel = cuse.Channel(device)
    with channel:
        path = path_of(channel)
        children = [client(lambda: os.read(os.open(path, os.O_RDWR), 4)) for _ in range(3)]
        until(lambda: len(device.entered) == 3)
        for child in children:
            kill(child)
        time.sleep(0.1)
        assert [os.waitpid(child, os.WNOHANG) for child in children] == [(0, 0)] * 3
        channel.close(grace=0.1)
        for child in children:
            reap(child)
    device.end.set()
    said = [record.getMessage() for record in cuse_log]
    assert said.count(f"{NAME}: read() has not ended with the device") == 3
    assert said.count(f"{NAME}: a handler hangs; its thread is left behind") == 1
    assert len(said) == 4, said
