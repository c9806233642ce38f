"""What the arguments of ioctls are, of commands whose numbers do not say it.

A number made by _IOR, _IOW or _IOWR says how many bytes go which way (asm-generic/ioctl.h). Those
of terminals and other old ones do not, and some say it falsely: they take by value what they call
a pointer. Both are in this table, for x86-64 and other machines with asm-generic/ioctls.h.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from cuse_scullv.cuse import Command


class Argument(NamedTuple):
    """Bytes in the client's memory that the driver takes, and gives; or a value; or nothing."""

    takes: int = 0
    gives: int = 0
    is_value: bool = False


NOTHING = Argument()
BY_VALUE = Argument(is_value=True)
_LARGEST = 1 << 14
"""No driver takes more bytes than that by the size in a number (_IOC_SIZEBITS)."""

_TERMIOS, _TERMIO, _WINSIZE, _INT, _ICOUNT, _SERIAL, _RS485 = 36, 18, 8, 4, 80, 72, 32


def _takes(size: int, **commands: int) -> dict[int, tuple[str, Argument]]:
    return {number: (name, Argument(takes=size)) for name, number in commands.items()}


def _gives(size: int, **commands: int) -> dict[int, tuple[str, Argument]]:
    return {number: (name, Argument(gives=size)) for name, number in commands.items()}


def _by_value(**commands: int) -> dict[int, tuple[str, Argument]]:
    return {number: (name, BY_VALUE) for name, number in commands.items()}


def _takes_nothing(**commands: int) -> dict[int, tuple[str, Argument]]:
    """What clients leave there is by chance."""
    return {number: (name, NOTHING) for name, number in commands.items()}


