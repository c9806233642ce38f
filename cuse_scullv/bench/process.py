"""A server's process: started, waited for, and ended whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cuse_scullv.bench.errors import BenchError

# How long a server may take to be usable, and to end, in seconds: a guest in emulation on a busy
# machine takes its time. One that ended is not waited for.
READY_S = 300.0
END_S = 20.0
# How often it is tried whether the server is usable, in seconds: what a start-up's figure is
# exact to.
TRY_S = 0.001


class Process:
    """A running server."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], stderr: Path) -> None:
        self.name = name
        self.pid = child.pid
        self.start_seconds = 0.0
        """How long it took to be usable, once it is."""
        self._began = time.monotonic()
        self._child = child
        self._stderr = stderr

    def wait_until(self, usable: Callable[[], bool]) -> None:
        """Raises BenchError where it ends first, with its last words."""
        deadline = time.monotonic() + READY_S
        while not usable():
            if self._child.poll() is not None:
                raise BenchError(f"{self.name} ended at once: {self.last_words()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} was not usable in {READY_S:.0f} s")
            time.sleep(TRY_S)
        self.start_seconds = time.monotonic() - self._began

    def last_words(self) -> str:
        """The last line on its stderr, or its exit status."""
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {self._child.poll()}"

    def resident_bytes(self) -> int:
        """Rss of proc(5): memory that is in RAM, shared or not."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        line = next(line for line in rollup.splitlines() if line.startswith("Rss:"))
        return int(line.split()[1]) * 1024

    def cpu_seconds(self) -> float:
        """Time on a CPU of all its threads that live, to the nanosecond (schedstat of proc(5))."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def end(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        self._child.terminate()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """`command` while the context lasts. Its stdout is dropped, its stderr kept for errors."""
    with tempfile.NamedTemporaryFile(prefix="cuse-scullv-bench-") as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # a ^C is ours: we end it when we are done with it
        )
        process = Process(name, child, Path(stderr.name))
        try:
            yield process
        finally:
            process.end()


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-m", module, *arguments]


def can_open(*paths: Path) -> bool:
    """Whether every one of these files can be opened to read and write."""
    try:
        for path in paths:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
