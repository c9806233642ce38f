"""A serial port: what a terminal does for its clients, around a device that sends and receives.

    from cuse_scullv import cuse
    from cuse_scullv.classes import serial

    class Loopback(serial.Port):
        def transmit(self, data):
            return self.feed(data)

    cuse.serve(Loopback("ttyLOOP"))

See docs/classes/serial.md. serial_line.py is what becomes of bytes, serial_port.py who waits for
them, serial_ioctls.py what clients can set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .serial_ioctls import Ioctls
from .serial_mistakes import check_class, check_port
from .serial_settings import Parity, Settings

__all__ = ["Parity", "Port", "Settings"]


class Port(Ioctls):
    """A serial port, as clients know /dev/ttyS0. To subclass, with

    - `transmit(data)`, which gets what clients send,
    - `line_changed(settings)`, if it matters what they have set.

    To call, on any thread: `feed(data)` with what clients are to read, `set_lines(cts=…)`,
    `feed_break()`, `hang_up()`, `resume()`; to look at: `settings`, `room`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)

    def __init__(
        self,
        name: str,
        *,
        raw: bool = False,
        transmit: Callable[[bytes], Any] | None = None,
        line_changed: Callable[[Settings], Any] | None = None,
        **options: Any,
    ) -> None:
        """`raw`: it begins in raw mode without echo, as after `stty raw -echo`; else as the
        kernel's ports do, in canonical mode with echo. 9600 8N1 either way. `transmit`,
        `line_changed`: functions in place of methods. `options`: as of cuse.Device.

        TypeError where there is no transmit."""
        for method, function in (("transmit", transmit), ("line_changed", line_changed)):
            if function is not None:
                setattr(self, method, function)
        check_port(self, Ioctls)
        super().__init__(name, raw=raw, **options)
