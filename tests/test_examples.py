"""The examples: over the fake kernel, and as programs whose nodes other people's programs use."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import importlib.util
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv.cuse.testing import FakeKernel
from nodes import until

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
NAME = "cuseexample"
NODE = Path("/dev") / NAME
LONG = 90.0  # seconds, for what takes one of them
PATTERN = bytes(range(256)) * 256

real = pytest.mark.real
Serve = Callable[..., FakeKernel]


def load(name: str) -> Any:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def running(example: str, *arguments: str, name: str = NAME) -> Iterator[None]:
    """Runs an example from where its node can be opened until it has ended, without complaint."""
    node = Path("/dev") / name
    command = [sys.executable, EXAMPLES / f"{example}.py", "--name", name, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as program:
        try:
            wait_for_node(program, node)
            yield
        finally:
            program.terminate()
            _, errors = program.communicate(timeout=LONG)
    assert (program.returncode, errors) == (0, f"serving {node}\n".encode())
    assert not node.exists()


def wait_for_node(program: subprocess.Popen[bytes], node: Path) -> None:
    deadline = time.monotonic() + LONG
    while program.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            os.close(os.open(node, os.O_RDONLY | os.O_NONBLOCK))
            return
        time.sleep(0.01)
    raise AssertionError(f"{node} cannot be opened")


def run(*command: str, stdin: bytes = b"", status: int = 0) -> bytes:
    """What a program prints; it ends with `status`."""
    assert shutil.which(command[0]), f"{command[0]} is not installed"
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=LONG, check=False)
    assert done.returncode == status, (done.returncode, done.stderr)
    return done.stdout


def shell(text: str) -> bytes:
    return run("sh", "-c", text.replace("NODE", str(NODE)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_short_and_says_what_it_takes(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 66
    assert b"--name" in run(sys.executable, str(path), "--help")


# --- rot13 --------------------------------------------------------------------------------------


def test_rot13(cuse_device: Serve) -> None:
    kernel = cuse_device(load("rot13").Rot13())
    kernel.open(os.O_WRONLY).write(b"Hello, \xe4")
    file = kernel.open(os.O_RDONLY)
    assert (file.read(5), file.read(50), file.read(50)) == (b"Uryyb", b", \xe4", b"")


@real
def test_rot13_by_echo_cat_dd_and_tr() -> None:
    with running("rot13"):
        assert shell("echo Hello, world > NODE && cat NODE") == b"Uryyb, jbeyq\n"
        assert shell("tr A-Za-z N-ZA-Mn-za-m < NODE") == b"Hello, world\n"
        assert shell("dd if=NODE bs=3 status=none") == b"Uryyb, jbeyq\n"
        shell("head -c 300000 /dev/zero | tr '\\0' a > NODE")
        assert shell("cat NODE | tr -d n | wc -c") == b"0\n"
        assert shell("wc -c < NODE") == b"300000\n"


# --- sensor -------------------------------------------------------------------------------------


def test_sensor(cuse_device: Serve) -> None:
    module = load("sensor")
    kernel = cuse_device(module.Sensor("sensor"))
    file = kernel.open()
    assert file.ioctl(module.SET_PERIOD, (1).to_bytes(4, "little")) == (0, b"")
    assert file.ioctl(module.GET_PERIOD, b"").data == b"\1\0\0\0"
    for bad in (0, 60_001):
        with pytest.raises(OSError) as caught:
            file.ioctl(module.SET_PERIOD, bad.to_bytes(4, "little"))
        assert caught.value.errno == errno.EINVAL
    for _ in range(5):
        assert 15 <= float(file.read(100)) <= 25
    sample = module.Sample.from_buffer_copy(file.ioctl(module.GET_SAMPLE, b"").data)
    assert abs(sample.time_ns - time.time_ns()) < 3600 * 10**9
    assert 15_000 <= sample.millidegrees <= 25_000


def test_sensor_poll_and_nonblock(cuse_device: Serve) -> None:
    module = load("sensor")
    kernel = cuse_device(module.Sensor("sensor"))
    file = kernel.open(os.O_RDONLY | os.O_NONBLOCK)
    assert file.poll(select.POLLIN) == select.POLLIN
    file.read(100)
    assert file.poll(select.POLLIN, 60) == select.POLLIN
    file.ioctl(module.SET_PERIOD, (60_000).to_bytes(4, "little"))
    file.read(100)
    with pytest.raises(BlockingIOError):
        file.read(100)


@real
def test_sensor_by_head_perl_and_select() -> None:
    with running("sensor"):
        lines = run("head", "-n", "3", str(NODE)).decode().split()
        assert len(lines) == 3
        assert all(15 <= float(line) <= 25 for line in lines)
        perl = f"""
            open(F, "+<", "{NODE}") or die; my $p = pack("L", 250);
            ioctl(F, 0x40045303, $p) or die "set: $!"; my $q = pack("L", 0);
            ioctl(F, 0x80045302, $q) or die "get: $!"; print unpack("L", $q);
            my $bad = pack("L", 0); print " ", ioctl(F, 0x40045303, $bad) ? "ok" : $!+0;
        """
        assert run("perl", "-e", perl) == b"250 22"
        with NODE.open("rb", buffering=0) as file:
            for _ in range(3):
                assert select.select([file], [], [], LONG)[0] == [file]
                assert file.read(100).endswith(b"\n")
        with NODE.open("r+b", buffering=0) as file:
            fcntl.ioctl(file, 0x40045303, (60_000).to_bytes(4, "little"))
            file.read(100)
            run(
                "timeout", "-s", "INT", "1", "sh", "-c", f"head -c 1 {NODE}; cat {NODE}", status=124
            )


# --- serial -------------------------------------------------------------------------------------


def test_serial_echo(cuse_device: Serve) -> None:
    port = load("serial_echo").SerialEcho("tty", raw=True)
    file = cuse_device(port).open(os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        file.read(1)
    file.write(b"echo")
    assert file.read(10) == b"echo"


@real
def test_serial_echo_by_stty_and_socat() -> None:
    with running("serial_echo"):
        assert b"speed 9600 baud" in run("stty", "-F", str(NODE))
        run("stty", "-F", str(NODE), "115200", "raw", "-echo")
        assert b"speed 115200 baud" in run("stty", "-F", str(NODE))
        echoed = run("socat", "-t", "5", "-", f"{NODE},readbytes=12", stdin=b"over serial\n")
        assert echoed == b"over serial\n"


@real
def test_serial_echo_by_pyserial() -> None:
    import serial

    with running("serial_echo"):
        with serial.Serial(str(NODE), 115200, timeout=LONG, write_timeout=LONG) as port:
            assert port.write(b"hello\nworld\n") == 12
            assert port.in_waiting == 12
            assert port.readline() == b"hello\n"
            assert port.read(6) == b"world\n"
            port.dtr = False
            assert (port.cts, port.dsr) == (True, False)
            port.write(b"gone")
            port.reset_input_buffer()
            port.timeout = 0.1
            assert port.read(1) == b""
            port.baudrate = 250000  # one that has no constant: TCSETS2
            port.timeout = LONG
            port.write(PATTERN[:3000])
            assert port.read(3000) == PATTERN[:3000]


# --- device classes -----------------------------------------------------------------------------


def test_watchdog_runs_its_command(cuse_device: Serve, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    file = cuse_device(load("watchdog").Dog("dog", f"touch {ran}", 1)).open()
    file.write(b"ping")
    until(ran.exists)
    file.write(b"V")


def test_rtc_runs_as_fast_as_it_is_told(cuse_device: Serve) -> None:
    at = datetime.datetime(2038, 1, 19, 3, 14)
    clock = load("rtc").FastClock("clock", at, speed=1000)
    file = cuse_device(clock).open()
    file.ioctl(0x7003)  # RTC_UIE_ON
    assert len(file.read(8)) == 8
    assert clock.get() >= at + datetime.timedelta(seconds=1)


def test_seeded_random_repeats_itself(cuse_device: Serve) -> None:
    def drawn(seed: str, mixed: bytes) -> bytes:
        file = cuse_device(load("seeded_random").Seeded("seeded", seed)).open()
        file.write(mixed)
        return file.read(3) + file.read(100)

    assert drawn("7", b"x") == drawn("7", b"x")
    assert len({drawn("7", b"x"), drawn("8", b"x"), drawn("7", b"y")}) == 3