_TABLE: dict[int, tuple[str, Argument]] = {
    # Terminals: asm-generic/ioctls.h, termios.h, termbits.h; ioctl_tty(2); drivers/tty/tty_ioctl.c
    **_gives(_TERMIOS, TCGETS=0x5401, TIOCGLCKTRMIOS=0x5456),
    **_takes(_TERMIOS, TCSETS=0x5402, TCSETSW=0x5403, TCSETSF=0x5404, TIOCSLCKTRMIOS=0x5457),
    **_gives(_TERMIO, TCGETA=0x5405),
    **_takes(_TERMIO, TCSETA=0x5406, TCSETAW=0x5407, TCSETAF=0x5408),
    **_by_value(TCSBRK=0x5409, TCXONC=0x540A, TCFLSH=0x540B, TCSBRKP=0x5425),
    **_takes_nothing(TIOCEXCL=0x540C, TIOCNXCL=0x540D, TIOCSBRK=0x5427, TIOCCBRK=0x5428),
    **_takes_nothing(TIOCNOTTY=0x5422, TIOCVHANGUP=0x5437, TIOCCONS=0x541D),
    **_by_value(TIOCSCTTY=0x540E),
    **_gives(_INT, TIOCGPGRP=0x540F, TIOCGSID=0x5429, TIOCGETD=0x5424),
    **_takes(_INT, TIOCSPGRP=0x5410, TIOCSETD=0x5423, TIOCPKT=0x5420),
    **_takes(1, TIOCSTI=0x5412),
    **_gives(_WINSIZE, TIOCGWINSZ=0x5413),
    **_takes(_WINSIZE, TIOCSWINSZ=0x5414),
    **_gives(_INT, TIOCOUTQ=0x5411, FIONREAD=0x541B),
    # Modem lines and serial ports: asm-generic/termios.h; linux/serial.h
    **_gives(_INT, TIOCMGET=0x5415, TIOCGSOFTCAR=0x5419, TIOCSERGETLSR=0x5459),
    **_takes(_INT, TIOCMBIS=0x5416, TIOCMBIC=0x5417, TIOCMSET=0x5418, TIOCSSOFTCAR=0x541A),
    **_by_value(TIOCMIWAIT=0x545C),
    **_gives(_ICOUNT, TIOCGICOUNT=0x545D),
    **_gives(_SERIAL, TIOCGSERIAL=0x541E),
    **_takes(_SERIAL, TIOCSSERIAL=0x541F),
    **_gives(_RS485, TIOCGRS485=0x542E),
    0x542F: ("TIOCSRS485", Argument(takes=_RS485, gives=_RS485)),
    # Clocks: linux/rtc.h, drivers/rtc/dev.c takes these as values, whatever the number says.
    **_by_value(RTC_IRQP_SET=0x4008700C, RTC_EPOCH_SET=0x4008700E),
    **_takes_nothing(RTC_AIE_ON=0x7001, RTC_AIE_OFF=0x7002, RTC_UIE_ON=0x7003, RTC_UIE_OFF=0x7004),
    **_takes_nothing(RTC_PIE_ON=0x7005, RTC_PIE_OFF=0x7006),
    **_takes_nothing(RTC_WIE_ON=0x700F, RTC_WIE_OFF=0x7010),
    **_gives(36, RTC_RD_TIME=0x80247009, RTC_ALM_READ=0x80247008),
    **_takes(36, RTC_SET_TIME=0x4024700A, RTC_ALM_SET=0x40247007),
    **_gives(40, RTC_WKALM_RD=0x80287010),
    **_takes(40, RTC_WKALM_SET=0x4028700F),
    0x40187013: ("RTC_PARAM_GET", Argument(takes=24, gives=24)),  # says _IOW
    # HPET: linux/hpet.h, drivers/char/hpet.c
    **_by_value(HPET_IRQFREQ=0x40086806),
    # Input: linux/input.h, drivers/input/evdev.c; linux/uinput.h (UI_SET_EVBIT … UI_SET_PROPBIT)
    **_by_value(EVIOCRMFF=0x40044581, EVIOCGRAB=0x40044590, EVIOCREVOKE=0x40044591),
    **{0x40045500 | number: ("", BY_VALUE) for number in (*range(100, 108), 109, 110)},
    # I2C: linux/i2c-dev.h. I2C_RDWR and I2C_SMBUS hold pointers and are not here.
    **_by_value(I2C_RETRIES=0x0701, I2C_TIMEOUT=0x0702, I2C_SLAVE=0x0703, I2C_SLAVE_FORCE=0x0706),
    **_by_value(I2C_TENBIT=0x0704, I2C_PEC=0x0708),
    **_gives(8, I2C_FUNCS=0x0705),
    # Printers: linux/lp.h
    **_gives(_INT, LPGETSTATUS=0x060B),
    **_by_value(LPRESET=0x060C),
}
_SIZES = 0x3FFF << 16
_UNSIZED = 0x40006B00, 0x4000556C
"""Without their sizes: SPI_IOC_MESSAGE(n), structures that point to data (linux/spi/spidev.h), and
UI_SET_PHYS, a text of any length (drivers/input/misc/uinput.c)."""


def argument_of(command: int, value: int) -> Argument | None:
    """What `value` is, the argument of a command. None: it may be an address, and nobody knows of
    what, or of what holds addresses in turn. The driver would take it for one in our own memory."""
    if command in _TABLE:
        return _TABLE[command][1]
    if command & ~_SIZES in _UNSIZED:
        return None
    said = Command.of(command)
    if said.size:
        return Argument(said.size if said.takes else 0, said.size if said.gives else 0)
    return BY_VALUE if _is_no_address(value) else None


def _is_no_address(value: int) -> bool:
    """Nothing of this process lies there or soon after, or it is in the kernel's half."""
    return value + _LARGEST <= _lowest_address() or value >= 1 << 63


@cache
def _lowest_address() -> int:
    """Of this process's memory (proc_pid_maps(5)): of a program that is position-independent some
    2^46; no process has any below vm.mmap_min_addr, 65,536."""
    return int(Path("/proc/self/maps").read_text().partition("-")[0], 16)


def name_of(command: int) -> str:
    """As headers call it; "": not known here."""
    return _TABLE[command][0] if command in _TABLE else ""
