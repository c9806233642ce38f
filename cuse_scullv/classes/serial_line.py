"""LineDiscipline: what a terminal makes of bytes on their way in and out: the kernel's n_tty.

Pure: no threads, no clocks, no device. In raw mode bytes pass as they are; in canonical mode they
are lines, which can be edited before they are read. Echoes go the way of output.

Source: drivers/tty/n_tty.c, whose functions are named below. Not there: columns (tabs are one wide
when erased; XTABS, ONOCR and ONLRET do nothing), ECHOPRT, VREPRINT, EXTPROC, IUCLC, OLCUC. Nobody
is signalled: VINTR and its like only flush, as in a terminal that is no process's own."""

from __future__ import annotations

import termios

from .serial_queues import Queues
from .serial_settings import Termios

LINE_MAX = 4095
"""Characters of a line, without its end: what is typed beyond is dropped (N_TTY_BUF_SIZE)."""

_ICOOKED = (
    termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON | termios.PARMRK
)  # fmt: skip
_LCOOKED = termios.ICANON | termios.ECHO | termios.ISIG
_IUTF8 = 0o40000
_CR, _NL, _TAB, _DEL, _MARK = 0x0D, 0x0A, 0x09, 0x7F, 0xFF


class LineDiscipline(Queues):
    """The queues, and what comes into them."""

    def __init__(self, settings: Termios) -> None:
        super().__init__(settings)
        self._quoted = False  # VLNEXT came: the next character is as any other
        self._echoes = False  # what comes just now
        self._learn()

    def set_termios(self, new: Termios) -> None:
        super().set_termios(new)
        self._learn()

    def flush_input(self) -> None:
        super().flush_input()
        self._quoted = False

    def _learn(self) -> None:
        """What is the same for every character."""
        new = self.termios
        self._cooked = bool(new.iflag & _ICOOKED or new.lflag & _LCOOKED)
        special = set()
        if new.iflag & (termios.IGNCR | termios.ICRNL):
            special.add(_CR)
        if new.iflag & termios.INLCR:
            special.add(_NL)
        names = []
        if self.canonical:
            special.add(_NL)
            names += [termios.VERASE, termios.VKILL, termios.VEOF, termios.VEOL]
            if new.lflag & termios.IEXTEN:
                names += [termios.VWERASE, termios.VLNEXT, termios.VEOL2]
        if new.iflag & termios.IXON:
            names += [termios.VSTART, termios.VSTOP]
        if new.lflag & termios.ISIG:
            names += [termios.VINTR, termios.VQUIT, termios.VSUSP]
        special |= {new.cc[name] for name in names}
        self._special = special - {0}  # _POSIX_VDISABLE

    # --- in ---------------------------------------------------------------------------------

    def receive(self, data: bytes, *, echoes: bool = True) -> None:
        """Bytes came over the wire; `echoes`: they are echoed if ECHO is set."""
        if not self._cooked:
            self.ready += data
            return
        self._echoes = echoes and bool(self.termios.lflag & termios.ECHO)
        for char in data:
            self._receive(char)

    def receive_break(self) -> None:
        """n_tty_receive_break."""
        iflag = self.termios.iflag
        if iflag & termios.IGNBRK:
            return
        if iflag & termios.BRKINT:
            self._interrupt()
        else:
            (self.edited if self.canonical else self.ready).extend(
                b"\xff\0\0" if iflag & termios.PARMRK else b"\0"
            )

    def _receive(self, char: int) -> None:
        if self.termios.iflag & termios.ISTRIP:
            char &= 0x7F
        if self._quoted:
            self._quoted = False
        elif char in self._special:
            self._receive_special(char)
            return
        self._any_start()
        self._echo(char)
        self._store(char)

    def _receive_special(self, char: int) -> None:
        """n_tty_receive_char_special."""
        iflag, lflag, cc = self.termios.iflag, self.termios.lflag, self.termios.cc
        if iflag & termios.IXON and char in (cc[termios.VSTART], cc[termios.VSTOP]):
            if char == cc[termios.VSTOP] != cc[termios.VSTART]:
                self.stopped = True
            elif not self.suspended:
                self.stopped = False
            return
        if lflag & termios.ISIG and char in (
            cc[termios.VINTR], cc[termios.VQUIT], cc[termios.VSUSP]
        ):  # fmt: skip
            self._interrupt()
            if iflag & termios.IXON and not self.suspended:
                self.stopped = False
            self._echo(char)
            return
        self._any_start()
        if char == _CR:
            if iflag & termios.IGNCR:
                return
            if iflag & termios.ICRNL:
                char = _NL
        elif char == _NL and iflag & termios.INLCR:
            char = _CR
        if self.canonical and self._receive_editing(char):
            return
        if char == _NL:
            if self._echoes:
                self._put(_NL)
        else:
            self._echo(char)
        self._store(char)

    def _receive_editing(self, char: int) -> bool:
        """Whether `char` edits or ends the line."""
        lflag, cc = self.termios.lflag, self.termios.cc
        extended = lflag & termios.IEXTEN
        if char == _NL:
            if self._echoes or lflag & termios.ECHONL:
                self._put(_NL)
            self._end(b"\n")
        elif char == 0:  # no character is special that is 0
            return False
        elif char in (cc[termios.VERASE], cc[termios.VKILL]) or (
            extended and char == cc[termios.VWERASE]
        ):
            self._erase(char)
        elif extended and char == cc[termios.VLNEXT]:
            self._quoted = True
            if self._echoes and lflag & termios.ECHOCTL:
                self.out += b"^\b"
        elif char == cc[termios.VEOF]:
            self._end(b"")
        elif char == cc[termios.VEOL] or (extended and char == cc[termios.VEOL2]):
            self._echo(char)
            self._end(self._marked(char))
        else:
            return False
        return True

    def _store(self, char: int) -> None:
        if not self.canonical:
            self.ready += self._marked(char)
        elif len(self.edited) < LINE_MAX:
            self.edited += self._marked(char)

    def _marked(self, char: int) -> bytes:
        """With PARMRK, 0xFF begins a mark, so one that is none is doubled."""
        return bytes((char,)) * (1 + bool(char == _MARK and self.termios.iflag & termios.PARMRK))

    def _end(self, last: bytes) -> None:
        self.edited += last
        self.ready += self.edited
        self.ends.append(len(self.edited))
        self.edited.clear()

    def _interrupt(self) -> None:
        """isig, of a terminal without a process group."""
        if not self.termios.lflag & termios.NOFLSH:
            self.flush_input()
            self.out.clear()

    def _any_start(self) -> None:
        if self.stopped and not self.suspended:
            wanted = termios.IXON | termios.IXANY
            self.stopped = self.termios.iflag & wanted != wanted

    # --- editing ----------------------------------------------------------------------------

    def _erase(self, char: int) -> None:
        """eraser()."""
        lflag, cc, line = self.termios.lflag, self.termios.cc, self.edited
        if not line:
            return
        kills, words = char == cc[termios.VKILL], char == cc[termios.VWERASE]
        shows = termios.ECHOE | termios.ECHOK | termios.ECHOKE
        if kills and (not self._echoes or lflag & shows != shows):
            line.clear()
            self._echo(char)
            if self._echoes and lflag & termios.ECHOK:
                self._put(_NL)
            return
        in_word = False
        while line:
            start = self._last_start()
            first = line[start]
            if self._continues(first):
                break  # of a character that began before this line
            if words:
                if _is_alnum(first):
                    in_word = True
                elif in_word:
                    break
            del line[start:]
            self._echo_erasing(char, first, alone=not kills and not words)
            if not kills and not words:
                break

    def _last_start(self) -> int:
        """Where the last character of the line begins."""
        start = len(self.edited) - 1
        while start > 0 and self._continues(self.edited[start]):
            start -= 1
        return start

    def _continues(self, byte: int) -> bool:
        """A character of several bytes, of which `byte` is not the first (IUTF8)."""
        return bool(self.termios.iflag & _IUTF8) and byte & 0xC0 == 0x80

    def _echo_erasing(self, char: int, erased: int, alone: bool) -> None:
        if not self._echoes:
            return
        lflag = self.termios.lflag
        if alone and not lflag & termios.ECHOE:
            self._echo(char)
        elif not _is_control(erased):
            self.out += b"\b \b"
        elif lflag & termios.ECHOCTL:
            self.out += b"\b \b" * (1 if erased == _TAB else 2)

    def _echo(self, char: int) -> None:
        """echo_char, process_echoes."""
        if not self._echoes:
            return
        if self.termios.lflag & termios.ECHOCTL and _is_control(char) and char != _TAB:
            self.out += bytes((ord("^"), char ^ 0x40))
        else:
            self._put(char)


def _is_control(char: int) -> bool:
    """iscntrl() of lib/ctype.c."""
    return char < 0x20 or char == _DEL


def _is_alnum(char: int) -> bool:
    """isalnum() of lib/ctype.c, which is Latin-1, and the underscore."""
    if char < 0x80:
        return chr(char).isalnum() or char == ord("_")
    return char >= 0xC0 and char not in (0xD7, 0xF7)
