"""Ioctls: what a serial port answers to ioctl(2), as the kernel's terminals do.

Numbers: asm/ioctls.h, by Python's termios. Most of them say nothing of what they point to, so the
device is unrestricted. Behaviour: drivers/tty/tty_ioctl.c, tty_io.c, serial/serial_core.c."""

from __future__ import annotations

import errno
import os
import struct
import termios
from typing import Any

from cuse_scullv import cuse

from .serial_info import LAYOUTS, SerialInfo
from .serial_modem import ICOUNTER
from .serial_port import CAP_SYS_ADMIN, DTR_RTS
from .serial_settings import TERMIOS, TERMIOS2, Termios
from .serial_transfer import Transfers

INT, UNSIGNED, WINSIZE = struct.Struct("=i"), struct.Struct("=I"), struct.Struct("=4H")
TCGETS2 = cuse.IOR("T", 0x2A, TERMIOS2)
TCSETS2, TCSETSW2, TCSETSF2 = (cuse.IOW("T", number, TERMIOS2) for number in (0x2B, 0x2C, 0x2D))
TIOCGEXCL = cuse.IOR("T", 0x40, INT)
TIOCSBRK, TIOCCBRK = 0x5427, 0x5428

_N_TTY = 0
_BREAK_S = 0.25  # of TCSBRK: tcsendbreak(3) says 0.25 to 0.5
Fields = tuple[Any, ...]


