"""The class of serial ports: against the kernel's own line discipline, over the fake kernel, and as
a node that stty, socat, picocom and pyserial use."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pty
import random
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.classes import serial, serial_info, serial_ioctls, serial_settings
from cuse_scullv.classes.serial_modem import ICOUNTER
from cuse_scullv.classes.serial_settings import TERMIOS, TERMIOS2, Termios
from cuse_scullv.cuse.testing import FakeFile, FakeKernel
from nodes import until
from ntty import Terminal
from programs import serial_rate

Serve = Callable[..., FakeKernel]
NODE = Path("/dev/ttyTEST")
LONG = 90.0  # seconds, for what takes one of them
RAW = {"raw": True}


class Recorder(serial.Port):
    """Keeps what was sent, and what it was told of the line."""

    permitted = True

    def __init__(self, name: str = "ttyTEST", **options: Any) -> None:
        super().__init__(name, mode=0o666, **options)
        self.sent = b""
        self.told: list[serial.Settings] = []

    def transmit(self, data: bytes) -> int | None:
        self.sent += data
        return None

    def line_changed(self, settings: serial.Settings) -> None:
        self.told.append(settings)

    def permits(self, file: cuse.File, capability: int) -> bool:
        return self.permitted


class Loopback(serial.Port):
    def transmit(self, data: bytes) -> int:
        return self.feed(data)


@contextlib.contextmanager
def errno_is(code: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code


class Client:
    """A client of a fake kernel's port, as termios(3) has it."""

    def __init__(self, kernel: FakeKernel, flags: int = os.O_RDWR) -> None:
        self.kernel = kernel
        self.file: FakeFile = kernel.open(flags)
        self.memory = kernel.memory.alloc(128)

    def get(self, command: int, size: int = 4) -> bytes:
        self.file.ioctl(command, self.memory)
        return self.kernel.memory.read(self.memory, size)

    def put(self, command: int, data: bytes) -> None:
        self.kernel.memory.write(self.memory, data)
        self.file.ioctl(command, self.memory)

    def number(self, command: int) -> int:
        return int.from_bytes(self.get(command), "little")

    def set_number(self, command: int, value: int) -> None:
        self.put(command, value.to_bytes(4, "little"))

    def settings(self) -> Termios:
        return Termios(*TERMIOS2.unpack(self.get(serial_ioctls.TCGETS2, TERMIOS2.size)))

    def set(self, command: int = termios.TCSETS, **fields: Any) -> None:
        self.put(command, TERMIOS.pack(*replace(self.settings(), **fields).pack()))

    def set_raw(self, least: int = 1, tenths: int = 0, **fields: Any) -> None:
        raw = self.settings().raw()
        cc = bytearray(raw.cc)
        cc[termios.VMIN], cc[termios.VTIME] = least, tenths
        self.put(termios.TCSETS, TERMIOS.pack(*replace(raw, cc=bytes(cc), **fields).pack()))


@pytest.fixture
def recorder(cuse_device: Serve) -> tuple[Recorder, Client]:
    port = Recorder()
    return port, Client(cuse_device(port))


