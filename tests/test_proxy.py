"""cuse-scullv proxy: a real device's clients find it behind a node as it is."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import BAD, FakeKernel
from cuse_scullv.recording import arguments, log
from cuse_scullv.recording.proxy import Proxy
from cuse_scullv.recording.recorded import RecordedProxy
from cuse_scullv.recording.recorder import Recorder
from cuse_scullv.recording.requests import Ioctl, Open, Read, Release, Write
from nodes import until
from shell import CLI, NOBODYS_CLI, inside, refused
from terminals import (
    FIONREAD,
    TCFLSH,
    TCGETS,
    TCGETS2,
    TCSETS,
    TIOCEXCL,
    TIOCGSERIAL,
    TIOCGWINSZ,
    TIOCSWINSZ,
    Terminal,
    gets,
    set_minimum,
    sets,
    terminal,
)

Serve = Callable[..., FakeKernel]

LONG = 60.0
NONBLOCK = os.O_RDWR | os.O_NONBLOCK


@pytest.fixture
def line() -> Iterator[Terminal]:
    with terminal() as pair:
        yield pair


@pytest.fixture
def kernel(cuse_device: Serve, line: Terminal) -> FakeKernel:
    """Of a proxy before the terminal."""
    return cuse_device(Proxy("proxy", line.path))


def test_bytes_go_both_ways(kernel: FakeKernel, line: Terminal) -> None:
    file = kernel.open()
    assert file.write(b"to the far end") == 14
    assert os.read(line.master, 100) == b"to the far end"
    os.write(line.master, b"and back")
    assert file.read(3) == b"and"
    assert file.read(100) == b" back"


def test_a_read_blocks_alone_and_ends_with_its_client(kernel: FakeKernel, line: Terminal) -> None:
    file, other = kernel.open(), kernel.open()
    interrupted = kernel.start(file.read, 100)
    waiting = kernel.start(other.read, 100)
    assert not interrupted.wait(0.05)
    assert other.write(b"meanwhile") == 9
    interrupted.interrupt()
    with pytest.raises(InterruptedError):
        interrupted.result()
    os.write(line.master, b"for the other")
    assert waiting.result() == b"for the other"


def test_flags_are_those_that_the_client_has_now(kernel: FakeKernel, line: Terminal) -> None:
    file = kernel.open(NONBLOCK)
    with pytest.raises(BlockingIOError):
        file.read(1)
    file.flags &= ~os.O_NONBLOCK
    call = kernel.start(file.read, 1)
    assert not call.wait(0.05)
    os.write(line.master, b"x")
    assert call.result() == b"x"
    with kernel.open(os.O_RDONLY) as reader, pytest.raises(OSError) as caught:
        reader.write(b"x")
    assert caught.value.errno == errno.EBADF


def test_a_blocking_read_keeps_to_the_terminals_rules(kernel: FakeKernel, line: Terminal) -> None:
    file = kernel.open()
    set_minimum(line.slave, 0, 1)
    assert file.read(10) == b""  # after a tenth of a second
    set_minimum(line.slave, 3, 0)
    call = kernel.start(file.read, 10)
    os.write(line.master, b"ab")
    assert not call.wait(0.1)
    os.write(line.master, b"c")
    assert call.result() == b"abc"


def test_poll_says_what_is_so_and_wakes(kernel: FakeKernel, line: Terminal) -> None:
    file = kernel.open(NONBLOCK)
    assert file.poll(select.POLLIN | select.POLLOUT) == select.POLLOUT
    for _ in range(20):
        call = kernel.start(file.poll, select.POLLIN, LONG)
        os.write(line.master, b"x")
        assert call.result() == select.POLLIN
        assert file.read(10) == b"x"
    assert file.poll(select.POLLIN) == 0


def test_a_hang_up_reaches_who_waits(kernel: FakeKernel, line: Terminal) -> None:
    file, poller = kernel.open(), kernel.open()
    reading = kernel.start(file.read, 1)
    polling = kernel.start(poller.poll, select.POLLIN, LONG)
    assert not reading.wait(0.05)
    line.hang_up()
    assert polling.result() & select.POLLHUP
    for call in (reading.result, lambda: file.write(b"x")):  # as of the slave itself
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EIO


def test_a_device_without_poll_is_always_ready(cuse_device: Serve) -> None:
    file = cuse_device(Proxy("proxy", "/dev/zero")).open()
    assert file.poll(select.POLLIN | select.POLLOUT, LONG) == select.POLLIN | select.POLLOUT
    assert file.read(300_000) == bytes(300_000)
    assert file.write(bytes(300_000)) == 300_000


def test_ioctls_of_terminals(kernel: FakeKernel, line: Terminal) -> None:
    file = kernel.open(NONBLOCK)
    settings = gets(file, TCGETS, 36)
    real = bytearray(36)
    fcntl.ioctl(line.slave, TCGETS, real)
    assert settings == real
    sets(file, TCSETS, struct.pack("=I", termios.IXON) + settings[4:])
    assert termios.tcgetattr(line.slave)[0] == termios.IXON
    assert gets(file, TCGETS2, 44)[:4] == struct.pack("=I", termios.IXON)  # _IOC-sized
    sets(file, TIOCSWINSZ, struct.pack("=4H", 24, 80, 0, 0))
    assert gets(file, TIOCGWINSZ, 8) == struct.pack("=4H", 24, 80, 0, 0)
    os.write(line.master, b"four")
    assert file.poll(select.POLLIN, LONG) == select.POLLIN
    assert gets(file, FIONREAD, 4) == struct.pack("=I", 4)
    assert file.ioctl(TCFLSH, 0).result == 0  # by value
    assert gets(file, FIONREAD, 4) == bytes(4)
    file.ioctl(TIOCEXCL, 0x7FFF_DEAD_BEEF)  # takes nothing: what lies there is by chance
    fcntl.ioctl(line.slave, termios.TIOCNXCL)


@pytest.mark.parametrize(
    ("command", "argument", "code"),
    [
        (TCGETS, BAD, errno.EFAULT),
        (TCSETS, BAD, errno.EFAULT),
        (TIOCGSERIAL, bytes(72), errno.ENOTTY),  # a terminal that is no serial port
        (cuse.IOWR("X", 1, 100), bytes(100), errno.ENOTTY),
        (TCFLSH, 99, errno.EINVAL),
        (cuse.IO("X", 1), 1 << 16, errno.ENOTTY),
    ],
)
def test_ioctls_fail_as_the_real_ones_do(
    kernel: FakeKernel, command: int, argument: int | bytes, code: int
) -> None:
    file = kernel.open(NONBLOCK)
    if isinstance(argument, bytes):
        argument = kernel.memory.alloc(argument)
    with pytest.raises(OSError) as caught:
        file.ioctl(command, argument)
    assert caught.value.errno == code


@pytest.mark.logs_errors
@pytest.mark.parametrize("command", [0x5399, 0x40206B00, 0x4008556C])
def test_what_may_be_an_address_is_never_passed_on(
    kernel: FakeKernel, caplog: pytest.LogCaptureFixture, command: int
) -> None:
    file = kernel.open(NONBLOCK)
    address = id(file)  # one that is good in this process
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            file.ioctl(command, address)
        assert caught.value.errno == errno.ENOTTY
    (record,) = caplog.records
    assert f"ioctl {command:#x} is not passed on" in record.getMessage()


def test_an_open_that_fails_is_the_clients(cuse_device: Serve, tmp_path: Path) -> None:
    link = tmp_path / "device"
    link.symlink_to("/dev/null")
    kernel = cuse_device(Proxy("proxy", str(link)))
    kernel.open().close()
    link.unlink()
    with pytest.raises(FileNotFoundError):
        kernel.open()


def test_descriptors_are_given_back(kernel: FakeKernel) -> None:
    kernel.open(NONBLOCK).close()
    before = descriptors()
    for _ in range(50):
        with kernel.open(NONBLOCK) as file:
            file.poll()
    until(lambda: descriptors() <= before)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_node_is_as_the_real_one_unless_told() -> None:
    real = Path("/dev/null").stat()
    proxy = Proxy("proxy", "/dev/null")
    assert (proxy.mode, proxy.owner, proxy.group) == (
        stat.S_IMODE(real.st_mode),
        real.st_uid,
        real.st_gid,
    )
    assert Proxy("proxy", "/dev/null", mode=0o600, owner=5).mode == 0o600


# --- the log --------------------------------------------------------------------------------------


def test_all_is_written_down(cuse_device: Serve, line: Terminal, tmp_path: Path) -> None:
    proxy = RecordedProxy("proxy", line.path, tmp_path / "log")
    with FakeKernel() as kernel, cuse.Channel(proxy, fd=kernel.server_fd):
        kernel.init()
        with kernel.open(NONBLOCK) as file:
            file.write(b"hello")
            with pytest.raises(BlockingIOError):
                file.read(9)
            file.ioctl(TCFLSH, 1)
            gets(file, FIONREAD, 4)
    recorded = log.load(tmp_path / "log")
    assert recorded.device == line.path
    assert [exchange.request for exchange in recorded.exchanges] == [
        Open(NONBLOCK),
        Write(b"hello"),
        Read(9),
        Ioctl(TCFLSH, 1),
        Ioctl(FIONREAD),
        Release(),
    ]
    assert recorded.exchanges[2].answer.errno == errno.EAGAIN
    assert recorded.exchanges[4].answer.data == bytes(4)
    times = [(exchange.start_us, exchange.end_us) for exchange in recorded.exchanges]
    assert times == sorted(times)
    assert all(start <= end for start, end in times)


def test_a_log_is_begun_anew_when_the_device_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("what was here\n")
    recorder = Recorder(path)
    assert path.read_text() == "what was here\n"
    recorder.begin("/dev/null")
    recorder.end()
    assert log.load(path) == log.Log("/dev/null", [])


@pytest.mark.logs_errors
def test_a_log_that_is_full_disturbs_no_client(
    cuse_device: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    proxy = RecordedProxy("proxy", "/dev/zero", fifo)
    file = cuse_device(proxy).open()
    os.close(reader)
    for _ in range(2):
        assert file.read(10) == bytes(10)
    assert proxy.recorder.failed
    (record,) = caplog.records
    assert record.getMessage() == f"{fifo}: Broken pipe: no more is recorded"


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "log")
    with pytest.raises(OSError) as caught:
        Recorder(tmp_path / "log")
    assert caught.value.errno == errno.EBUSY
    recorder.end()
    with recorder.exchange(1, Read(1)):  # one that hung until now
        pass
    assert (tmp_path / "log").read_text() == f"{log.END}\n"


def test_a_log_that_cannot_be_begun_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        Recorder(Path("/dev/full")).begin("/dev/null")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


# --- the command line -----------------------------------------------------------------------------


def test_what_cannot_be_passed_on_to_is_said_in_a_line(tmp_path: Path) -> None:
    for real, said in [
        (str(tmp_path), f"{tmp_path} is no character device: type "),
        ("/etc/passwd", "/etc/passwd is no character device: type "),
        (f"{tmp_path}/none", f"{tmp_path}/none: No such file or directory: type "),
    ]:
        record = tmp_path / "log"
        words = ("proxy", real, "--name", "x", "--record", str(record))
        assert refused(*words, run=inside).startswith(f"cuse-scullv: {said}")
        assert not record.exists()
    taken = refused("proxy", "/dev/null", "--name", "null", run=inside)
    assert "/dev/null exists already" in taken
    log_ = refused("proxy", "/dev/null", "--name", "x", "--record", "/none/log", run=inside)
    assert log_ == "cuse-scullv: /none/log: No such file or directory"
    assert "Missing option '--name'" in refused("proxy", "/dev/null", run=inside)


def test_a_log_that_is_not_whole_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(device: RecordedProxy, daemon: bool, filters: object) -> None:
        assert (device.name, device.mode, device.owner, daemon) == ("x", 0o600, 5, True)
        device.recorder.failed = True

    monkeypatch.setattr(cuse, "serve", serve)
    words = ["/dev/null", "--name=x", "--mode=600", "--owner=5", "--daemon"]
    assert inside("proxy", *words, "--record", str(tmp_path / "log")).returncode == 1


def test_a_busy_device_is_said_in_a_line(line: Terminal) -> None:
    Path(line.path).chmod(0o666)
    fcntl.ioctl(line.slave, termios.TIOCEXCL)
    try:
        command = NOBODYS_CLI if os.geteuid() == 0 else CLI  # root may open it all the same
        done = subprocess.run(
            [*command, "proxy", line.path, "--name", "x"], capture_output=True, timeout=LONG
        )
    finally:
        fcntl.ioctl(line.slave, termios.TIOCNXCL)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"cuse-scullv: {line.path}: Device or resource busy: type 'fuser {line.path}' to see who"
        " has it, and end that first\n"
    )


# --- the table of ioctls --------------------------------------------------------------------------

HEADERS = """
#include <stdio.h>
#include <stddef.h>
#include <sys/types.h>
#include <asm/termbits.h>
#include <asm/ioctls.h>
#define winsize kernel_winsize /* glibc has its own of both; from 2.42 on, not of termio */
#define termio kernel_termio
#include <asm/termios.h>
#undef winsize
#undef termio
#include <sys/ioctl.h>
#include <linux/hpet.h>
#include <linux/i2c-dev.h>
#include <linux/lp.h>
#include <linux/rtc.h>
#include <linux/serial.h>
#include <linux/uinput.h>
"""


def test_numbers_and_sizes_are_those_of_the_headers(tmp_path: Path) -> None:
    names = {name: number for number, (name, _) in arguments._TABLE.items() if name}
    sizes = {
        "struct termios": arguments._TERMIOS,
        "struct kernel_termio": arguments._TERMIO,
        "struct winsize": arguments._WINSIZE,
        "struct serial_icounter_struct": arguments._ICOUNT,
        "struct serial_struct": arguments._SERIAL,
        "struct serial_rs485": arguments._RS485,
    }
    checks = [f"_Static_assert({name} == {number:#x}, {name!r});" for name, number in names.items()]
    checks += [f"_Static_assert(sizeof({kind}) == {size});" for kind, size in sizes.items()]
    source = tmp_path / "table.c"
    source.write_text(HEADERS + "\n".join(checks).replace("'", '"') + "\n")
    command = ["gcc", "-std=gnu11", "-Wno-pedantic", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
