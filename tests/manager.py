"""A service manager that keeps descriptors, as systemd does: sd_notify(3), sd_listen_fds(3).

It is a process of its own: one that starts a server must not have a file of that server open, as
execve(2) closes it, and waits for an answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.managers import BaseManager
from pathlib import Path

from nodes import SERVER_S, child_named, until

_HIGH = 100
"""Descriptors from here on are not in the way of those that a service begins with."""


class _Host(BaseManager):
    """The process that a Manager is in."""


@contextlib.contextmanager
def managed(folder: Path, *arguments: str) -> Iterator[Manager]:
    """A Manager, whose service ends with the context, with status 0."""
    with _Host(ctx=multiprocessing.get_context("spawn")) as host:
        manager: Manager = host.Manager(folder, *arguments)  # type: ignore[attr-defined]
        try:
            yield manager
            assert manager.stop() == 0, manager.said()
        finally:
            manager.close()


class Manager:
    """Of one service, `cuse-scullv serve` with these arguments, in a process group of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """Its sockets and logs are in `folder`. Starts the service."""
        self._kept: list[tuple[str, int]] = []
        self._hidden: list[tuple[str, int]] = []
        self._arguments = list(arguments)
        self._log = folder / "service.log"
        self._ready = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._address = folder / "notify"
        self._socket.bind(str(self._address))
        threading.Thread(target=self._listen, daemon=True).start()
        self.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                text, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
                self._heed(text.decode(), descriptors)

    def _heed(self, text: str, descriptors: list[int]) -> None:
        said = dict(line.split("=", 1) for line in text.splitlines())
        name = said.get("FDNAME", "")
        if "FDSTOREREMOVE" in said:
            for each in [each for each in self._kept if each[0] == name]:
                self._kept.remove(each)
                os.close(each[1])
        for fd in descriptors:
            self._kept.append((name, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)))
            os.close(fd)
        if "READY" in said:
            self._ready.set()

    def start(self) -> None:
        """The service, with what it left; returns when it is ready, or has ended."""
        words = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
        words += [sys.executable, "-m", "cuse_scullv", "serve", *self._arguments]
        environment = {**os.environ, "NOTIFY_SOCKET": str(self._address)}
        if self._kept:
            environment["LISTEN_FDS"] = str(len(self._kept))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in self._kept)
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._ready.clear()
        self._pid = os.posix_spawn(
            "/bin/sh",
            words,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), log, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, (_, fd) in enumerate(self._kept)),
            ],
            setpgroup=0,
        )
        self._status: int | None = None
        until(lambda: self._ready.is_set() or self.status() is not None, SERVER_S)

    def status(self) -> int | None:
        """Its exit status, or minus the signal; None: it runs."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def worker(self) -> int:
        return child_named(self._pid, "scullv-worker")

    def said(self) -> str:
        return self._log.read_text()

    def kill(self) -> float:
        """Kills the service, and all that is left of it; when that was."""
        os.kill(self._pid, signal.SIGKILL)
        at = time.monotonic()
        until(lambda: self.status() is not None)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        return at

    def stop(self) -> int:
        """Its exit status."""
        if self.status() is None:
            os.kill(self._pid, signal.SIGTERM)
            until(lambda: self.status() is not None, SERVER_S)
        assert self._status is not None
        return self._status

    def close(self) -> None:
        """Ends what is left, and gives up what is kept."""
        if self.status() is None:
            self.kill()
        self.show()
        while self._kept:
            os.close(self._kept.pop()[1])
        self._socket.close()

    # --- what is kept

    def kept(self) -> list[str]:
        """Names, in order; one that is kept twice is there twice."""
        return sorted(name for name, _ in self._kept)

    def hide(self, name: str) -> None:
        """As if there were no room for it, until `show`."""
        self._hidden += [each for each in self._kept if each[0] == name]
        self._kept = [each for each in self._kept if each[0] != name]

    def show(self) -> None:
        self._kept += self._hidden
        self._hidden = []

    def reload(self) -> None:
        """As ExecReload=kill -USR2 $MAINPID; returns when the program is there anew."""
        self._ready.clear()
        os.kill(self._pid, signal.SIGUSR2)
        until(self._ready.is_set)

    def set_arguments(self, *arguments: str) -> None:
        """Of the service, from its next start on."""
        self._arguments = list(arguments)


_Host.register("Manager", Manager)
