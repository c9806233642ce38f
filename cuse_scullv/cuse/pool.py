"""Pool: threads for sync handlers that have a deadline, and may have to be given up.

A thread cannot be stopped in Python. One whose handler missed its deadline is written off: it ends
when the handler does, and until then another one takes its place, so a device goes on serving
however many handlers hang. As on a channel's own threads (csrc/channel/queue.c), a handler that
waits in something of ours does not count, and where nothing moves while jobs wait, more threads
than the limit are lent.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Job = Callable[["Worker"], None]

_STALL_S = 0.05
_RUNNING_MAX = 1024


class Worker:
    """A thread of a pool. `lost` is set when it was written off."""

    def __init__(self, pool: Pool) -> None:
        self.lost = False  # under the pool's lock
        self._pool = pool
        threading.Thread(target=self._run, name="cuse-handler", daemon=True).start()

    def _run(self) -> None:
        while (job := self._pool._jobs.get()) is not None:
            job(self)
            if not self._pool._freed(self):
                break

    def pause(self) -> None:
        """The job waits for something: it is none of the threads that the limit is for."""
        self._pool._leave(self)

    def resume(self) -> None:
        """The job goes on, at once: there may be more threads than the limit until jobs end."""
        self._pool._come_back(self)


class Pool:
    """At most `limit` threads that run at once, started when there is none to take a job."""

    def __init__(self, limit: int, crowded: Callable[[], None] = lambda: None) -> None:
        """`crowded` is called once, when as many threads as there may be are stuck in jobs."""
        self._limit = limit
        self._crowded = crowded
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0  # under lock: those not written off, and not paused
        self._spare = 0  # under lock: threads without a job, less jobs without a thread
        self._lent = 0  # under lock: threads beyond the limit, while nothing moves
        self._step = 1  # under lock: how many are lent the next time
        self._moves = 0  # under lock: counts what ended, paused or was written off
        self._watched = False  # under lock: a look is due
        self._told = False  # under lock: that it is crowded

    def submit(self, job: Job) -> None:
        """Runs `job(worker)` on a thread of the pool, as soon as one is free."""
        self._jobs.put(job)
        with self._lock:
            self._spare -= 1
        self._start_wanted()

    def write_off(self, worker: Worker) -> None:
        """Counts on `worker` no longer: its job hangs."""
        with self._lock:
            if worker.lost:
                return
            worker.lost = True
            self._threads -= 1
            self._moves += 1
        self._start_wanted()

    def close(self) -> None:
        """Ends the threads once their jobs have ended."""
        with self._lock:
            threads, self._limit, self._lent = self._threads, 0, 0
        for _ in range(threads):
            self._jobs.put(None)

    def _start_wanted(self) -> None:
        """Starts a thread for each job that has none, as far as that may be."""
        while True:
            with self._lock:
                if self._spare >= 0 or not self._limit:
                    return
                if self._threads >= self._limit + self._lent:
                    self._watch()
                    return
                self._threads += 1
                self._spare += 1
            Worker(self)

    def _watch(self) -> None:
        """Looks again in a moment. With the lock held."""
        if self._watched:
            return
        self._watched = True
        timer = threading.Timer(_STALL_S, self._look, [self._moves])
        timer.daemon = True
        timer.start()

    def _look(self, moves: int) -> None:
        tell = False
        with self._lock:
            self._watched = False
            if self._moves == moves and self._spare < 0:
                room = max(0, _RUNNING_MAX - self._threads)
                self._lent = self._threads - self._limit + min(self._step, room)
                self._step *= 2
                tell, self._told = not room and not self._told, self._told or not room
        if tell:
            self._crowded()
        self._start_wanted()

    def _leave(self, worker: Worker) -> None:
        with self._lock:
            if worker.lost:
                return
            self._threads -= 1
            self._moves += 1
        self._start_wanted()

    def _come_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.lost:
                return
            self._threads += 1
            if not self._limit:  # closed meanwhile, by who did not count us
                self._jobs.put(None)

    def _freed(self, worker: Worker) -> bool:
        """A worker is through with its job. False: it ends."""
        with self._lock:
            if worker.lost:
                return False
            self._moves += 1
            self._step = 1
            if self._threads < self._limit:
                self._lent = 0
            if self._limit and self._threads > self._limit + self._lent:
                self._threads -= 1
                return False
            self._spare += 1
            return True
