"""guided_classes: what the device classes make of a client's bytes, led by what it reaches.

    python tests/fuzz/guided_classes.py [-max_total_time=SECONDS] [CORPUS…]

The devices are those of examples/, over the fake kernel, which fails for an answer too few or too
many; the log fails it for an exception that no method meant. Needs atheris.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

with atheris.instrument_imports(include=["cuse_scullv.classes"]):
    import eeprom
    import hid_lamp
    import rtc
    import seeded_random
    import serial_echo
    import spi_flash
    import watchdog

from cuse_scullv import cuse
from cuse_scullv.cuse import testing

NOON = datetime.datetime(2026, 1, 1, 12)
DEVICES: list[Callable[[], cuse.Device]] = [
    lambda: eeprom.Eeprom("eeprom"),
    lambda: hid_lamp.Lamp("lamp"),
    lambda: rtc.FastClock("rtc", NOON),
    lambda: seeded_random.Seeded("random", "seed"),
    lambda: serial_echo.SerialEcho("serial"),
    lambda: spi_flash.Flash("flash"),
    lambda: watchdog.Dog("dog", "true", 60),
]
CALLS_MAX = 30
PATIENCE_S = 0.1  # of a client whom a break takes too long
ROOM = 256
"""Bytes behind a pointer at least, more than any of the structs."""


class Faults(logging.Handler):
    """What is logged as one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.first: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record


faults = Faults()
logging.getLogger("cuse_scullv").addHandler(faults)


def call(
    data: atheris.FuzzedDataProvider,
    kernel: testing.FakeKernel,
    file: testing.FakeFile,
    known: list[int],
) -> None:
    """One system call of a client."""
    kind = data.ConsumeIntInRange(0, 9)
    if kind == 0:
        file.read(data.ConsumeIntInRange(1, 300))
    elif kind == 1:
        file.write(data.ConsumeBytes(data.ConsumeIntInRange(0, 300)))
    elif kind == 2:
        file.poll()
    else:
        ioctl(data, kernel, file, known)


def ioctl(
    data: atheris.FuzzedDataProvider,
    kernel: testing.FakeKernel,
    file: testing.FakeFile,
    known: list[int],
) -> None:
    command = data.ConsumeUInt(4)
    if data.ConsumeIntInRange(0, 7):
        command = known[command % len(known)]
    compat = data.ConsumeBool()
    if not data.ConsumeIntInRange(0, 3):
        file.ioctl(command, data.ConsumeUInt(8), compat=compat)
        return
    given = data.ConsumeBytes(data.ConsumeIntInRange(0, 200))
    if data.ConsumeBool():  # in it is a pointer to more
        more = kernel.memory.alloc(data.ConsumeBytes(64).ljust(64, b"\0"), compat=compat)
        at = data.ConsumeIntInRange(0, len(given))
        given = given[:at] + more.to_bytes(4 if compat else 8, "little") + given[at:]
    pointer = kernel.memory.alloc(given.ljust(ROOM, b"\0"), compat=compat)
    file.ioctl(command, pointer, compat=compat)


def one_input(given: bytes) -> None:
    data = atheris.FuzzedDataProvider(given)
    device = DEVICES[data.ConsumeIntInRange(0, len(DEVICES) - 1)]()
    known = sorted(map(int, type(device)._ioctls)) or [0]
    faults.first = None
    with testing.serve(device) as kernel, kernel.open(os.O_RDWR | os.O_NONBLOCK) as file:
        for _ in range(CALLS_MAX):
            if not data.remaining_bytes():
                break
            made = kernel.start(call, data, kernel, file, known)
            if not made.wait(PATIENCE_S):
                made.interrupt()
            with contextlib.suppress(OSError):
                made.result()
    if faults.first is not None:
        sys.exit(logging.Formatter().format(faults.first))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
