"""Transfers: what clients do with a serial port's bytes: open, read, write, poll, close."""

from __future__ import annotations

import errno
import logging
import os
import select
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cuse_scullv import cuse

from .serial_port import CAP_SYS_ADMIN, DTR_RTS, LOW, BasePort

logger = logging.getLogger("cuse_scullv.classes.serial")

_HUNG_UP = select.POLLIN | select.POLLOUT | select.POLLERR | select.POLLHUP


class Transfers(BasePort):
    """A port without ioctls. The state of an open file is how many hang-ups there had been."""

    # --- open files -------------------------------------------------------------------------

    def open(self, file: cuse.File) -> int:
        with self._lock:
            if self._is_exclusive and not self.permits(file, CAP_SYS_ADMIN):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            self._opens += 1
            if self._line.termios.ospeed:
                self._modem.set(on=DTR_RTS)
        try:
            self._tell(waits=True)
            with self._lock:
                if not file.nonblocking:  # tty_port.c: tty_port_block_til_ready
                    self._changed.wait_for(self._has_carrier)
                return self._hangups
        except BaseException:
            self._leave()
            raise

    def release(self, file: cuse.File) -> None:
        # None: a worker that has died had opened it (cuse.serve: recover), and it is hung up.
        if file.state is not None:
            self._leave()

    def _leave(self) -> None:
        """With the last file goes what nobody has read; what waits to be sent does not."""
        with self._lock:
            self._opens -= 1
            if self._opens:
                return
            self._is_exclusive = self._in_break = False
            self._line.flush_input()
            self._line.stopped = self._line.suspended = False
            self._unthrottle()
            self._lower()
        self._output.run()
        self._tell()

    def _is_hung_up(self, file: cuse.File) -> bool:
        return bool(file.state != self._hangups)

    # --- reading ----------------------------------------------------------------------------

    def read(self, file: cuse.File, size: int) -> bytes:
        with self._lock:
            if self._is_reading or not self._has_enough(size):
                with self._turn(file):
                    self._await_input(file, size)
            data = b"" if self._is_hung_up(file) else self._line.take(size)
            lets_go = self._is_throttled and self._line.held() <= LOW and self._throttle(False)
            sends = lets_go or bool(self._line.out)  # transmit() may have wanted the room
        if lets_go:
            self._aside(self._tell)
        if sends:
            self._aside(self._output.run)
        return data

    def _aside(self, work: Callable[[], None]) -> None:
        """What it raises is not the client's, whose bytes would be lost with the error."""
        try:
            work()
        except Exception:
            logger.exception("%s: not the client's that reads", self.name)

    @contextmanager
    def _turn(self, file: cuse.File) -> Iterator[None]:
        """One client reads at a time, and gets what belongs together."""
        if self._is_reading and file.nonblocking:
            raise BlockingIOError
        self._changed.wait_for(lambda: not self._is_reading)
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False
            self._changed.notify_all()

    def _await_input(self, file: cuse.File, size: int) -> None:
        """n_tty.c: n_tty_read."""
        begun = time.monotonic()
        while not self._is_hung_up(file):
            pause = self._pause(size, begun)
            if pause == 0:
                return
            if file.nonblocking:
                if self._has_some():
                    return
                raise BlockingIOError
            try:
                self._changed.wait(pause)
            except InterruptedError:
                if self._has_some():  # fewer than VMIN, and they are the client's
                    return
                raise

    def _has_some(self) -> bool:
        return bool(self._line.ends if self._line.canonical else self._line.ready)

    def _has_enough(self, size: int) -> bool:
        """For a read to return at once."""
        line = self._line
        if line.canonical:
            return bool(line.ends)
        return len(line.ready) >= min(line.termios.cc[termios.VMIN] or 1, size)

    def _pause(self, size: int, begun: float) -> float | None:
        """How long a read that has `begun` then has to wait, seconds: 0 not at all, None for what
        comes. Of VMIN and VTIME see termios(3), "Canonical and noncanonical mode"."""
        if self._has_enough(size):
            return 0
        cc = self._line.termios.cc
        least, seconds = cc[termios.VMIN], cc[termios.VTIME] / 10
        if self._line.canonical or (least and not (seconds and self._line.ready)):
            return None
        since = max(begun, self._last_in) if least else begun
        return max(since + seconds - time.monotonic(), 0)

    # --- writing ----------------------------------------------------------------------------

    def write(self, file: cuse.File, data: memoryview) -> int:
        sent = 0
        while sent < len(data):
            try:
                with self._lock:
                    room = self._await_room(file)
                    part = bytes(data[sent : sent + room])
                    self._output.send(part)
                self._output.flow()
            except OSError:
                if sent:
                    break
                raise
            sent += len(part)
        return sent

    def _await_room(self, file: cuse.File) -> int:
        """Bytes that a client may send now: there is room, and no other sends. OSError EAGAIN,
        EINTR; EIO where it was hung up."""
        while not self._is_hung_up(file):
            if (room := self._output.room) and self._output.baton.is_free():
                return room
            if file.nonblocking:
                raise BlockingIOError
            self._changed.wait()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def poll(self, file: cuse.File) -> int:
        """n_tty.c: n_tty_poll. Where no time ends a read, there is input when there are VMIN."""
        with self._lock:
            if self._is_hung_up(file):
                return _HUNG_UP
            line, cc = self._line, self._line.termios.cc
            least = 1 if cc[termios.VTIME] else max(cc[termios.VMIN], 1)
            has_input = bool(line.ends) if line.canonical else len(line) >= least
            has_room = self._output.has_much_room and self._output.baton.is_free()
            return has_input * select.POLLIN | has_room * select.POLLOUT
