"""Modem: the lines of a serial connector besides those of data, and how often they have changed.

Numbers: asm/termios.h (TIOCM_*), linux/serial.h (struct serial_icounter_struct)."""

from __future__ import annotations

import struct
import termios

ICOUNTER = struct.Struct("=20i")
"""struct serial_icounter_struct: cts, dsr, rng, dcd, rx, tx, frame, overrun, parity, brk,
buf_overrun, and nine that are reserved."""

OURS = {"dtr": termios.TIOCM_DTR, "rts": termios.TIOCM_RTS}
"""Lines that the client sets."""
THEIRS = {
    "cts": termios.TIOCM_CTS,
    "dsr": termios.TIOCM_DSR,
    "ri": termios.TIOCM_RNG,
    "dcd": termios.TIOCM_CAR,
}
"""Lines that the device sets."""
_OUT1, _OUT2, _LOOP = 0x2000, 0x4000, 0x8000  # TIOCM_OUT1 …, which Python's termios has not
SETTABLE = sum(OURS.values()) | _OUT1 | _OUT2 | _LOOP
"""What TIOCMSET can change (tty_io.c: tty_tiocmset)."""


class Modem:
    """The state of the lines, as TIOCMGET has it, and their counters."""

    def __init__(self) -> None:
        self.state = termios.TIOCM_CTS | termios.TIOCM_DSR | termios.TIOCM_CAR
        self.changes = dict.fromkeys(THEIRS.values(), 0)
        self.rx = self.tx = self.breaks = 0

    def has(self, line: int) -> bool:
        return bool(self.state & line)

    def set(self, on: int = 0, off: int = 0) -> None:
        """Lines of the client's."""
        self.state = self.state & ~(off & SETTABLE) | on & SETTABLE

    def set_theirs(self, lines: dict[str, bool]) -> int:
        """Lines of the device's; those that have changed. TypeError for a line that is none."""
        for name in lines:
            if name not in THEIRS:
                raise TypeError(f"a device sets no line {name!r}; it sets {', '.join(THEIRS)}")
        changed = 0
        for name, high in lines.items():
            line = THEIRS[name]
            if self.has(line) == bool(high):
                continue
            changed |= line
            self.state ^= line
            # Of the ring indicator the trailing edge counts alone (8250: UART_MSR_TERI).
            if line != termios.TIOCM_RNG or not high:
                self.changes[line] += 1
        return changed

    def changes_of(self, lines: int) -> list[int]:
        """How often those of `lines` have changed that can be waited for (TIOCMIWAIT)."""
        return [count for line, count in self.changes.items() if line & lines]

    def counters(self) -> tuple[int, ...]:
        """The fields of struct serial_icounter_struct."""
        cts, dsr, rng, dcd = self.changes.values()
        bits = 0x7FFFFFFF
        return cts, dsr, rng, dcd, self.rx & bits, self.tx & bits, 0, 0, 0, self.breaks, *[0] * 10
