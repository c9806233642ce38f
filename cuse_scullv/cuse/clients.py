"""Clients: the processes that use a device's open files, until they die or the files end.

A process has one pidfd, however many of the files it uses and by however many threads. Which
process a request is of is remembered by the thread's number; it is checked each time that the
number is still that process's: threads and processes alike may be followed by others of the same.

Lock order: the lock of Clients, then that of Deaths."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from cuse_scullv.procfs import is_ending

from .client import Client
from .deaths import deaths
from .ending import Ending
from .file import File
from .proc import comm_of, open_pidfd, still_has

Gone = Callable[[File, Client], None]

_THREADS_MAX = 64  # remembered of an open file; then they are looked up anew


class _Process:
    """A client that is followed. Its fields are under the lock of Clients."""

    def __init__(self, client: Client, pidfd: int) -> None:
        self.client = client
        self.pidfd = pidfd  # -1: closed
        self.files: dict[File, None] = {}  # in the order of their first use

    def has(self, tid: int) -> bool:
        """Whether that is one of its threads, or was until it died."""
        return still_has(self.pidfd, self.client.pid, tid)


class Clients:
    """Of one device. `gone(file, client)` is called on the thread of Deaths, once for each open
    file that a process has used and that is still open when it has died."""

    def __init__(self, gone: Gone) -> None:
        self._gone = gone
        self._lock = threading.Lock()
        self._processes: dict[int, _Process] = {}  # under lock, by pid
        self._of: dict[File, dict[_Process, None]] = {}  # under lock
        self._threads: dict[File, dict[int, _Process]] = {}  # the last known, by thread

    def note(self, file: File, tid: int, uid: int, gid: int) -> Client | None:
        """The thread `tid` uses the file, and waits for that: who is it? None: that cannot be
        known."""
        known = self._threads.get(file, _NOBODY).get(tid)
        if known is not None and known.has(tid):
            return known.client
        try:
            pid, pidfd = open_pidfd(tid)
            client = Client(pid, uid, gid, comm_of(pid))
        except OSError:  # of another namespace; or we have no descriptors left
            return None
        return self._follow(file, tid, client, pidfd)

    def _follow(self, file: File, tid: int, client: Client, pidfd: int) -> Client:
        with self._lock:
            process = self._processes.get(client.pid)
            if process is not None and process.has(tid):
                os.close(pidfd)
            else:  # one of that number that has died will be told of by Deaths
                process = _Process(client, pidfd)
                self._processes[client.pid] = process
                deaths().follow(pidfd, lambda: self._died(process))
            process.files[file] = None
            self._of.setdefault(file, {})[process] = None
            threads = self._threads.setdefault(file, {})
            if len(threads) >= _THREADS_MAX:
                threads.clear()
            threads[tid] = process
        return process.client

    def release(self, file: File) -> Ending:
        """The file ends. How, as far as its clients tell."""
        with self._lock:
            self._threads.pop(file, None)
            processes = list(self._of.pop(file, ()))
            living = [process.client for process in processes]
            ending = [client for client in living if is_ending(client.pid)]
            for process in processes:
                self._part(process, file)
        if ending:
            return Ending("died", ending[0] if len(ending) == 1 else None)
        if living:
            return Ending("closed", living[0] if len(living) == 1 else None)
        return Ending("unknown")

    def _part(self, process: _Process, file: File) -> None:
        """With the lock held: a process that uses no file any more is followed no more."""
        process.files.pop(file, None)
        if not process.files and deaths().forget(process.pidfd):
            self._close(process)

    def _close(self, process: _Process) -> None:
        """With the lock held."""
        if self._processes.get(process.client.pid) is process:
            del self._processes[process.client.pid]
        os.close(process.pidfd)
        process.pidfd = -1

    def _died(self, process: _Process) -> None:
        with self._lock:
            files = list(process.files)
            process.files.clear()
            self._close(process)
            for file in files:
                self._of[file].pop(process, None)
                threads = self._threads.get(file, {})
                for tid in [tid for tid, known in threads.items() if known is process]:
                    del threads[tid]
        for file in files:
            self._gone(file, process.client)

    def end(self) -> None:
        """All files have ended."""
        with self._lock:
            for file in list(self._of):
                for process in list(self._of.pop(file)):
                    self._part(process, file)
            self._threads.clear()


_NOBODY: dict[int, _Process] = {}
