"""A worker as the keeper sees it: its process, what it says, how it ends. How it lives is in
process.py."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cuse_scullv.processes.messages import receive, send
from cuse_scullv.processes.priority import hasten
from cuse_scullv.processes.supervise import WAKE
from cuse_scullv.procfs import is_ending, stat_fields

WORDS_MAX = 1 << 14
"""Bytes of last words that are passed on."""
_MOMENT_MS, _LOOKS = 2, 5


@dataclass(frozen=True)
class Ends:
    """Of a worker's connections to its keeper, the worker's."""

    orders: socket.socket
    """From the keeper; answers, and news of the worker's in between."""
    questions: socket.socket
    """Of the worker's."""
    canary: int
    """Its end tells the keeper of the worker's (csrc/base/canary.c)."""
    words: int
    """Where the last ones go."""


class Worker:
    """One worker, from its fork to its end."""

    def __init__(self, work: Callable[[Ends], NoReturn]) -> None:
        """Forks it; there it does `work`."""
        self.ready = False
        self.failed = ""
        """Why it could not begin; empty: nothing is known."""
        self.status: int | None = None
        """Its exit status, or minus the signal; None: it lives."""
        self.is_left = False
        """It has ended, but a thread of it has not."""
        self.done = ""
        """The last order that it has carried out."""
        self.began = 0.0
        """When it was told to serve, by time.monotonic()."""
        self.orders, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.questions, questions = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._canary, canary = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words = os.memfd_create("scullv-words", os.MFD_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            self.orders.close()
            self.questions.close()
            self._canary.close()
            work(Ends(orders, questions, canary.detach(), self._words))
        self._pidfd = os.pidfd_open(self.pid)
        for end in (orders, questions, canary):
            end.close()
        for end in (self.orders, self.questions, self._canary):
            _signal_when_readable(end)

    def serve(self) -> None:
        """It may: no other worker is there any more."""
        self.began = time.monotonic()
        self.order("serve")

    def leave(self) -> None:
        """Closes all that leads to it."""
        for end in (self.orders, self.questions, self._canary):
            end.close()
        os.close(self._words)
        os.close(self._pidfd)

    def has_died(self) -> bool:
        """Whether it does nothing any more. It need not be gone then: that its memory is given back
        takes longer than all else."""
        if not (self._is_reaped() or self._is_dying()):
            return False
        while not (self._is_reaped() or is_ending(self.pid)):
            self._wait_or_leave()
        return True

    def _is_reaped(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def _wait_or_leave(self) -> None:
        """A thread may be left that waits for an answer that only the next worker gives."""
        if not self._ends_now() and self._is_stuck():
            self.status = -signal.SIGKILL
            self.is_left = True

    def _ends_now(self) -> bool:
        """Waits a moment for that."""
        end = select.poll()
        end.register(self._pidfd, select.POLLIN)
        return bool(end.poll(_MOMENT_MS))

    def _is_dying(self) -> bool:
        try:
            self._canary.recv(1)  # nobody writes there: it has ended
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        self._kill()  # or it has become another program
        return True

    def _kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        hasten(self.pid)

    def _is_stuck(self) -> bool:
        """Whether all threads that are left wait in the kernel, uninterruptibly, and have done so
        for a while: none is about to put a message into the state."""
        for _ in range(_LOOKS):
            states = list(self._thread_states())
            if not states or any(state not in "DZX" for state in states) or "D" not in states:
                return False
            if self._ends_now():
                return False
        return True

    def _thread_states(self) -> Iterator[str]:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    yield stat_fields(thread)[0].decode()

    def news(self) -> Iterator[dict[str, Any]]:
        """What it has said since, questions last."""
        for end in (self.orders, self.questions):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while message := receive(end):
                    yield message

    def order(self, what: str) -> None:
        with contextlib.suppress(OSError):
            send(self.orders, do=what)

    def last_words(self) -> str:
        """How it died: one line, and what it said. Once it has: waits until it is gone."""
        while not self._is_reaped():
            self._wait_or_leave()
        assert self.status is not None
        if self.status < 0:
            how = f"killed by {signal.Signals(-self.status).name}"
        else:
            how = f"exit status {self.status}"
        said = os.pread(self._words, WORDS_MAX, 0).decode(errors="replace").strip()
        return f"{how}: {said}" if said else how

    def forgotten(self) -> bool:
        """Whether nothing is left of it either."""
        return not self.is_left or os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def close(self) -> None:
        """Ends it, if it has not ended."""
        if self.status is None:
            self._kill()
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        self.leave()


def _signal_when_readable(end: socket.socket) -> None:
    """So that the keeper waits for signals alone (fcntl(2): F_SETSIG, O_ASYNC)."""
    fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(end, fcntl.F_SETSIG, WAKE)
    flags = fcntl.fcntl(end, fcntl.F_GETFL)
    fcntl.fcntl(end, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
