"""A pseudoterminal whose slave stands for a serial port, and its ioctls over the fake kernel."""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TCGETS, TCSETS, TIOCGWINSZ, TIOCSWINSZ, FIONREAD = 0x5401, 0x5402, 0x5413, 0x5414, 0x541B
TCFLSH, TIOCEXCL, TIOCGSERIAL = 0x540B, 0x540C, 0x541E
TCGETS2 = 0x802C542A


@dataclass
class Terminal:
    """`master` is the far end of the line."""

    master: int
    slave: int
    path: str

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    """Raw, and open as long as the context lasts."""
    master, slave = os.openpty()
    tty.setraw(slave)
    pair = Terminal(master, slave, os.ttyname(slave))
    try:
        yield pair
    finally:
        os.close(slave)
        if pair.master >= 0:
            os.close(pair.master)


def set_minimum(fd: int, count: int, tenths: int) -> None:
    """How many bytes a blocking read waits for, and how long (termios(3): VMIN, VTIME)."""
    settings = termios.tcgetattr(fd)
    settings[6][termios.VMIN], settings[6][termios.VTIME] = count, tenths
    termios.tcsetattr(fd, termios.TCSANOW, settings)


def gets(file: Any, command: int, size: int) -> bytes:
    """What an ioctl gives, by a file of the fake kernel."""
    memory = file.kernel.memory
    room = memory.alloc(size)
    file.ioctl(command, room)
    given: bytes = memory.read(room, size)
    return given


def sets(file: Any, command: int, data: bytes) -> None:
    file.ioctl(command, file.kernel.memory.alloc(data))
