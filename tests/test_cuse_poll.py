"""poll, select and epoll: what clients of a device with a poll() see."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeKernel
from nodes import RealFile

IN, OUT = select.POLLIN, select.POLLOUT


class Mailbox(cuse.Device):
    """One message at a time."""

    def __init__(self) -> None:
        super().__init__("cusepoll")
        self.message = b""
        self.polls = 0

    def read(self, file: cuse.File, size: int) -> bytes:
        data, self.message = self.message, b""
        self.notify()
        return data

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.message = bytes(data)
        self.notify()

    def poll(self, file: cuse.File) -> int:
        self.polls += 1
        return IN if self.message else OUT


def test_poll_says_what_is_so(cuse_device: Callable[..., FakeKernel]) -> None:
    file = cuse_device(Mailbox()).open()
    assert file.poll(IN | OUT) == OUT
    assert file.poll(IN) == 0
    file.write(b"x")
    assert file.poll(IN | OUT) == IN


@pytest.mark.parametrize("wake", ["device", "file"])
def test_notify_wakes_who_waits(cuse_device: Callable[..., FakeKernel], wake: str) -> None:
    device, files = Mailbox(), []
    device.open = files.append  # type: ignore[method-assign]
    kernel = cuse_device(device)
    file = kernel.open()
    for _ in range(20):
        polls = device.polls
        call = kernel.start(file.poll, IN, 60)
        while device.polls == polls:
            call.wait(0.001)
        device.message = b"x"
        if wake == "device":
            device.notify()
        else:
            files[0].notify()
        assert call.result() == IN
        device.message = b""


def test_a_notify_while_poll_looks_is_not_lost(cuse_device: Callable[..., FakeKernel]) -> None:
    """poll() finds nothing, something happens, poll() says that there is nothing."""

    class Racy(Mailbox):
        def poll(self, file: cuse.File) -> int:
            events = super().poll(file)
            if not self.message:
                self.message = b"x"
                self.notify()
            return events

    file = cuse_device(Racy()).open()
    assert file.poll(IN, 60) == IN


def test_notify_wakes_each_who_polls(cuse_device: Callable[..., FakeKernel]) -> None:
    device = Mailbox()
    kernel = cuse_device(device)
    files = [kernel.open() for _ in range(3)]
    calls = [kernel.start(file.poll, IN, 60) for file in files]
    while device.polls < 3:
        calls[0].wait(0.001)
    files[0].write(b"x")
    assert [call.result() for call in calls] == [IN] * 3


def test_poll_ends_with_its_timeout(cuse_device: Callable[..., FakeKernel]) -> None:
    assert cuse_device(Mailbox()).open().poll(IN, 0.05) == 0


def test_notify_needs_nobody_who_listens() -> None:
    device = Mailbox()
    device.notify()


def test_a_file_that_is_closed_is_notified_no_more(
    cuse_device: Callable[..., FakeKernel],
) -> None:
    device = Mailbox()
    kernel = cuse_device(device)
    with kernel.open() as file:
        file.poll(IN, 0.01)
    device.notify()
    assert kernel.open().poll(OUT) == OUT


@pytest.mark.logs_errors
@pytest.mark.parametrize("answer", [None, "x", -1, 1 << 32])
def test_a_fault_in_poll_is_pollerr(
    cuse_device: Callable[..., FakeKernel], cuse_log: list[logging.LogRecord], answer: object
) -> None:
    file = cuse_device(cuse.Device("bad", poll=lambda file: answer)).open()
    assert file.poll() == select.POLLERR
    assert "bad: poll() returned" in cuse_log[0].getMessage()


def test_poll_and_notify_from_many_threads(cuse_device: Callable[..., FakeKernel]) -> None:
    device = Mailbox()
    kernel = cuse_device(device)
    files = [kernel.open() for _ in range(4)]
    stop = threading.Event()

    def nag() -> None:
        while not stop.is_set():
            device.notify()

    nagging = threading.Thread(target=nag)
    nagging.start()
    calls = [kernel.start(file.poll, IN, 0.5) for file in files]
    assert [call.result() for call in calls] == [0] * 4
    stop.set()
    nagging.join(60)


@pytest.mark.real
def test_select_and_epoll_wait_on_a_node() -> None:
    device = Mailbox()
    with cuse.Channel(device) as channel:
        assert channel.path is not None
        with RealFile(channel.path, os.O_RDWR) as file, RealFile(channel.path, os.O_RDWR) as other:
            assert select.select([file.fd], [file.fd], [], 0) == ([], [file.fd], [])
            with select.epoll() as epoll:
                epoll.register(file.fd, select.EPOLLIN | select.EPOLLET)
                for message in (b"one", b"two"):
                    timer = threading.Timer(0.1, other.write, (message,))
                    timer.start()
                    assert epoll.poll(60) == [(file.fd, select.EPOLLIN)]
                    assert file.read(10) == message
                    timer.join(60)
            timer = threading.Timer(0.1, other.write, (b"three",))
            timer.start()
            assert select.select([file.fd], [], [], 60) == ([file.fd], [], [])
            timer.join(60)