class Ioctls(Transfers):
    """A port with its ioctls, one method each."""

    def __init__(self, name: str, *, raw: bool = False, **options: Any) -> None:
        super().__init__(name, raw=raw, **options)
        self._window: Fields = (0, 0, 0, 0)
        self._info = SerialInfo()

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        if self._is_hung_up(file):
            raise _oserror(errno.EIO)  # tty_io.c: hung_up_tty_ioctl
        return super().ioctl(file, request)

    # --- settings ---------------------------------------------------------------------------

    @cuse.ioctl(termios.TCGETS, gives=TERMIOS)
    def _tcgets(self, file: cuse.File) -> Fields:
        return self._line.termios.pack()

    @cuse.ioctl(TCGETS2)
    def _tcgets2(self, file: cuse.File) -> Fields:
        return self._line.termios.pack2()

    @cuse.ioctl(termios.TCSETS, takes=TERMIOS)
    @cuse.ioctl(TCSETS2)
    def _tcsets(self, file: cuse.File, fields: Fields) -> None:
        """At once, whatever waits to be sent."""
        with self._lock:
            self._set_termios(self._line.termios.replaced(*fields))
            self._changed.notify_all()
        self.notify()
        try:
            self._tell(waits=True)
        finally:
            self._output.run()

    @cuse.ioctl(termios.TCSETSW, takes=TERMIOS)
    @cuse.ioctl(TCSETSW2)
    def _tcsetsw(self, file: cuse.File, fields: Fields) -> None:
        """When all is sent."""
        self._drain()
        self._tcsets(file, fields)

    @cuse.ioctl(termios.TCSETSF, takes=TERMIOS)
    @cuse.ioctl(TCSETSF2)
    def _tcsetsf(self, file: cuse.File, fields: Fields) -> None:
        """When all is sent; what has not been read is dropped."""
        self._flush_input()
        self._tcsetsw(file, fields)

    def _set_termios(self, new: Termios) -> None:
        """Speed 0 hangs up, and another than 0 is ready again (serial_core.c: uart_set_termios)."""
        before = self._line.termios
        self._line.set_termios(new)
        if before.ospeed and not new.ospeed:
            self._modem.set(off=DTR_RTS)
        elif new.ospeed and not before.ospeed:
            self._modem.set(on=DTR_RTS)

    @cuse.ioctl(termios.TIOCGETD, gives=INT)
    def _tiocgetd(self, file: cuse.File) -> int:
        return _N_TTY

    @cuse.ioctl(termios.TIOCSETD, takes=INT)
    def _tiocsetd(self, file: cuse.File, discipline: int) -> None:
        if discipline != _N_TTY:
            raise _oserror(errno.EINVAL)  # tty_ldisc.c: tty_ldisc_get

    # --- queues -----------------------------------------------------------------------------

    @cuse.ioctl(termios.FIONREAD, gives=INT)  # TIOCINQ
    def _fionread(self, file: cuse.File) -> int:
        return len(self._line)

    @cuse.ioctl(termios.TIOCOUTQ, gives=INT)
    def _tiocoutq(self, file: cuse.File) -> int:
        return len(self._line.out)

    @cuse.ioctl(termios.TCFLSH)
    def _tcflsh(self, file: cuse.File, queue: int) -> None:
        if queue not in (termios.TCIFLUSH, termios.TCOFLUSH, termios.TCIOFLUSH):
            raise _oserror(errno.EINVAL)
        if queue != termios.TCOFLUSH:
            self._flush_input()
        if queue != termios.TCIFLUSH:
            with self._lock:
                self._output.drop()
                self._changed.notify_all()
            self.notify()

    @cuse.ioctl(termios.TCXONC)
    def _tcxonc(self, file: cuse.File, action: int) -> None:
        """n_tty_ioctl_helper."""
        line = self._line
        with self._lock:
            if action == termios.TCOOFF:
                line.stopped = line.suspended = True
            elif action == termios.TCOON:
                line.stopped, line.suspended = line.stopped and not line.suspended, False
            elif action == termios.TCIOFF:
                self._output.send_urgent(line.termios.cc[termios.VSTOP])
            elif action == termios.TCION:
                self._output.send_urgent(line.termios.cc[termios.VSTART])
            else:
                raise _oserror(errno.EINVAL)
        self._output.run()

    def _flush_input(self) -> None:
        with self._lock:
            self._line.flush_input()
            lets_go = self._throttle(False)
        if lets_go:
            self._tell()
        self._output.run()

    def _drain(self) -> None:
        """Waits until all is sent: tcdrain(3)."""
        with self._lock:
            self._changed.wait_for(lambda: self._output.is_sent)

    # --- breaks -----------------------------------------------------------------------------

    @cuse.ioctl(termios.TCSBRK)
    def _tcsbrk(self, file: cuse.File, arg: int) -> None:
        """A break; with an argument that is not 0 none, which is tcdrain(3)."""
        self._drain()
        if not arg:
            self._send_break(_BREAK_S)

    @cuse.ioctl(termios.TCSBRKP)
    def _tcsbrkp(self, file: cuse.File, tenths: int) -> None:
        """tty_io.c: tty_ioctl, whose milliseconds are an unsigned int."""
        self._drain()
        self._send_break((tenths * 100 & 0xFFFFFFFF) / 1000 if tenths else _BREAK_S)

    def _send_break(self, seconds: float) -> None:
        self._set_break(True)
        try:
            cuse.sleep(seconds)
        finally:
            self._set_break(False)

    @cuse.ioctl(TIOCSBRK)
    def _tiocsbrk(self, file: cuse.File, arg: int) -> None:
        self._set_break(True)

    @cuse.ioctl(TIOCCBRK)
    def _tioccbrk(self, file: cuse.File, arg: int) -> None:
        self._set_break(False)

    def _set_break(self, on: bool) -> None:
        with self._lock:
            self._in_break = on
        self._tell(waits=True)

    # --- modem lines ------------------------------------------------------------------------

    @cuse.ioctl(termios.TIOCMGET, gives=INT)
    def _tiocmget(self, file: cuse.File) -> int:
        return self._modem.state

    @cuse.ioctl(termios.TIOCMSET, takes=UNSIGNED)
    def _tiocmset(self, file: cuse.File, lines: int) -> None:
        self._set_lines(on=lines, off=~lines)

    @cuse.ioctl(termios.TIOCMBIS, takes=UNSIGNED)
    def _tiocmbis(self, file: cuse.File, lines: int) -> None:
        self._set_lines(on=lines)

    @cuse.ioctl(termios.TIOCMBIC, takes=UNSIGNED)
    def _tiocmbic(self, file: cuse.File, lines: int) -> None:
        self._set_lines(off=lines)

    def _set_lines(self, on: int = 0, off: int = 0) -> None:
        with self._lock:
            self._modem.set(on, off)
        self._tell(waits=True)

    @cuse.ioctl(termios.TIOCMIWAIT)
    def _tiocmiwait(self, file: cuse.File, lines: int) -> None:
        """Waits until one of the device's lines has changed (serial_core.c:
        uart_wait_modem_status)."""
        with self._lock:
            before = self._modem.changes_of(lines)
            self._changed.wait_for(
                lambda: self._modem.changes_of(lines) != before or self._is_hung_up(file)
            )
            if self._is_hung_up(file):
                raise _oserror(errno.EIO)

    @cuse.ioctl(termios.TIOCGICOUNT, gives=ICOUNTER)
    def _tiocgicount(self, file: cuse.File) -> Fields:
        return self._modem.counters()

    # --- the rest ---------------------------------------------------------------------------

    @cuse.ioctl(termios.TIOCEXCL)
    def _tiocexcl(self, file: cuse.File, arg: int) -> None:
        self._is_exclusive = True

    @cuse.ioctl(termios.TIOCNXCL)
    def _tiocnxcl(self, file: cuse.File, arg: int) -> None:
        self._is_exclusive = False

    @cuse.ioctl(TIOCGEXCL)
    def _tiocgexcl(self, file: cuse.File) -> int:
        return int(self._is_exclusive)

    @cuse.ioctl(termios.TIOCGWINSZ, gives=WINSIZE)
    def _tiocgwinsz(self, file: cuse.File) -> Fields:
        return self._window

    @cuse.ioctl(termios.TIOCSWINSZ, takes=WINSIZE)
    def _tiocswinsz(self, file: cuse.File, window: Fields) -> None:
        self._window = window

    @cuse.ioctl(termios.TIOCGSERIAL, raw=True)
    def _tiocgserial(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        layout = LAYOUTS[request.compat]
        request.reserve(request.arg, layout.size)
        return cuse.IoctlReply(0, layout.pack(*self._info))

    @cuse.ioctl(termios.TIOCSSERIAL, raw=True)
    def _tiocsserial(self, file: cuse.File, request: cuse.IoctlRequest) -> int:
        layout = LAYOUTS[request.compat]
        new = SerialInfo(*layout.unpack(request.fetch(request.arg, layout.size)))
        self._info = self._info.replaced(new, self.permits(file, CAP_SYS_ADMIN))
        return 0


def _oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))
