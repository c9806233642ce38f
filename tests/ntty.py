"""The kernel's own line discipline, behind a pseudo-terminal: what ours is compared with."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import select
import termios
import time

from cuse_scullv.classes.serial_line import LineDiscipline
from cuse_scullv.classes.serial_settings import TERMIOS, Termios

WAIT_S = 5.0  # for the kernel's worker threads, on a slow machine


class Terminal:
    """A pseudo-terminal: its master is the wire, its slave what clients open. Everything is passed
    to a LineDiscipline as well, and compared."""

    def __init__(self, settings: Termios) -> None:
        self.wire, self.client = pty.openpty()
        for end in (self.wire, self.client):
            os.set_blocking(end, False)
        fcntl.ioctl(self.client, termios.TCSETS, TERMIOS.pack(*settings.pack()))
        self.ours = LineDiscipline(settings)

    def close(self) -> None:
        os.close(self.wire)
        os.close(self.client)

    def set(self, settings: Termios) -> None:
        fcntl.ioctl(self.client, termios.TCSETS, TERMIOS.pack(*settings.pack()))
        self.ours.set_termios(settings)

    def receive(self, data: bytes) -> None:
        """Comes over the wire, a byte at a time; what is echoed is compared."""
        for char in data:
            os.write(self.wire, bytes((char,)))
            self.ours.receive(bytes((char,)))
            self._compare_sent(char)
            # Until it has been dealt with: poll passes it on where there is no input, and else what
            # there is tells.
            select.select([self.client], [], [], 0)
            self._await_same_count()

    def send(self, data: bytes) -> None:
        # A START character may not have been dealt with yet.
        assert select.select([], [self.client], [], WAIT_S)[1]
        assert os.write(self.client, data) == len(data)
        self.ours.send(data)
        self._compare_sent(data)

    def _compare_sent(self, cause: object) -> None:
        if self.ours.stopped:
            return
        wanted, sent = bytes(self.ours.out), b""
        self.ours.out.clear()
        while len(sent) < len(wanted):
            assert select.select([self.wire], [], [], WAIT_S)[0], (cause, sent, wanted)
            sent += os.read(self.wire, 4096)
        assert sent == wanted, (cause, sent, wanted)

    def read(self, size: int) -> bytes | None:
        """The same by both; None: a client would wait."""
        self._await_same_count()
        wanted = self._read_ours(size)
        try:
            got: bytes | None = os.read(self.client, size)
        except BlockingIOError:
            got = None
        assert got == wanted
        return got

    def _read_ours(self, size: int) -> bytes | None:
        ours = self.ours
        if not (ours.ends if ours.canonical else ours.ready):
            return None
        return ours.take(size)

    def _await_same_count(self) -> None:
        """TIOCINQ of both becomes the same, when the kernel's worker has passed all on."""
        deadline = time.monotonic() + WAIT_S
        count = array.array("i", [-1])
        while count[0] != len(self.ours) and time.monotonic() < deadline:
            fcntl.ioctl(self.client, termios.FIONREAD, count)
        assert count[0] == len(self.ours), (count[0], self.ours.ready)
