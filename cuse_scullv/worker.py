"""A worker as the keeper sees it: its process, what it says, how it ends. How it lives is in
process.py."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cuse_scullv.messages import receive, send
from cuse_scullv.supervise import WAKE

WORDS_MAX = 1 << 14
"""Bytes of last words that are passed on."""
_MOMENT_S, _LOOKS = 0.001, 5
_PF_EXITING = 4  # include/linux/sched.h; set by do_exit before anything else
_GOING_S = 1.0  # how long its memory may take to be given back


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
        self.done = ""
        """The last order that it has carried out."""
        self.began = time.monotonic()
        """When it was told to serve."""
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
        for end in (orders, questions, canary):
            end.close()
        for end in (self.orders, self.questions, self._canary):
            _signal_when_readable(end)

    def reap(self, *, early: bool) -> bool:
        """Whether it has ended. It may not be gone then: a thread may be left that waits for an
        answer that only the next worker gives; or, with `early`, its memory may be."""
        while not self.gone():
            if not self._is_dying():
                return False
            if (early and self._has_left()) or self._is_stuck():
                return True
            time.sleep(_MOMENT_S)
        return True

    def gone(self) -> bool:
        """Whether nothing is left of it; then `status` is known."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def _is_dying(self) -> bool:
        try:
            return self._canary.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def _has_left(self) -> bool:
        """Whether all threads are on the way out: none is about to put a message into the
        state. What takes long then is to give memory back."""
        flags = [int(fields[6]) for fields in self._threads()]
        return bool(flags) and all(flag & _PF_EXITING for flag in flags)

    def _is_stuck(self) -> bool:
        """Whether all threads that are left wait in the kernel, uninterruptibly, and have done so
        for a while: none is about to put a message into the state."""
        for _ in range(_LOOKS):
            states = [fields[0] for fields in self._threads()]
            if not states or any(state not in "DZX" for state in states) or "D" not in states:
                return False
            time.sleep(_MOMENT_S)
        return True

    def _threads(self) -> Iterator[list[str]]:
        """Of each thread, the fields of its stat from the third on, its state (proc(5))."""
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    yield (thread / "stat").read_text().rpartition(")")[2].split()

    def news(self) -> Iterator[dict[str, Any]]:
        """What it has said since, questions last."""
        for end in (self.orders, self.questions):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while message := receive(end):
                    yield message

    def serve(self) -> None:
        """Its turn has come."""
        self.began = time.monotonic()
        self.order("serve")

    def order(self, what: str) -> None:
        with contextlib.suppress(OSError):
            send(self.orders, do=what)

    def last_words(self) -> str:
        """How it died: one line, and what it said. Waits a while for it to be gone."""
        deadline = time.monotonic() + _GOING_S
        while not self.gone() and time.monotonic() < deadline:
            time.sleep(_MOMENT_S)
        if self.status is None:
            how = "a thread of it is left"
        elif self.status < 0:
            how = f"killed by {signal.Signals(-self.status).name}"
        else:
            how = f"exit status {self.status}"
        said = os.pread(self._words, WORDS_MAX, 0).decode(errors="replace").strip()
        return f"{how}: {said}" if said else how

    def close(self) -> None:
        """Ends it, if it has not ended."""
        if not self.gone():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.orders.close()
        self.questions.close()
        self._canary.close()
        os.close(self._words)


def _signal_when_readable(end: socket.socket) -> None:
    """So that the keeper waits for signals alone (fcntl(2): F_SETSIG, O_ASYNC)."""
    fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(end, fcntl.F_SETSIG, WAKE)
    flags = fcntl.fcntl(end, fcntl.F_GETFL)
    fcntl.fcntl(end, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
