"""The streams of a command that was started at a terminal: a serial line of the guest, whose other
end is that terminal. Its line discipline is the guest's: echo, ^C and ^Z are the command's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import select
import signal
import socket
import struct
import termios
import threading
import tty
from pathlib import Path
from typing import Any

from report import say

ESCAPE = b"\x1d"  # ^]
ESCAPES = 3  # in a row


class KilledError(Exception):
    """The user gave the guest up."""


def at_a_terminal() -> bool:
    return all(os.isatty(number) for number in (0, 1, 2))


def size() -> tuple[int, int]:
    """(rows, columns) of our own."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))
    return rows or 24, columns or 80


class Terminal:
    """Between our terminal and the guest's line. It is ours until the guest is up: ^C ends us.

    A serial line has no patience: what QEMU cannot get rid of at once is lost. So one thread takes
    what comes, and another one shows it as fast as the terminal is.
    """

    def __init__(self) -> None:
        self._line, there = socket.socketpair()
        self.guest_end = there.detach()
        self._came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._taken = self._shown = 0  # bytes
        self._begun = threading.Event()
        threading.Thread(target=self._take, daemon=True).start()
        threading.Thread(target=self._show, daemon=True).start()
        self._before: list[Any] | None = None  # the terminal's settings
        self._escapes = 0
        self._open = True  # somebody types

    def begin(self, control: Path) -> None:
        """The terminal is the guest's from now on."""
        say("this terminal is the guest's now; ^] three times in a row kills it")
        self._before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)
        self._begun.set()
        signal.signal(signal.SIGWINCH, lambda _number, _frame: self._resize(control))

    def _resize(self, control: Path) -> None:
        fresh = control / "size.new"
        fresh.write_text("{} {}\n".format(*size()))
        fresh.replace(control / "size")

    def move(self, pause: float) -> bool:
        before = self._shown
        keyboard = [0] if self._before is not None and self._open else []
        ready, _, _ = select.select(keyboard, [], [], pause)
        if ready:
            self._type()
        comes, _, _ = select.select([self._line], [], [], 0)
        return bool(comes) or self._shown != self._taken or self._shown != before

    def _type(self) -> None:
        data = os.read(0, 4096)
        if not data:
            self._open = False
            return
        for at in range(len(data)):
            self._escapes = self._escapes + 1 if data[at : at + 1] == ESCAPE else 0
            if self._escapes == ESCAPES:
                raise KilledError
        self._line.sendall(data)

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # the machine has ended, and not read all that was typed
            while data := self._line.recv(1 << 16):
                self._taken += len(data)
                self._came.put(data)

    def _show(self) -> None:
        self._begun.wait()  # else our own terminal would change line ends as well
        while True:
            view = memoryview(self._came.get())
            while view:
                try:
                    count = os.write(1, view)
                except OSError:  # the terminal has gone
                    count = len(view)
                view = view[count:]
                self._shown += count

    def close(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
        os.close(self.guest_end)
        self._line.close()
