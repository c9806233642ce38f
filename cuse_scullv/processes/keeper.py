"""The keeper: the process that was started. It holds what needs privilege, and waits.

It opens channels, makes what they serve, and forks a worker that serves it. It has no threads and
answers no request, so that nothing that a client does can end it; and as the channels are its own,
nothing that a worker does ends the devices. With `recover` a worker that dies is followed by
another, which finds in the state (state.py) what the one before had come to; without, its end is
the end of all.

What it holds is said in its subclasses: server/server.py, of `cuse-scullv serve`, and
cuse/recover.py, of devices in Python.

What may take long, or may need an answer of the worker's, is done aside, in a process of its own:
so the keeper always notices that a worker has died.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from cuse_scullv.processes.background import let_go
from cuse_scullv.processes.priority import come_first, take_turns
from cuse_scullv.processes.spare import Spare
from cuse_scullv.processes.supervise import WAKE
from cuse_scullv.processes.tally import Tally
from cuse_scullv.processes.worker import WORDS_MAX, Ends, Worker

READY_S = 30.0
"""How long a worker may take to begin, seconds; it needs milliseconds."""
END_S = 1.5
"""How long it may take to end; handlers have one second of it."""
DEATHS, DEATHS_S = 5, 10.0
"""So many deaths within so many seconds are too many."""
_QUICK_S = 0.05  # who dies so soon after he began is followed by the next one later
_WAIT_MOST_S = 0.5
_SIGNALS = {signal.SIGCHLD, WAKE}

logger = logging.getLogger(__name__)


_Kept = TypeVar("_Kept", bound="Keeper")


class KeeperError(Exception):
    """Nothing can be kept, or not any more: its message says why."""


class Keeper(ABC):
    """Context manager: from entry to exit, what it holds is served.

    Signals of supervise.WAITED are blocked meanwhile: a Supervisor's context has been entered.
    Entering raises KeeperError, DeviceError, or OSError, and leaves nothing behind.
    """

    def __init__(self, recover: bool) -> None:
        self.recover = recover
        self.why = ""
        """Why all has ended, if it has."""
        self.unseparated = ""
        """Why the worker has the privileges of the keeper; empty: it has not."""
        self._worker: Worker | None = None
        self._spare = Spare(self._work_later)
        self._left: list[Worker] = []
        self._ending = False
        self._most = int(os.environ.get("CUSE_SCULLV_DEATHS", DEATHS))  # for tests
        self._deaths: deque[float] = deque()
        self._quick = 0
        self.deaths = Tally()
        """Workers that were followed by another."""
        self._asides: dict[int, Callable[[int], None]] = {}
        self._in_background = False

    # --- what a subclass says

    @abstractmethod
    def _hold(self, stack: ExitStack) -> None:
        """Opens all that a worker needs."""

    @abstractmethod
    def _work(self, ends: Ends) -> NoReturn:
        """The life of a worker, in its process (process.py)."""

    @abstractmethod
    def _begin(self, stack: ExitStack) -> None:
        """Makes what clients see, with the first worker there."""

    @abstractmethod
    def _channels(self) -> Iterable[int]:
        """Descriptors that no process but the keeper and a worker may have."""

    def reload(self) -> None:
        """Becomes the program as it is installed now, where it can."""
        logger.error("not reloaded: only memory with --recover outlives its program")

    def _before_end(self) -> None:  # noqa: B027 - most have nothing to do
        """While the worker still answers."""

    # --- life

    def __enter__(self: _Kept) -> _Kept:
        with ExitStack() as stack:
            stack.callback(take_turns)
            come_first()
            self._hold(stack)
            stack.callback(self._end)
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending = True
        self._stack.close()

    def let_go(self) -> None:
        """The worker, and those that follow, leave the terminal alone."""
        self._in_background = True
        self._renew_spare()
        worker = self._current
        worker.order("let_go")
        self._await(lambda: worker.done == "let_go" or worker is not self._worker, READY_S, "")

    # --- the worker

    @property
    def _current(self) -> Worker:
        assert self._worker is not None
        return self._worker

    def _start(self) -> None:
        """Forks the first worker, and waits until it serves."""
        self._fork()
        self._await(lambda: self._current.ready, READY_S, "no worker has begun")

    def _fork(self) -> None:
        self._worker = self._spare.take() or Worker(self._work)
        self._worker.serve()

    def _work_later(self, ends: Ends) -> NoReturn:
        if self._worker is not None:
            self._worker.leave()
        if self._in_background:
            let_go()
        self._work(ends)

    def _renew_spare(self) -> None:
        """It is a copy of us: what we hold has changed, or there is none."""
        if self.recover and not self._ending and self._current.ready:
            self._spare.make()

    def ended(self) -> bool:
        """Sees to what has happened. Whether all has ended by itself; then `why` says why. After
        every signal of supervise.WAITED."""
        self._reap_asides()
        if not self._ending:
            self._spare.look()
        self._left = [worker for worker in self._left if not worker.forgotten()]
        worker = self._worker
        if worker is None:
            return bool(self.why)
        is_dead = worker.has_died()
        for message in worker.news():
            self._heed(worker, message)
        if is_dead:
            self._died(worker)
        return bool(self.why)

    def _heed(self, worker: Worker, message: dict[str, Any]) -> None:
        if "ready" in message:
            worker.ready = True
            self._renew_spare()
        worker.failed = message.get("failed", worker.failed)
        worker.done = message.get("done", worker.done)
        if "hung_up" in message and worker.ready and not self._ending:
            self.why = message["hung_up"]

    def _died(self, worker: Worker) -> None:
        """Clients wait: another takes its place first."""
        self._worker = None
        follows = self.recover and not (self._ending or worker.failed or self._is_too_much(worker))
        if follows:
            self.deaths.add()
            self._fork()
        how = worker.last_words()
        worker.close()
        if worker.is_left:
            self._left.append(worker)
        if follows:
            logger.error("the worker died, and another takes its place: %s", how)
        elif not self._ending:
            self.why = worker.failed or f"the worker died: {how}"
            if self.recover and not worker.failed:
                self.why = f"{self._most} workers died within {DEATHS_S:g} s, the last: {how}"

    def _is_too_much(self, worker: Worker) -> bool:
        """Counts its death; waits a while if workers die as soon as they are there."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - DEATHS_S:
            self._deaths.popleft()
        if len(self._deaths) >= self._most:
            return True
        self._quick = self._quick + 1 if now - worker.began < _QUICK_S else 0
        if self._quick > 1 and self._most == DEATHS:
            time.sleep(min(_WAIT_MOST_S, 0.02 * 2**self._quick))
        return False

    # --- waiting

    def _await(self, done: Callable[[], bool], seconds: float, otherwise: str) -> bool:
        """Until `done`. Raises KeeperError where all has ended by itself before, or, if there is an
        `otherwise`, where it takes too long; False: it does."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                if otherwise:
                    raise KeeperError(otherwise)
                return False
            signal.sigtimedwait(_SIGNALS, min(left, 1.0))
            if self.ended() and not self._ending:
                raise KeeperError(self.why)
        return True

    def _aside(self, work: Callable[[], None], ended: Callable[[int], None]) -> int:
        """Does `work` in a process of its own, whose channels are closed; `ended` gets its exit
        status."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for fd in self._channels():
                    os.close(fd)
                work()
                status = 0
            finally:
                os._exit(status)
        self._asides[pid] = ended
        return pid

    def _reap_asides(self) -> None:
        for pid in list(self._asides):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                self._asides.pop(pid)(os.waitstatus_to_exitcode(status))

    def _aside_and_wait(self, work: Callable[[], None], seconds: float = READY_S) -> str | None:
        """None: it ended well; else why not."""
        words = os.memfd_create("scullv-aside", os.MFD_CLOEXEC)

        def report() -> None:
            try:
                work()
            except Exception as error:
                os.write(words, str(error).encode())
                raise

        statuses: list[int] = []
        try:
            pid = self._aside(report, statuses.append)
            if not self._await(lambda: bool(statuses), seconds, ""):
                os.kill(pid, signal.SIGKILL)
                return "it takes too long"
            return None if statuses == [0] else os.pread(words, WORDS_MAX, 0).decode()
        finally:
            os.close(words)

    # --- the end

    def _end_aside(self, pid: int) -> None:
        if self._asides.pop(pid, None) is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _end(self) -> None:
        """The worker ends, while it still answers what that asks for."""
        self._ending = True
        self._spare.drop()
        self._before_end()
        worker = self._worker
        if worker is not None:
            worker.order("quit")
            self._await(lambda: self._worker is None, END_S, "")
        if self._worker is not None:
            logger.error("the worker does not end: it is killed")
            self._worker.close()
            self._worker = None
