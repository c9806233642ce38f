"""Settings of a serial line: termios as the kernel has it, and what of it matters to a device.

Layout and flags: asm-generic/termbits.h (x86, Arm, RISC-V and most others; the same for 32-bit
clients). Rates: drivers/tty/tty_baudrate.c: baud_table, baud_bits."""

from __future__ import annotations

import struct
import termios
from dataclasses import dataclass, field, replace
from typing import Literal

Parity = Literal["none", "even", "odd", "mark", "space"]

TERMIOS = struct.Struct("=4IB19s")
"""struct termios: c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc."""
TERMIOS2 = struct.Struct("=4IB19s2I")
"""struct termios2: the same, and c_ispeed, c_ospeed."""

CBAUD, BOTHER, IBSHIFT = 0o010017, 0o010000, 16
CMSPAR = 0o10000000000
_CIBAUD = CBAUD << IBSHIFT

_SLOW = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_FAST = (
    57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000,
    2500000, 3000000, 3500000, 4000000,
)  # fmt: skip
RATES = dict(enumerate(_SLOW)) | dict(enumerate(_FAST, BOTHER + 1))
"""Bits a second, by the code that c_cflag has for them (B0 … B4000000)."""
_CODES = {rate: code for code, rate in RATES.items()}

_BITS = {termios.CS5: 5, termios.CS6: 6, termios.CS7: 7, termios.CS8: 8}
_PARITIES: dict[int, Parity] = {
    termios.PARENB: "even",
    termios.PARENB | termios.PARODD: "odd",
    termios.PARENB | CMSPAR: "space",
    termios.PARENB | CMSPAR | termios.PARODD: "mark",
}


@dataclass(frozen=True)
class Settings:
    """How a client has set its end of the line. `str()` is short: "115200 8N1"."""

    baud: int = 9600
    """Bits a second, any number: clients are not bound to the usual ones. 0: hang up (B0)."""
    bits: int = 8
    """Of a character, 5 to 8. Characters are bytes here whatever it says."""
    parity: Parity = "none"
    stop_bits: int = 1
    """1 or 2."""
    rtscts: bool = False
    """Flow control by the lines RTS and CTS (CRTSCTS)."""
    xonxoff: bool = False
    """Flow control by characters, in either direction (IXON, IXOFF)."""
    dtr: bool = False
    """The client's "data terminal ready": open() raises it, the last close() lowers it (HUPCL)."""
    rts: bool = False
    """The client's "request to send"; with `rtscts`, low while it can take no more."""
    break_on: bool = False
    """The client holds the line in break."""

    def __str__(self) -> str:
        return f"{self.baud} {self.bits}{self.parity[0].upper()}{self.stop_bits}"


@dataclass(frozen=True)
class Termios:
    """The kernel's struct ktermios: never changed, replaced. Begins as tty_std_termios does, with
    the c_cflag of serial ports (serial_core.c: uart_register_driver)."""

    iflag: int = termios.ICRNL | termios.IXON
    oflag: int = termios.OPOST | termios.ONLCR
    cflag: int = _CODES[9600] | termios.CS8 | termios.CREAD | termios.HUPCL | termios.CLOCAL
    lflag: int = (
        termios.ISIG | termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK
        | termios.ECHOCTL | termios.ECHOKE | termios.IEXTEN
    )  # fmt: skip
    line: int = 0
    cc: bytes = field(default=b"\3\x1c\x7f\x15\4\0\1\0\x11\x13\x1a\0\x12\x0f\x17\x16\0\0\0")
    ispeed: int = 9600
    ospeed: int = 9600

    def pack(self) -> tuple[int | bytes, ...]:
        """The fields of struct termios."""
        return self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc

    def pack2(self) -> tuple[int | bytes, ...]:
        """The fields of struct termios2."""
        return *self.pack(), self.ispeed, self.ospeed

    def replaced(
        self,
        iflag: int,
        oflag: int,
        cflag: int,
        lflag: int,
        line: int,
        cc: bytes,
        ispeed: int | None = None,
        ospeed: int | None = None,
    ) -> Termios:
        """This one, after a client has set it to that (tty_ioctl.c: set_termios). What struct
        termios does not have stays."""
        new = Termios(
            iflag,
            oflag,
            cflag,
            lflag,
            line,
            cc,
            self.ispeed if ispeed is None else ispeed,
            self.ospeed if ospeed is None else ospeed,
        )
        return new._with_rates()

    def raw(self) -> Termios:
        """This one, as cfmakeraw(3) makes it."""
        return replace(
            self,
            iflag=self.iflag
            & ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
            ),
            oflag=self.oflag & ~termios.OPOST,
            lflag=self.lflag
            & ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN),
        )  # fmt: skip

    def _with_rates(self) -> Termios:
        """Speeds as the flags say, and flags as exact speeds can be said by them
        (tty_baudrate.c: tty_termios_baud_rate, tty_termios_encode_baud_rate)."""
        code, icode = self.cflag & CBAUD, self.cflag >> IBSHIFT & CBAUD
        ospeed = self.ospeed if code == BOTHER else RATES[code]
        ispeed = self.ispeed if icode == BOTHER else RATES[icode] if icode else ospeed
        cflag = self.cflag & ~(CBAUD | _CIBAUD) | _CODES.get(ospeed, BOTHER)
        if icode:
            cflag |= _CODES.get(ispeed, BOTHER) << IBSHIFT
        return replace(self, cflag=cflag, ispeed=ispeed, ospeed=ospeed)

    def settings(self, *, dtr: bool, rts: bool, break_on: bool) -> Settings:
        """What of it a device wants to know."""
        cflag = self.cflag
        parity = cflag & (termios.PARENB | termios.PARODD | CMSPAR)
        return Settings(
            baud=self.ospeed,
            bits=_BITS[cflag & termios.CSIZE],
            parity=_PARITIES.get(parity, "none"),
            stop_bits=2 if cflag & termios.CSTOPB else 1,
            rtscts=bool(cflag & termios.CRTSCTS),
            xonxoff=bool(self.iflag & (termios.IXON | termios.IXOFF)),
            dtr=dtr,
            rts=rts,
            break_on=break_on,
        )
