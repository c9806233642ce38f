"""BasePort: a serial port as its device sees it: its lines, and what comes and goes.

serial_transfer.py is what clients read and write, serial_ioctls.py what they set. `_lock` is a
leaf: the device's own methods run without it, and one at a time (serial_baton.py)."""

from __future__ import annotations

import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from cuse_scullv import cuse

from .serial_baton import Baton, call
from .serial_line import LineDiscipline
from .serial_modem import Modem
from .serial_output import Output
from .serial_settings import Settings, Termios

ROOM_IN = 65536
"""Bytes that wait for clients to read them, at most: as the kernel's tty buffers (tty_buffer.c:
TTYB_DEFAULT_MEM_LIMIT)."""
_HIGH, LOW = ROOM_IN * 3 // 4, ROOM_IN // 4
"""From so many bytes on, flow control stops the other end; down to so few, it lets it go on."""
CAP_SYS_ADMIN = 21
DTR_RTS = termios.TIOCM_DTR | termios.TIOCM_RTS


class BasePort(cuse.Device):
    """All of a port but what clients call."""

    def __init__(self, name: str, *, raw: bool = False, **options: Any) -> None:
        super().__init__(name, unrestricted=True, **options)
        self._lock = threading.Lock()
        self._changed = cuse.Condition(self._lock)  # of all below, which is under the lock
        self._line = LineDiscipline(Termios().raw() if raw else Termios())
        self._modem = Modem()
        self._output = Output(
            self._lock, self._changed, self._line, self._modem, self.transmit, self.notify
        )
        self._opens = 0
        self._hangups = 0  # a file that was opened before the last one is dead
        self._is_exclusive = False
        self._is_reading = False  # a client is in read()
        self._is_throttled = False  # the other end has been told to stop
        self._has_lowered_rts = False  # by that
        self._in_break = False
        self._last_in = 0.0  # time.monotonic() of the last byte that came
        self._told = self._settings()
        self._telling = Baton(self._lock, self._changed, self._next_tell, self.notify)

    # --- what a device has ------------------------------------------------------------------

    def transmit(self, data: bytes) -> Any:
        """A client has sent `data`, 1 to 4,096 bytes. Returns how many were taken, None for all.
        Those that are left are offered again when a client has read, a line has changed or resume()
        is called; when 4,096 are left, writes wait.

        `def`: on the thread of the client's write(), or of who lets output go on; may wait, in
        cuse.Condition. `async def`: on the loop, and that thread waits. One call at a time, in
        order. May call feed(). An OSError that it raises is the client's; the bytes are gone then,
        and what waits behind them."""
        raise NotImplementedError

    def line_changed(self, settings: Settings) -> Any:
        """A client has changed the settings, or lines of its own: `settings` is all of them. The
        client's system call returns when it has ended, with its OSError, if it raises one. One call
        at a time, `def` or `async def` as transmit(); where changes come faster than it returns,
        the last of them is told."""

    def permits(self, file: cuse.File, capability: int) -> bool:
        """Whether the caller may do what takes the capability, CAP_SYS_ADMIN: open a port that is
        in exclusive use (EBUSY if not), set the times of a UART (EPERM)."""
        return file.caller.capable(capability)

    # --- what a device calls ----------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """Those that clients have made. Any thread."""
        with self._lock:
            return self._settings()

    @property
    def room(self) -> int:
        """Bytes that feed() would take now. Any thread."""
        with self._lock:
            return self._room()

    def feed(self, data: bytes | bytearray | memoryview) -> int:
        """Bytes come in, for clients to read. Returns how many there was room for (65,536 may
        wait); the others can be fed later. What comes while no client has the port open, or CREAD
        is off, is taken and lost, as on any line.

        Any thread, and asyncio tasks; it does not wait. What is fed from within transmit() is not
        echoed: a port that sends back what it gets would never come to an end."""
        line = self._line
        with self._lock:
            if not self._opens or not line.termios.cflag & termios.CREAD:
                return len(data)
            taken = min(len(data), self._room())
            was_stopped, waited = line.stopped, len(line.out)
            line.receive(bytes(data[:taken]), echoes=self._output.may_echo)
            self._modem.rx += taken
            self._last_in = time.monotonic()
            sends = len(line.out) > waited or (was_stopped and not line.stopped)
            throttles = line.held() >= _HIGH and self._throttle(True)
            self._changed.notify_all()
        self.notify()
        if throttles:
            self._tell()
        if throttles or sends:
            self._output.run()
        return taken

    def feed_break(self) -> None:
        """The other end sends a break. As feed()."""
        with self._lock:
            self._modem.breaks += 1
            if self._opens:
                self._line.receive_break()
            self._changed.notify_all()
        self.notify()

    def set_lines(self, **lines: bool) -> None:
        """Sets the device's lines, `cts`, `dsr`, `dcd`, `ri`: True is high, which all but `ri` are
        at first. Lowering `dcd` hangs up where clients heed it (no CLOCAL). TypeError for other
        lines. Any thread."""
        with self._lock:
            changed = self._modem.set_theirs(lines)
            hangs_up = changed & termios.TIOCM_CAR and not self._has_carrier()
            self._changed.notify_all()
        if hangs_up:
            self.hang_up()
        self._output.run()

    def hang_up(self) -> None:
        """The line is gone: who has the port open reads the end of it and gets EIO for all else,
        until it opens the port anew (tty_io.c: hung_up_tty_fops)."""
        with self._lock:
            self._hangups += 1
            self._line.flush_input()
            self._output.drop()
            self._is_exclusive = False
            self._unthrottle()
            self._lower()
            self._changed.notify_all()
        self.notify()
        self._tell()

    def resume(self) -> None:
        """Offers transmit() again what it has not taken. Any thread."""
        self._output.run()

    # --- inside ---------------------------------------------------------------------------

    def _unthrottle(self) -> None:
        """Forgets that the other end has been told to stop: nothing is left of what it sent."""
        self._is_throttled = False
        if self._has_lowered_rts:
            self._has_lowered_rts = False
            self._modem.set(on=termios.TIOCM_RTS)

    def _lower(self) -> None:
        if self._line.termios.cflag & termios.HUPCL:
            self._modem.set(off=DTR_RTS)

    def _has_carrier(self) -> bool:
        """Or no need of one."""
        local = self._line.termios.cflag & termios.CLOCAL
        return bool(local or self._modem.has(termios.TIOCM_CAR))

    def _room(self) -> int:
        return max(ROOM_IN - self._line.held(), 0)

    def _throttle(self, on: bool) -> bool:
        """Tells the other end to stop, or to go on, by the means that the client has asked for.
        Whether that changes anything (serial_core.c: uart_throttle)."""
        if self._is_throttled == on:
            return False
        self._is_throttled = on
        settings = self._line.termios
        if settings.iflag & termios.IXOFF:
            self._output.send_urgent(settings.cc[termios.VSTOP if on else termios.VSTART])
        if on and settings.cflag & termios.CRTSCTS:
            self._modem.set(off=termios.TIOCM_RTS)
            self._has_lowered_rts = True
        elif not on and self._has_lowered_rts:
            self._modem.set(on=termios.TIOCM_RTS)
            self._has_lowered_rts = False
        return True

    # --- telling ----------------------------------------------------------------------------

    def _settings(self) -> Settings:
        return self._line.termios.settings(
            dtr=self._modem.has(termios.TIOCM_DTR),
            rts=self._modem.has(termios.TIOCM_RTS),
            break_on=self._in_break,
        )

    def _tell(self, waits: bool = False) -> None:
        """line_changed(), where something has; `waits`: till it has ended, on whatever thread."""
        if not self._telling.run() and waits:
            with self._lock:
                self._changed.wait_for(self._telling.is_free)

    def _next_tell(self) -> Callable[[], None] | None:
        settings = self._settings()
        if settings == self._told:
            return None
        self._told = settings
        return partial(call, self.line_changed, settings)