def run(*command: str, stdin: bytes = b"") -> bytes:
    """What a program prints, which ends well."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=LONG, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def node() -> Iterator[Recorder]:
    class Plug(Recorder):
        """Its own other end: what is sent comes back, and so do the lines."""

        def transmit(self, data: bytes) -> int:
            self.sent += data
            return self.feed(data)

        def line_changed(self, settings: serial.Settings) -> None:
            super().line_changed(settings)
            self.set_lines(cts=settings.rts, dsr=settings.dtr)

    port = Plug(NODE.name)
    with cuse.Channel(port) as channel:
        channel.wait_ready()
        yield port


# --- numbers ------------------------------------------------------------------------------------

NAMES = (
    "TCGETS", "TCSETS", "TCSETSW", "TCSETSF", "TCGETS2", "TCSETS2", "TCSETSW2", "TCSETSF2",
    "TIOCGETD", "TIOCSETD", "FIONREAD", "TIOCINQ", "TIOCOUTQ", "TCFLSH", "TCXONC", "TCSBRK",
    "TCSBRKP", "TIOCSBRK", "TIOCCBRK", "TIOCMGET", "TIOCMSET", "TIOCMBIS", "TIOCMBIC",
    "TIOCMIWAIT", "TIOCGICOUNT", "TIOCEXCL", "TIOCNXCL", "TIOCGEXCL", "TIOCGWINSZ", "TIOCSWINSZ",
    "TIOCGSERIAL", "TIOCSSERIAL",
)  # fmt: skip
NUMBERS = {name: getattr(serial_ioctls, name, None) or getattr(termios, name) for name in NAMES}
SIZES = {
    "struct termios": TERMIOS.size,
    "struct termios2": TERMIOS2.size,
    "struct serial_icounter_struct": ICOUNTER.size,
    "struct winsize": serial_ioctls.WINSIZE.size,
}


@pytest.mark.parametrize("width", ["-m64", "-m32"])
def test_numbers_and_layouts_are_those_of_the_headers(width: str, tmp_path: Path) -> None:
    info = serial_info.LAYOUTS[width == "-m32"]
    info_fields = serial_info.SerialInfo._fields
    rates = {f"B{rate}": code for code, rate in serial_settings.RATES.items()}
    flags = {"CBAUD": serial_settings.CBAUD, "BOTHER": serial_settings.BOTHER}
    numbers = NUMBERS | rates | flags | {"CMSPAR": serial_settings.CMSPAR, "IBSHIFT": 16}
    sizes = SIZES | {"struct serial_struct": info.size}
    c_names = {"reserved": "reserved_char[0]"}
    fill = "".join(
        f"s.{c_names.get(name, name)} = (__typeof__(s.{c_names.get(name, name)})){place};\n"
        for place, name in enumerate(info_fields, 1)
    )
    source = tmp_path / "numbers.c"
    source.write_text(
        "#include <stdio.h>\n#include <string.h>\n#include <asm/termbits.h>\n"
        "#include <asm/ioctls.h>\n#include <linux/serial.h>\n#include <linux/termios.h>\n"
        "int main(void) {\n"
        + "\n".join(f'printf("{name} %lu\\n", (unsigned long){name});' for name in numbers)
        + "\n".join(f'printf("{name}: %zu\\n", sizeof({name}));' for name in sizes)
        + "struct serial_struct s; unsigned char *b = (void *)&s; memset(&s, 0, sizeof s);"
        + fill
        + 'for (unsigned i = 0; i < sizeof s; i++) printf("%02x", b[i]); return 0; }\n'
    )
    subprocess.run(["gcc", width, "-o", tmp_path / "numbers", source], check=True)
    *lines, filled = subprocess.run(
        [tmp_path / "numbers"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    said = {name.rstrip(":"): int(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert said == numbers | sizes
    values = serial_info.SerialInfo(*info.unpack(bytes.fromhex(filled)))
    assert list(values) == list(range(1, len(info_fields) + 1))


# --- bytes: as the kernel's n_tty ---------------------------------------------------------------

IFLAGS = [termios.ISTRIP, termios.INLCR, termios.IGNCR, termios.ICRNL, termios.IXON, termios.IXANY,
          termios.PARMRK, 0o40000]  # fmt: skip
OFLAGS = [termios.OPOST, termios.ONLCR, termios.OCRNL]
LFLAGS = [termios.ICANON, termios.ECHO, termios.ECHOE, termios.ECHOK, termios.ECHONL,
          termios.ECHOCTL, termios.ECHOKE, termios.ISIG, termios.IEXTEN,
          termios.NOFLSH]  # fmt: skip
TYPED = b"\3\x1c\x7f\x15\x11\x13\x1a\x17\x16\0\r\nab c_\xff\xc3\xa4\xe9\x85\x01;|"


def some_settings(chance: random.Random) -> Termios:
    def some(flags: list[int]) -> int:
        return sum(flag for flag in flags if chance.random() < 0.5)

    cc = bytearray(Termios().cc)
    cc[termios.VEOL], cc[termios.VEOL2] = chance.choice([0, ord(";")]), chance.choice([0, ord("|")])
    return replace(
        Termios(), iflag=some(IFLAGS), oflag=some(OFLAGS), lflag=some(LFLAGS), cc=bytes(cc)
    )


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_bytes_become_what_the_kernel_makes_of_them(first: int) -> None:
    for seed in range(first, first + 100):
        chance = random.Random(seed)
        settings = some_settings(chance)
        # An end of file that is not read yet hides from us when a signal has been dealt with.
        typed = TYPED if settings.lflag & termios.ISIG else TYPED + b"\4\4"
        with contextlib.closing(Terminal(settings)) as terminal:
            for _ in range(10):
                kind = chance.random()
                if kind < 0.6:
                    length = chance.randrange(1, 8)
                    terminal.receive(bytes(chance.choice(typed) for _ in range(length)))
                elif kind < 0.75 and not terminal.ours.stopped:
                    terminal.send(bytes(chance.choice(b"ab\r\n\t\xff") for _ in range(4)))
                else:
                    terminal.read(chance.choice([1, 3, 100]))


def test_a_line_is_read_as_a_whole_when_lines_begin_and_end_to_matter() -> None:
    raw, lines = replace(Termios(), lflag=0), replace(Termios(), lflag=termios.ICANON)
    with contextlib.closing(Terminal(raw)) as terminal:
        terminal.receive(b"ab\ncd")
        terminal.set(lines)
        assert terminal.read(100) == b"ab\ncd"
        terminal.receive(b"ef\ngh")
        assert terminal.read(2) == b"ef"
        terminal.set(raw)
        assert terminal.read(100) == b"\ngh"


def test_a_line_has_an_end(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.set(lflag=termios.ICANON)
    assert port.feed(b"x" * 5000 + b"\n" + b"more\n") == 5006
    assert client.file.read(9000) == b"x" * 4095 + b"\n"
    assert client.file.read(9000) == b"more\n"


def test_a_break_is_what_the_flags_make_of_it(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    for iflag, wanted in (
        (0, b"a\0b"),
        (termios.PARMRK, b"a\xff\0\0b"),
        (termios.IGNBRK, b"ab"),
        (termios.BRKINT, b"b"),
    ):
        client.set(iflag=iflag, lflag=0)
        port.feed(b"a")
        port.feed_break()
        port.feed(b"b")
        assert client.file.read(100) == wanted
    assert ICOUNTER.unpack(client.get(termios.TIOCGICOUNT, 80))[9] == 4


# --- settings -----------------------------------------------------------------------------------


def test_a_port_begins_as_the_kernels_do(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    main, other = pty.openpty()
    theirs = termios.tcgetattr(other)
    os.close(main)
    os.close(other)
    ours = client.settings()
    assert [ours.iflag, ours.oflag, ours.lflag] == [theirs[0], theirs[1], theirs[3]]
    characters = [value if isinstance(value, int) else value[0] for value in theirs[6]]
    assert list(ours.cc[:17]) == characters[:17]
    assert str(port.settings) == "9600 8N1"
    assert port.told == [serial.Settings(xonxoff=True, dtr=True, rts=True)]


def test_settings_are_told(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    flags = termios.CREAD | termios.CLOCAL
    mark = termios.PARENB | termios.PARODD | serial_settings.CMSPAR
    client.set(
        cflag=flags | 0x1002 | termios.CS7 | mark | termios.CSTOPB | termios.CRTSCTS, iflag=0
    )
    assert port.told[-1] == serial.Settings(115200, 7, "mark", 2, rtscts=True, dtr=True, rts=True)
    for parity, name in ((0, "none"), (termios.PARENB, "even"), (0x300, "odd")):
        client.set(cflag=flags | 0x1002 | termios.CS5 | parity)
        assert (port.settings.parity, port.settings.bits) == (name, 5)
    told = len(port.told)
    client.set()  # the same again
    assert len(port.told) == told


def test_any_rate_can_be_set(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    other = serial_settings.BOTHER | termios.CS8 | termios.CREAD | termios.CLOCAL
    ours = replace(client.settings(), cflag=other, ispeed=250000, ospeed=250000)
    client.put(serial_ioctls.TCSETS2, TERMIOS2.pack(*ours.pack2()))
    assert port.settings.baud == 250000
    assert client.settings().cflag & serial_settings.CBAUD == serial_settings.BOTHER
    client.set(termios.TCSETSW)  # termios has no field for it: it stays
    assert port.settings.baud == 250000
    ours = replace(ours, ispeed=921600, ospeed=921600)
    client.put(serial_ioctls.TCSETSW2, TERMIOS2.pack(*ours.pack2()))
    assert client.settings().cflag & serial_settings.CBAUD == 0x1007  # B921600
    split = replace(ours, cflag=0x1002 | 0xD << 16, ispeed=0, ospeed=0)  # B115200 out, B9600 in
    client.put(serial_ioctls.TCSETSF2, TERMIOS2.pack(*split.pack2()))
    assert (client.settings().ospeed, client.settings().ispeed) == (115200, 9600)


def test_speed_0_hangs_up_and_another_is_ready_again(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    usual = client.settings().cflag
    client.set(cflag=usual & ~serial_settings.CBAUD)
    assert (port.settings.baud, port.settings.dtr, port.settings.rts) == (0, False, False)
    client.set(cflag=usual)
    assert (port.settings.baud, port.settings.dtr, port.settings.rts) == (9600, True, True)


def test_what_line_changed_raises_is_the_clients(cuse_device: Serve) -> None:
    def refuse(settings: serial.Settings) -> None:
        if settings.baud > 115200:
            raise OSError(errno.EINVAL, "too fast")

    port = serial.Port("tty", transmit=len, line_changed=refuse)
    client = Client(cuse_device(port))
    with errno_is(errno.EINVAL):
        client.set(cflag=0x1007 | termios.CS8)
    client.set(cflag=0x1002 | termios.CS8 | termios.HUPCL)
    assert port.settings.baud == 115200


# --- reading ------------------------------------------------------------------------------------


def feed_slowly(port: serial.Port, *parts: bytes, pause: float = 0.1) -> threading.Thread:
    def run() -> None:
        for part in parts:
            time.sleep(pause)
            port.feed(part)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("least", "tenths", "parts", "wanted", "seconds"),
    [
        (1, 0, [b"ab", b"cd"], b"ab", (0.1, 0.2)),
        (4, 0, [b"ab", b"cd"], b"abcd", (0.2, 0.3)),
        (0, 0, [b"ab"], b"", (0, 0.1)),
        (0, 2, [], b"", (0.2, 0.4)),
        (0, 9, [b"ab"], b"ab", (0.1, 0.5)),
        (9, 3, [b"ab", b"cd"], b"abcd", (0.5, 0.9)),  # 0.3 s after the last byte
        (200, 0, [b"abcdefghij"], b"abcdefghij", (0.1, 0.3)),  # no more were asked for
    ],
)
def test_vmin_and_vtime(
    recorder: tuple[Recorder, Client],
    least: int,
    tenths: int,
    parts: list[bytes],
    wanted: bytes,
    seconds: tuple[float, float],
) -> None:
    port, client = recorder
    client.set_raw(least, tenths)
    begun = time.monotonic()
    feeder = feed_slowly(port, *parts)
    assert client.file.read(10) == wanted
    took = time.monotonic() - begun
    feeder.join()
    assert seconds[0] <= took < seconds[1] + 2  # a busy machine may take its time


def test_a_read_that_need_not_wait_does_not(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.file.flags |= os.O_NONBLOCK
    with errno_is(errno.EAGAIN):
        client.file.read(10)
    client.set_raw(5)
    with errno_is(errno.EAGAIN):
        client.file.read(10)
    port.feed(b"abc")
    assert client.file.read(10) == b"abc"
    client.set_raw(0, 5)
    with errno_is(errno.EAGAIN):  # n_tty_read: O_NONBLOCK counts before VTIME does
        client.file.read(10)
    client.set_raw(0, 0)
    assert client.file.read(10) == b""


def test_poll_waits_for_vmin_unless_a_time_runs(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.set_raw(3)
    waiting = client.kernel.start(client.file.poll, select.POLLIN, LONG)
    port.feed(b"ab")
    assert client.file.poll() == select.POLLOUT
    client.set_raw(3, 1)
    assert waiting.result() == select.POLLIN
    client.set_raw(3)
    port.feed(b"c")
    assert client.file.poll() == select.POLLOUT | select.POLLIN
    client.set(lflag=termios.ICANON, iflag=0)
    assert client.file.read(10) == b"abc"
    port.feed(b"no end of a line")
    assert client.file.poll() == select.POLLOUT


def test_a_reader_is_interrupted_and_keeps_what_has_come(
    recorder: tuple[Recorder, Client],
) -> None:
    port, client = recorder
    client.set_raw(5)
    call = client.kernel.start(client.file.read, 10)
    call.interrupt()
    with pytest.raises(InterruptedError):
        call.result()
    call = client.kernel.start(client.file.read, 10)
    call.wait_sent()
    port.feed(b"abc")
    call.interrupt()
    assert call.result() == b"abc"


def test_one_client_reads_at_a_time(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.set_raw(4)
    first = client.kernel.start(client.file.read, 4)
    first.wait_sent()
    assert not first.wait(0.1)
    other = client.kernel.open(os.O_RDWR | os.O_NONBLOCK)
    with errno_is(errno.EAGAIN):
        other.read(4)
    second = client.kernel.start(client.kernel.open().read, 4)
    second.wait_sent()
    port.feed(b"ab")
    port.feed(b"cdefgh")
    assert (first.result(), second.result()) == (b"abcd", b"efgh")


# --- writing ------------------------------------------------------------------------------------


def test_output_that_is_stopped_waits_and_nothing_is_lost(
    recorder: tuple[Recorder, Client],
) -> None:
    port, client = recorder
    client.set(oflag=0, lflag=0)
    client.file.ioctl(termios.TCXONC, termios.TCOOFF)
    client.file.write(b"a" * 4000)
    assert (port.sent, client.number(termios.TIOCOUTQ)) == (b"", 4000)
    assert client.file.poll() == 0
    client.file.flags |= os.O_NONBLOCK
    assert client.file.write(b"b" * 4000) == 96
    with errno_is(errno.EAGAIN):
        client.file.write(b"c")
    client.file.flags &= ~os.O_NONBLOCK
    ready = client.kernel.start(client.file.poll, select.POLLOUT, LONG)
    writing = client.kernel.start(client.file.write, b"c" * 9000)
    draining = client.kernel.start(client.file.ioctl, termios.TCSBRK, 1)
    assert not writing.wait(0.1)
    port.feed(b"\x11")  # VSTART does not help against TCOOFF
    assert port.sent == b""
    client.file.ioctl(termios.TCXONC, termios.TCOON)
    assert (writing.result(), draining.result().result) == (9000, 0)
    assert ready.result() == select.POLLOUT
    assert port.sent == b"a" * 4000 + b"b" * 96 + b"c" * 9000
    assert client.number(termios.TIOCOUTQ) == 0


def test_output_stops_and_starts_by_characters_and_by_cts(
    recorder: tuple[Recorder, Client],
) -> None:
    port, client = recorder
    client.set(oflag=0, lflag=0)
    port.feed(b"\x13")
    client.file.write(b"one")
    assert port.sent == b""
    port.feed(b"\x11")
    assert port.sent == b"one"
    client.set(cflag=client.settings().cflag | termios.CRTSCTS)
    port.set_lines(cts=False)
    client.file.write(b"two")
    assert port.sent == b"one"
    client.file.ioctl(termios.TCXONC, termios.TCIOFF)  # is not held back
    assert port.sent == b"one\x13"
    port.set_lines(cts=True)
    assert port.sent == b"one\x13two"
    port.set_lines(cts=False)
    client.file.write(b"dropped")
    client.file.ioctl(termios.TCFLSH, termios.TCOFLUSH)
    port.set_lines(cts=True)
    client.file.ioctl(termios.TCXONC, termios.TCION)
    assert port.sent == b"one\x13two\x11"
    for command in (termios.TCXONC, termios.TCFLSH):
        with errno_is(errno.EINVAL):
            client.file.ioctl(command, 9)


def test_input_that_nobody_reads_stops_the_other_end(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.set_raw(iflag=termios.IXOFF, cflag=client.settings().cflag | termios.CRTSCTS)
    assert port.settings.rts
    assert port.feed(b"x" * 60000) == 60000
    assert (port.settings.rts, port.told[-1].rts, port.sent) == (False, False, b"\x13")
    assert port.room == 5536
    assert port.feed(b"y" * 60000) == 5536
    assert port.feed(b"z") == 0
    assert client.number(termios.FIONREAD) == 65536
    assert client.file.read(65536) == b"x" * 60000 + b"y" * 5536
    assert (port.settings.rts, port.told[-1].rts, port.sent) == (True, True, b"\x13\x11")
    port.feed(b"x" * 60000)
    client.file.ioctl(termios.TCFLSH, termios.TCIFLUSH)
    assert (port.room, port.settings.rts) == (65536, True)
    port.feed(b"x" * 60000)
    client.set(cflag=client.settings().cflag & ~(termios.CRTSCTS | termios.HUPCL))
    port.hang_up()
    assert (port.room, port.settings.rts) == (65536, True)


def test_what_transmit_does_not_take_is_offered_again(cuse_device: Serve) -> None:
    port = Loopback("tty", **RAW)
    client = Client(cuse_device(port))
    sent = os.urandom(300_000)
    writing = client.kernel.start(client.file.write, sent)
    got = b""
    while len(got) < len(sent):
        got += client.file.read(50_000)
    assert writing.result() == len(sent)
    assert got == sent
    client.file.flags |= os.O_NONBLOCK
    sizes = [client.file.write(sent[:100_000]), 0]
    assert 65536 <= sizes[0] < 100_000
    with errno_is(errno.EAGAIN):
        client.file.write(b"x")
    assert client.file.poll() == select.POLLIN
    got = b"".join(client.file.read(4096) for _ in range(-(-sizes[0] // 4096)))
    assert got == sent[: sizes[0]]


def test_what_transmit_raises_is_the_clients(cuse_device: Serve) -> None:
    def fail(data: bytes) -> None:
        if data == b"bad":
            raise OSError(errno.ENXIO, "cable is out")

    client = Client(cuse_device(serial.Port("tty", transmit=fail, **RAW)))
    with errno_is(errno.ENXIO):
        client.file.write(b"bad")
    assert client.file.write(b"good") == 4


def test_who_waits_behind_a_failing_transmit_goes_on(cuse_device: Serve) -> None:
    begun, fails = threading.Event(), threading.Event()

    def fail_once(data: bytes) -> None:
        if not fails.is_set():
            begun.set()
            fails.wait(LONG)
            raise OSError(errno.ENXIO, "cable is out")

    kernel = cuse_device(serial.Port("tty", transmit=fail_once, **RAW))
    first = kernel.start(kernel.open().write, b"first")
    assert begun.wait(LONG)
    second = kernel.start(kernel.open().write, b"second")
    draining = kernel.start(kernel.open().ioctl, termios.TCSBRK, 1)
    assert not second.wait(0.1)
    with errno_is(errno.EAGAIN):
        kernel.open(os.O_RDWR | os.O_NONBLOCK).write(b"third")
    fails.set()
    with errno_is(errno.ENXIO):
        first.result()
    assert (second.result(), draining.result().result) == (6, 0)


def test_transmit_may_wait_and_the_client_be_interrupted(cuse_device: Serve) -> None:
    waits = threading.Event()

    def transmit(data: bytes) -> None:
        if data[:1] == b"2":
            waits.set()
            cuse.sleep(LONG)

    client = Client(cuse_device(serial.Port("tty", transmit=transmit, **RAW)))
    call = client.kernel.start(client.file.write, b"1" * 4096 + b"2" * 10)
    assert waits.wait(LONG)
    call.interrupt()
    assert call.result() == 4096  # those that were sent
    assert client.number(termios.TIOCOUTQ) == 0


@pytest.mark.logs_errors
def test_a_reader_does_not_pay_for_what_waits_to_be_sent(
    cuse_device: Serve, cuse_log: list[Any]
) -> None:
    results: list[Any] = [0, OSError(errno.ENXIO, "cable is out")]

    def transmit(data: bytes) -> int:
        result = results.pop(0)
        if isinstance(result, OSError):
            raise result
        return int(result)

    port = serial.Port("tty", transmit=transmit, **RAW)
    client = Client(cuse_device(port))
    client.file.write(b"not taken")
    port.feed(b"for the reader")
    assert client.file.read(100) == b"for the reader"
    assert "cable is out" in str(cuse_log[0].exc_info)


@pytest.mark.logs_errors
@pytest.mark.parametrize("result", [-1, 4, "all"])
def test_transmit_has_to_say_how_many(
    cuse_device: Serve, cuse_log: list[Any], result: object
) -> None:
    client = Client(cuse_device(serial.Port("tty", transmit=lambda _: result, **RAW)))  # type: ignore[arg-type,return-value]
    with errno_is(errno.EIO):
        client.file.write(b"abc")
    assert f"transmit() returned {result!r}, not None or 0 to 3" in str(cuse_log[0].exc_info)


def test_a_port_that_sends_back_what_it_gets_is_not_echoed_for_ever(cuse_device: Serve) -> None:
    client = Client(cuse_device(Loopback("tty")))  # ECHO is on, as on all ports
    client.file.write(b"hello\n")
    assert client.file.read(100) == b"hello\n"
    assert client.file.read(100) == b"\n"  # of \r\n, which ICRNL made two of


class Slow(serial.Port):
    """A loopback whose methods are async, and which says when it is spoken to."""

    greeting: asyncio.Task[None] | None = None

    async def transmit(self, data: bytes) -> int:
        if data == b"never":
            await asyncio.sleep(LONG)
        if data == b"fail":
            raise OSError(errno.ENXIO, "cable is out")
        await asyncio.sleep(0.01)
        return self.feed(data)

    async def line_changed(self, settings: serial.Settings) -> None:
        await asyncio.sleep(0.01)
        self.set_lines(dsr=settings.rts, cts=settings.dtr)
        if settings.baud == 115200:
            self.greeting = asyncio.create_task(self.greet())

    async def greet(self) -> None:
        self.feed(b"hello\n")  # which is echoed, so transmit() runs; not on this thread


def test_methods_may_be_async(cuse_device: Serve) -> None:
    client = Client(cuse_device(Slow("tty")))
    client.set_number(termios.TIOCMBIC, termios.TIOCM_RTS)
    assert not client.number(termios.TIOCMGET) & termios.TIOCM_DSR
    client.set(oflag=0, cflag=0x1002 | termios.CS8 | termios.CREAD | termios.CLOCAL)
    assert client.file.read(100) == b"hello\n"
    assert client.file.read(100) == b"hello\n"  # its echo, sent back, and not echoed again
    client.file.write(b"1\n2\n")
    assert (client.file.read(100), client.file.read(100)) == (b"1\n", b"2\n")
    with errno_is(errno.ENXIO):
        client.file.write(b"fail")
    call = client.kernel.start(client.file.write, b"never")
    call.wait_sent()
    time.sleep(0.1)
    call.interrupt()
    with pytest.raises(InterruptedError):
        call.result()
    assert client.file.write(b"3\n") == 2
    assert client.file.read(100) == b"3\n"


def test_many_write_and_no_byte_is_lost(cuse_device: Serve) -> None:
    port = Recorder(**RAW)
    kernel = cuse_device(port, cuse.Workers(threads=4))
    lines = [[b"%d %04d\n" % (who, number) for number in range(200)] for who in range(4)]

    def write_all(who: int) -> None:
        file = kernel.open()
        for line in lines[who]:
            assert file.write(line) == len(line)

    Client(kernel)
    for call in [kernel.start(write_all, who) for who in range(4)]:
        call.result()
    got = port.sent.splitlines(keepends=True)
    assert [[line for line in got if line[0] == 48 + who] for who in range(4)] == lines


# --- modem lines, breaks, the rest --------------------------------------------------------------


def test_modem_lines(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    dtr, rts, cts = termios.TIOCM_DTR, termios.TIOCM_RTS, termios.TIOCM_CTS
    assert (
        client.number(termios.TIOCMGET) == dtr | rts | cts | termios.TIOCM_DSR | termios.TIOCM_CAR
    )
    client.set_number(termios.TIOCMBIC, dtr | cts)  # cts is not the client's
    assert (port.told[-1].dtr, port.told[-1].rts) == (False, True)
    client.set_number(termios.TIOCMSET, dtr)
    assert (port.told[-1].dtr, port.told[-1].rts) == (True, False)
    client.set_number(termios.TIOCMBIS, rts)
    assert (port.told[-1].dtr, port.told[-1].rts) == (True, True)
    waiting = client.kernel.start(client.file.ioctl, termios.TIOCMIWAIT, termios.TIOCM_RNG | cts)
    port.set_lines(ri=True, dsr=False)
    assert not waiting.wait(0.1)
    port.set_lines(ri=False)  # its end counts
    assert waiting.result().result == 0
    assert client.number(termios.TIOCMGET) == dtr | rts | cts | termios.TIOCM_CAR
    assert ICOUNTER.unpack(client.get(termios.TIOCGICOUNT, 80))[:4] == (0, 1, 1, 0)
    waiting = client.kernel.start(client.file.ioctl, termios.TIOCMIWAIT, cts)
    waiting.interrupt()
    with pytest.raises(InterruptedError):
        waiting.result()
    with pytest.raises(TypeError, match="a device sets no line 'dtr'; it sets cts, dsr, ri, dcd"):
        port.set_lines(dtr=True)


def test_breaks(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    begun = time.monotonic()
    client.file.ioctl(termios.TCSBRK, 0)
    assert time.monotonic() - begun >= 0.25
    client.file.ioctl(termios.TCSBRKP, 1)
    client.file.ioctl(serial_ioctls.TIOCSBRK, 0)
    client.file.ioctl(serial_ioctls.TIOCCBRK, 0)
    client.file.ioctl(termios.TCSBRKP, 42949673)  # wraps to 4 ms
    assert [settings.break_on for settings in port.told[1:]] == [True, False] * 4
    lasting = client.kernel.start(client.file.ioctl, termios.TCSBRKP, 2**64 - 1)
    until(lambda: port.told[-1].break_on)
    lasting.interrupt()
    with pytest.raises(InterruptedError):
        lasting.result()
    assert not port.told[-1].break_on


def test_the_last_close_lowers_the_lines_and_drops_what_was_not_read(
    recorder: tuple[Recorder, Client],
) -> None:
    port, client = recorder
    other = client.kernel.open()
    client.set_raw()
    port.feed(b"unread")
    client.file.close()
    assert port.settings.dtr
    assert other.read(2) == b"un"
    other.close()
    assert (port.settings.dtr, port.settings.rts) == (False, False)
    assert port.feed(b"nobody hears") == 12
    again = Client(client.kernel)
    assert again.number(termios.FIONREAD) == 0
    assert not again.settings().lflag & termios.ICANON  # settings stay
    assert port.settings.dtr


def test_a_file_that_a_dead_worker_had_opened_is_hung_up(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    file = cuse.File(port, os.O_RDWR, client.kernel)  # type: ignore[arg-type]
    assert port.read(file, 10) == b""
    with errno_is(errno.EIO):
        port.write(file, memoryview(b"x"))
    port.release(file)  # it was not counted
    assert port.settings.dtr


def test_exclusive_use(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.file.ioctl(termios.TIOCEXCL, 0)
    assert client.number(serial_ioctls.TIOCGEXCL) == 1
    port.permitted = False
    with errno_is(errno.EBUSY):
        client.kernel.open()
    port.permitted = True
    client.kernel.open().close()  # as CAP_SYS_ADMIN allows
    client.file.ioctl(termios.TIOCNXCL, 0)
    assert client.number(serial_ioctls.TIOCGEXCL) == 0
    client.file.ioctl(termios.TIOCEXCL, 0)
    client.file.close()
    port.permitted = False
    client.kernel.open().close()


def test_the_carrier(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    client.set_raw(cflag=client.settings().cflag & ~termios.CLOCAL)
    reading = client.kernel.start(client.file.read, 10)
    waiting = client.kernel.start(client.file.ioctl, termios.TIOCMIWAIT, termios.TIOCM_RNG)
    for call in (reading, waiting):
        call.wait_sent()
    time.sleep(0.1)
    port.set_lines(dcd=False)
    assert reading.result() == b""
    with errno_is(errno.EIO):
        waiting.result()
    with errno_is(errno.EIO):
        client.file.write(b"x")
    with errno_is(errno.EIO):
        client.number(termios.TIOCMGET)
    assert client.file.poll(0) & select.POLLHUP
    client.kernel.open(os.O_RDWR | os.O_NONBLOCK).close()
    interrupted, opening = (
        client.kernel.start(client.kernel.open),
        client.kernel.start(Client, client.kernel),
    )
    interrupted.wait_sent()
    interrupted.interrupt()
    with pytest.raises(InterruptedError):
        interrupted.result()
    assert not opening.wait(0.1)
    port.set_lines(dcd=True)
    port.feed(b"back")
    assert opening.result().file.read(10) == b"back"


def test_what_a_uart_is(recorder: tuple[Recorder, Client]) -> None:
    port, client = recorder
    layout = serial_info.LAYOUTS[False]
    info = serial_info.SerialInfo(*layout.unpack(client.get(termios.TIOCGSERIAL, layout.size)))
    client.put(termios.TIOCSSERIAL, layout.pack(*info._replace(flags=0x2000)))
    assert int.from_bytes(client.get(termios.TIOCGSERIAL, 72)[16:20], "little") == 0x2000
    with errno_is(errno.EINVAL):
        client.put(termios.TIOCSSERIAL, layout.pack(*info._replace(irq=4)))
    port.permitted = False
    client.put(termios.TIOCSSERIAL, layout.pack(*info))
    with errno_is(errno.EPERM):
        client.put(termios.TIOCSSERIAL, layout.pack(*info._replace(closing_wait=1)))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_client_sets_is_no_fault(cuse_device: Serve, seed: int) -> None:
    dice = random.Random(seed)
    client = Client(cuse_device(Loopback("tty")), os.O_RDWR | os.O_NONBLOCK)
    # Not those that may wait for ever: TCSBRK, TCSETSW and their like.
    names = "TCSETS TCSETS2 TIOCSWINSZ TIOCSSERIAL TIOCGSERIAL TIOCMSET TIOCMBIS TCFLSH TCXONC"
    commands = [NUMBERS[name] for name in (*names.split(), "TCGETS2", "TIOCOUTQ", "TIOCGICOUNT")]
    areas = {compat: client.kernel.memory.alloc(128, compat=compat) for compat in (False, True)}
    for _ in range(400):
        compat = dice.random() < 0.5
        client.kernel.memory.write(areas[compat], dice.randbytes(128))
        argument = areas[compat] if dice.random() < 0.8 else dice.choice([0, 1, 2, 3, 2**32 - 1])
        with contextlib.suppress(OSError):
            client.file.ioctl(dice.choice(commands), argument, compat=compat)
        with contextlib.suppress(OSError):
            client.file.write(dice.randbytes(20))
        with contextlib.suppress(OSError):
            client.file.read(dice.randrange(1, 30))
    # The fixture fails the test for what the log says.


LONGS = r"""
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <stdio.h>
#include <sys/ioctl.h>
int main(int argc, char **argv) {
    struct { struct serial_struct s; unsigned after; } info = {.after = 7};
    struct termios2 set;
    int fd = open(argv[argc - 1], O_RDWR | O_NOCTTY);
    if (fd < 0 || ioctl(fd, TIOCGSERIAL, &info) || ioctl(fd, TCGETS2, &set)) return 1;
    info.s.flags |= 0x2000;
    set.c_cflag = (set.c_cflag & ~CBAUD) | BOTHER;
    set.c_ospeed = 250000;
    if (ioctl(fd, TIOCSSERIAL, &info) || ioctl(fd, TCSETSW2, &set)) return 2;
    if (ioctl(fd, TIOCGSERIAL, &info) || ioctl(fd, TCGETS2, &set)) return 3;
    printf("%zu %x %d ", sizeof(long), info.s.flags, info.s.baud_base);
    printf("%u %u\n", set.c_ospeed, info.after);
    return 0;
}
"""


@pytest.mark.real
@pytest.mark.parametrize(
    "width",
    # user-mode-linux runs no 32-bit programs.
    ["-m64", pytest.param("-m32", marks=pytest.mark.smp)],
)
def test_32_bit_clients_have_structures_of_their_own(
    node: Recorder, width: str, tmp_path: Path
) -> None:
    (tmp_path / "longs.c").write_text(LONGS)
    run("gcc", width, "-o", str(tmp_path / "longs"), str(tmp_path / "longs.c"))
    long = b"4" if width == "-m32" else b"8"
    assert run(str(tmp_path / "longs"), str(NODE)) == long + b" 2000 115200 250000 7\n"


def test_windows_disciplines_and_what_there_is_not(recorder: tuple[Recorder, Client]) -> None:
    _, client = recorder
    assert client.get(termios.TIOCGWINSZ, 8) == bytes(8)
    client.put(termios.TIOCSWINSZ, b"\x18\0\x50\0\0\0\0\0")
    assert client.get(termios.TIOCGWINSZ, 8) == b"\x18\0\x50\0\0\0\0\0"
    assert client.number(termios.TIOCGETD) == 0
    client.set_number(termios.TIOCSETD, 0)
    with errno_is(errno.EINVAL):
        client.set_number(termios.TIOCSETD, 3)
    for command in (termios.TIOCGPGRP, termios.TIOCSCTTY, termios.TIOCSTI):
        with errno_is(errno.ENOTTY):
            client.file.ioctl(command, client.memory)
    with errno_is(errno.EFAULT):
        client.file.ioctl(termios.TCGETS, 0)


def test_the_modem_of_the_page_answers(cuse_device: Serve) -> None:
    page: dict[str, Any] = {}
    text = (Path(__file__).parent.parent / "docs/classes/serial.md").read_text(encoding="utf-8")
    exec(text.partition("```python\n")[2].partition("```")[0], page)
    client = Client(cuse_device(page["Modem"]("ttyMODEM", raw=True)))
    client.file.write(b"AT\r")
    client.set(cflag=0x1002 | termios.CS8 | termios.CREAD)
    client.file.write(b"A")
    client.file.write(b"T\rNO\r")
    assert client.file.read(100) == b"\r\nOK\r\n\r\nERROR\r\n"
    client.set_number(termios.TIOCMBIC, termios.TIOCM_DTR)
    assert not client.number(termios.TIOCMGET) & termios.TIOCM_DSR


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_said_when_the_class_or_the_port_is_made() -> None:
    with pytest.raises(
        TypeError, match=r"^Port has no transmit\(data\), which a serial port needs"
    ):
        serial.Port("tty")
    with pytest.raises(TypeError, match=r"is line_changed\(\) meant\?"):
        type("Modem", (serial.Port,), {"line_change": lambda self, settings: None})
    with pytest.raises(TypeError, match=r"what clients write comes to transmit\(data\)"):
        type("Modem", (serial.Port,), {"write": lambda self, data: None})


# --- traffic ------------------------------------------------------------------------------------


def test_traffic_at_full_speed_takes_less_than_half_a_cpu() -> None:
    loads: list[float] = []
    for _ in range(6):  # others may be at work on the machine
        traffic = serial_rate.measure(921_600, 16, 0.5)
        print(traffic)
        loads += traffic.loads()
        if min(loads) < 0.5:
            return
    # On a machine so busy that the binding alone takes as much, not much more than that.
    assert min(loads) < 2.5 * min(serial_rate.measure(921_600, 16, 1.0, bare=True).loads())


@pytest.mark.real
def test_traffic_at_full_speed_on_a_node_loses_nothing() -> None:
    print(serial_rate.measure(921_600, 16, 0.5))


# --- a real node --------------------------------------------------------------------------------


@pytest.mark.real
def test_stty_and_socat(node: Recorder) -> None:
    assert b"speed 9600 baud" in run("stty", "-F", str(NODE))
    run("stty", "-F", str(NODE), "raw", "-echo", "115200", "cs7", "parenb", "parodd", "cstopb")
    assert (str(node.settings), node.settings.dtr) == ("115200 7O2", False)
    said = run("stty", "-a", "-F", str(NODE))
    for word in (b"speed 115200 baud", b"cs7", b" parodd", b" cstopb", b"-icanon", b"-echo"):
        assert word in said
    echoed = run(
        "socat", "-t", "5", "-", f"{NODE},raw,echo=0,b9600,cs8,readbytes=12", stdin=b"over serial\n"
    )
    assert echoed == b"over serial\n"
    assert str(node.settings) == "115200 7O2"  # socat has set back what it found
    assert "9600 8O2" in map(str, node.told)
    assert run("sh", "-c", f"test -t 0 < {NODE} && echo tty") == b"tty\n"


@pytest.mark.real
def test_picocom(node: Recorder) -> None:
    words = ("--quiet", "--baud", "921600", "--parity", "e", "--flow", "h", "--noreset")
    echoed = run("picocom", *words, "--exit-after", "300", str(NODE), stdin=b"hello, modem\r")
    assert echoed == b"hello, modem\r"
    assert serial.Settings(921600, 8, "even", rtscts=True, dtr=True, rts=True) in node.told


@pytest.mark.real
def test_pyserial(node: Recorder) -> None:
    import serial as pyserial

    with pyserial.Serial(
        str(NODE), 115200, timeout=LONG, write_timeout=LONG, exclusive=True
    ) as port:
        assert port.write(b"hello\nworld\n") == 12
        assert port.in_waiting == 12
        assert (port.readline(), port.read(6)) == (b"hello\n", b"world\n")
        port.baudrate, port.parity, port.stopbits, port.bytesize = 250_000, "M", 2, 7
        assert str(node.settings) == "250000 7M2"
        assert (port.cts, port.dsr, port.cd, port.ri) == (True, True, True, False)
        port.dtr = port.rts = False
        assert (port.cts, port.dsr) == (False, False)
        port.rts = True
        port.rtscts = True
        port.write(b"gone")
        port.reset_input_buffer()
        port.timeout = 0.1
        assert port.read(1) == b""
        port.send_break(0.1)
        assert [settings.break_on for settings in node.told[-2:]] == [True, False]
        port.set_low_latency_mode(True)
        sent = os.urandom(100_000)
        writer = threading.Thread(target=port.write, args=(sent,))
        writer.start()
        port.timeout = LONG
        assert port.read(len(sent)) == sent
        writer.join()
    assert not node.settings.dtr


@pytest.mark.real
def test_tty_module_lines_and_interrupts(node: Recorder) -> None:
    with NODE.open("r+b", buffering=0) as file:
        assert os.isatty(file.fileno())
        termios.tcflush(file, termios.TCIOFLUSH)
        file.write(b"a line\n")
        termios.tcdrain(file)
        assert file.read(100) == b"a line\n"
    code = f"import termios, tty; f = open({str(NODE)!r}, 'rb', 0); tty.setraw(f); f.read(1)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as reader:
        waiting = Path(f"/sys/class/cuse/{NODE.name}/waiting")
        while int(waiting.read_text()) == 0:
            assert reader.poll() is None
            time.sleep(0.01)
        reader.terminate()
        assert reader.wait(LONG) != 0
