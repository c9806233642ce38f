"""Devices beside processes that want every CPU. Threads in SCHED_IDLE get none there for half a
second at a time: who waits for one of them waits with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from nodes import RealServer
from test_examples import NODE, running

BUSY = "while True: pass"

pytestmark = [pytest.mark.real, pytest.mark.smp]


@contextlib.contextmanager
def busy_cpus() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(hog.kill)
        yield


def assert_calls(call: Callable[[], object], times: int, seconds: float) -> None:
    began = time.monotonic()
    for _ in range(times):
        call()
        assert time.monotonic() - began < seconds


def test_clients_of_a_device_in_python_are_answered_all_the_same() -> None:
    with running("rot13"), busy_cpus(), NODE.open("r+b", buffering=0) as file:
        assert_calls(lambda: file.write(b"uryyb"), times=400, seconds=20)  # it takes one, or two


@pytest.mark.parametrize("block", [512, 128 << 10])
def test_nobody_waits_until_the_best_way_to_serve_is_found(block: int) -> None:
    """Calls took up to 0.4 and 0.8 s until then, of which there were several."""
    server = RealServer()
    try:
        fd = os.open(server.path, os.O_RDWR)
        with busy_cpus():
            time.sleep(0.5)  # they begin with what Python does before
            assert_calls(lambda: os.pwrite(fd, bytes(block), 0), times=80, seconds=0.8)
        os.close(fd)
    finally:
        assert server.stop() == 0


def test_nobody_waits_for_what_was_best_before_others_were_busy() -> None:
    """Of large requests, that is, while there were small ones."""
    server = RealServer()
    small, large = bytes(512), bytes(128 << 10)
    try:
        fd = os.open(server.path, os.O_RDWR)
        for data in (large, small):
            for _ in range(1000):
                os.pwrite(fd, data, 0)
        with busy_cpus():
            time.sleep(0.5)
            assert_calls(lambda: os.pwrite(fd, small, 0), times=400, seconds=4)
            assert_calls(lambda: os.pwrite(fd, large, 0), times=80, seconds=0.8)
        os.close(fd)
    finally:
        assert server.stop() == 0
