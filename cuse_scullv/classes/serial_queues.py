"""Queues: what a terminal holds: bytes to be read, in lines or not, and bytes to be sent."""

from __future__ import annotations

import termios
from collections import deque

from .serial_settings import Termios


class Queues:
    """The two queues of a terminal: `ready` to be read, and `out` to be sent."""

    def __init__(self, settings: Termios) -> None:
        self.termios = settings
        self.canonical = bool(settings.lflag & termios.ICANON)
        """What comes is lines, and is read so."""
        self.ready = bytearray()
        self.ends: deque[int] = deque()
        """Canonical: of each line in `ready`, its length; 0 is an end of file."""
        self.edited = bytearray()
        """Canonical: the line that has no end yet."""
        self.out = bytearray()
        self.stopped = False
        """Output waits, for a START character or TCOON."""
        self.suspended = False
        """It does because of TCOOFF, so no START character helps."""

    def set_termios(self, new: Termios) -> None:
        """n_tty_set_termios."""
        old, self.termios = self.termios, new
        self.canonical = bool(new.lflag & termios.ICANON)
        if (old.lflag ^ new.lflag) & termios.ICANON:
            self.ready += self.edited
            self.edited.clear()
            self.ends.clear()
            if self.canonical and self.ready:
                self.ends.append(len(self.ready))
        if old.iflag & ~new.iflag & termios.IXON and not self.suspended:
            self.stopped = False

    def __len__(self) -> int:
        """Bytes that can be read: TIOCINQ."""
        return len(self.ready)

    def held(self) -> int:
        """Bytes that have come and take room."""
        return len(self.ready) + len(self.edited)

    def take(self, size: int) -> bytes:
        """Up to `size` bytes, of one line where they are lines."""
        ends = self.ends
        if ends:
            end = ends.popleft()
            if end > size:
                ends.appendleft(end - size)
            else:
                size = end
        elif self.canonical:
            return b""
        data = bytes(self.ready[:size])
        del self.ready[:size]
        return data

    def flush_input(self) -> None:
        self.ready.clear()
        self.edited.clear()
        self.ends.clear()

    def send(self, data: bytes) -> None:
        """A client's bytes, on their way out (do_output_char)."""
        oflag = self.termios.oflag
        if oflag & termios.OPOST:
            lines = data.split(b"\n")
            if oflag & termios.OCRNL:
                lines = [line.replace(b"\r", b"\n") for line in lines]
            data = (b"\r\n" if oflag & termios.ONLCR else b"\n").join(lines)
        self.out += data

    def _put(self, char: int) -> None:
        self.send(bytes((char,)))
