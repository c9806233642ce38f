"""Output: what a port has to send, flow control, and the one who sends it."""

from __future__ import annotations

import termios
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from cuse_scullv import cuse

from .serial_baton import Baton, call
from .serial_line import LineDiscipline
from .serial_modem import Modem

ROOM = 4096
"""Bytes that wait to be sent, at most: as a serial driver's (UART_XMIT_SIZE)."""
_WAKEUP = 256  # POLLOUT: fewer wait (WAKEUP_CHARS)


class Output:
    """The sending half of a port. Its methods want the lock held, but run(), which does not."""

    def __init__(
        self,
        lock: threading.Lock,
        changed: cuse.Condition,
        line: LineDiscipline,
        modem: Modem,
        transmit: Callable[[bytes], Any],
        notify: Callable[[], None],
    ) -> None:
        """`changed`, of `lock`: is notified when something has been sent. `transmit`: takes bytes,
        and says how many; None is all. `notify`: wakes who polls."""
        self._lock = lock
        self._line = line
        self._modem = modem
        self._transmit = transmit
        self._urgent = bytearray()  # flow control of our own: nothing holds it back
        self._drops = 0  # how often the queue has been dropped
        self._rest: tuple[bytearray, bytes, int] | None = None  # what transmit() has left just now
        self._is_full = False  # it has left something, and nothing has happened since
        self.baton = Baton(lock, changed, self._next_step, notify)

    @property
    def room(self) -> int:
        """Bytes of a client's that there is room for."""
        return max(ROOM - len(self._line.out), 0)

    @property
    def has_much_room(self) -> bool:
        return len(self._line.out) < _WAKEUP

    @property
    def may_echo(self) -> bool:
        """There is room, and it does not answer what is just being sent."""
        return not self.baton.is_mine() and len(self._line.out) < ROOM

    @property
    def is_sent(self) -> bool:
        """All is; nothing is under way."""
        return not self._line.out and self.baton.is_free()

    def send(self, data: bytes) -> None:
        """A client's bytes, to be sent by run()."""
        self._line.send(data)
        self._is_full = False

    def run(self) -> None:
        """Sends what can be sent; after send(), or when something has happened. Without the lock,
        as all that calls transmit()."""
        with self._lock:
            self._is_full = False
        self.flow()

    def flow(self) -> None:
        """run(), where the queue has been looked at with the lock held already."""
        self.baton.run()

    def send_urgent(self, char: int) -> None:
        """A START or STOP character of ours, before all else (tty_io.c: tty_send_xchar)."""
        if char:
            self._urgent.append(char)

    def drop(self) -> None:
        """What waits is not sent at all (TCOFLUSH)."""
        self._line.out.clear()
        self._drops += 1

    def _next_step(self) -> Callable[[], None] | None:
        self._put_back()
        queue = self._urgent or self._line.out
        if not queue or self._is_full or (queue is self._line.out and self._is_held()):
            return None
        data = bytes(queue[:ROOM])
        del queue[:ROOM]
        # Until it has taken all; what happens meanwhile, as a client that reads, may make room.
        self._is_full = True
        return partial(self._send, queue, data, self._drops)

    def _is_held(self) -> bool:
        """Flow control holds the queue back."""
        lines = self._line.termios.cflag & termios.CRTSCTS
        return self._line.stopped or bool(lines and not self._modem.has(termios.TIOCM_CTS))

    def _send(self, queue: bytearray, data: bytes, drops: int) -> None:
        try:
            taken = call(self._transmit, data)
            if taken is None:
                taken = len(data)
            elif not isinstance(taken, int) or not 0 <= taken <= len(data):
                raise TypeError(f"transmit() returned {taken!r}, not None or 0 to {len(data)}")
        except BaseException:
            with self._lock:
                self.drop()  # or some of what a client was told has failed would come later
            raise
        self._modem.tx += taken
        self._rest = queue, data[taken:], drops

    def _put_back(self) -> None:
        """What was left of the last step, unless it has been dropped meanwhile."""
        if self._rest is None:
            return
        queue, rest, drops = self._rest
        self._rest = None
        if not rest:
            self._is_full = False
        elif drops == self._drops:
            queue[:0] = rest
