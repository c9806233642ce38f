"""Pool: threads for sync handlers that have a deadline, and may have to be given up.

A thread cannot be stopped in Python. One whose handler missed its deadline is written off: it ends
when the handler does, and until then another one takes its place, so a device goes on serving
however many handlers hang.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Job = Callable[["Worker"], None]


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


class Pool:
    """At most `limit` threads at once, started when there is none to take a job."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0  # under lock: those not written off
        self._spare = 0  # under lock: threads without a job, less jobs without a thread

    def submit(self, job: Job) -> None:
        """Runs `job(worker)` on a thread of the pool, as soon as one is free."""
        self._jobs.put(job)
        with self._lock:
            self._spare -= 1
            start = self._wants_thread()
        if start:
            Worker(self)

    def write_off(self, worker: Worker) -> None:
        """Counts on `worker` no longer: its job hangs."""
        with self._lock:
            if worker.lost:
                return
            worker.lost = True
            self._threads -= 1
            start = self._wants_thread()
        if start:
            Worker(self)

    def close(self) -> None:
        """Ends the threads once their jobs have ended."""
        with self._lock:
            threads, self._limit = self._threads, 0
        for _ in range(threads):
            self._jobs.put(None)

    def _wants_thread(self) -> bool:
        """Whether to start one, which is counted then. With the lock held."""
        if self._spare >= 0 or self._threads >= self._limit:
            return False
        self._threads += 1
        self._spare += 1
        return True

    def _freed(self, worker: Worker) -> bool:
        """A worker is through with its job. False: it ends."""
        with self._lock:
            if worker.lost:
                return False
            self._spare += 1
            return True
