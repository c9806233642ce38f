"""Processes: servers, and programs that end by themselves. None outlives us, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.interrupt import held
from cuse_scullv.procfs import lines_of

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
        """Pss of proc(5), of all its processes: memory that is in RAM, what they share once."""
        total = 0
        for pid in self.pids():
            rollup = lines_of(Path(f"/proc/{pid}/smaps_rollup"))
            line = next(line for line in rollup if line.startswith("Pss:"))
            total += int(line.split()[1]) * 1024
        return total

    def pids(self) -> list[int]:
        """Of the process that was started, and of its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def cpu_seconds(self) -> float:
        """Time on a CPU, to the nanosecond, of all its processes and threads, also of threads that
        ended."""
        # As clock_getcpuclockid(3) makes it.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def end(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        self._child.terminate()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """`command`, in a session of its own: a ^C of the terminal is ours, and it is ended by us. An
    exception, a signal's SystemExit too, ends it with all that it started.

    A signal that comes while it is being started is let through inside the `try`."""
    child: subprocess.Popen[Any] | None = None
    try:
        with held():
            child = subprocess.Popen(command, start_new_session=True, **options)
        yield child
    except BaseException:
        if child is not None and child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        raise


def finish(
    command: Sequence[str], *, output: int = subprocess.PIPE, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program that ends by itself; its stdout (or what `output` is) and stderr. Raises
    subprocess.TimeoutExpired after that time."""
    options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.PIPE}
    with started(command, text=True, **options) as child:
        stdout, stderr = child.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, child.returncode, stdout, stderr)


@contextmanager
def running(name: str, command: Sequence[str]) -> Iterator[Process]:
    """The server `command` while the context lasts. Its stdout is dropped, its stderr kept."""
    null = subprocess.DEVNULL
    with tempfile.NamedTemporaryFile(prefix="cuse-scullv-bench-") as stderr, ExitStack() as stack:
        with started(command, stdin=null, stdout=null, stderr=stderr) as child:
            process = Process(name, child, Path(stderr.name))
            stack.callback(process.end)
        yield process


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
