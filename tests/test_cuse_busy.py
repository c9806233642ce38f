"""A device in Python beside processes that want every CPU."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import pytest

from test_examples import NODE, running

CALLS = 400  # of a client
SECONDS = 20.0  # for all of them; it takes one, or two
BUSY = "while True: pass"


@pytest.mark.real
@pytest.mark.smp
def test_clients_are_answered_all_the_same() -> None:
    """Threads in SCHED_IDLE would have the interpreter, and wait for a CPU, for seconds."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(running("rot13"))
        for _ in os.sched_getaffinity(0):
            hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(hog.kill)
        with NODE.open("r+b", buffering=0) as file:
            began = time.monotonic()
            for _ in range(CALLS):
                file.write(b"uryyb")
                assert time.monotonic() - began < SECONDS
