"""A guest's processes, from their start to the command's status."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

BOOT_SECONDS = 120


class GuestDiedError(Exception):
    """The guest ended without a status."""


class Streams(Protocol):
    """Between the command and who started us: files.Files or terminal.Terminal."""

    guest_end: int
    """The machine's stdin and stdout."""

    def begin(self, control: Path) -> None:
        """The guest is up."""

    def move(self, pause: float) -> bool:
        """Passes on what there is, waits up to `pause` seconds for it; False: there was nothing."""


def die_with_parent() -> None:
    """In the child: were we killed, the guest must not live on (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def machine(
    command: list[str], environment: dict[str, str], work: Path, guest_end: int
) -> Iterator[subprocess.Popen[bytes]]:
    """The guest's processes, in a group of their own that is gone afterwards."""
    with (work / "console").open("ab") as console:
        process = subprocess.Popen(
            command,
            stdin=guest_end,
            stdout=guest_end,
            stderr=console,
            env={**os.environ, **environment},
            cwd="/",
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_once(
    command: list[str], environment: dict[str, str], work: Path, streams: Streams, deadline: float
) -> int | None:
    """The command's status; None when nothing came to life in BOOT_SECONDS."""
    control = work / "control"
    boot_deadline = time.monotonic() + BOOT_SECONDS
    with machine(command, environment, work, streams.guest_end) as process:
        pause, started = 0.01, False
        while True:
            ended = process.poll() is not None
            finished = (control / "status").exists()
            if not started and (control / "started").exists():
                started = True
                streams.begin(control)
            moved = streams.move(pause if not (ended or finished) else 0)
            if finished and not moved:
                return int((control / "status").read_text())
            if ended and not finished:
                if started:
                    raise GuestDiedError
                return None
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError
            if not started and now > boot_deadline:
                return None
            pause = 0.01 if moved else min(pause * 1.2, 0.1)
