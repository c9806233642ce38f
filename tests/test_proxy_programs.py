"""Other people's programs on nodes of cuse-scullv proxy, and on those of replay after it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import cuse
from cuse_scullv.recording import log
from cuse_scullv.recording.recorded import RecordedProxy
from cuse_scullv.recording.replay import Replay
from cuse_scullv.recording.requests import Ioctl
from nodes import RealServer, until
from shell import CLI, inside, out, run
from terminals import terminal

pytestmark = pytest.mark.real

NAME = "cuseproxy"
NODE = f"/dev/{NAME}"
LONG = 90.0


@contextlib.contextmanager
def proxied(real: str, path: Path) -> Iterator[None]:
    """A node before `real`, and the log of what went through it at the end."""
    with cuse.Channel(RecordedProxy(NAME, real, path)):
        yield


@contextlib.contextmanager
def replayed(path: Path, **options: bool) -> Iterator[Replay]:
    """The node from the log; nothing may diverge."""
    replay = Replay(NAME, path, log.load(path), **options)
    with cuse.Channel(replay):
        yield replay
    assert replay.divergences == 0


# --- a serial line -------------------------------------------------------------------------------

PYSERIAL = """
import serial, sys
with serial.Serial(sys.argv[1], 115200, timeout=60, write_timeout=60) as port:
    print(port.baudrate, port.write(b"hello\\nworld\\n"))
    print(port.readline(), port.read(6), port.in_waiting)
    port.timeout = 0.1
    print(port.read(1))
    port.baudrate = 9600
    port.reset_input_buffer()
    port.timeout = 60
    pattern = bytes(range(256)) * 8
    port.write(pattern)
    print(port.read(len(pattern)) == pattern)
"""


def echo(master: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            os.write(master, os.read(master, 4096))


def test_pyserial_on_a_pty_pair_and_on_its_log(tmp_path: Path) -> None:
    client = (sys.executable, "-c", PYSERIAL, NODE)
    path = tmp_path / "log"
    with terminal() as line:
        threading.Thread(target=echo, args=(line.master,), daemon=True).start()
        with proxied(line.path, path):
            said = out(*client)
            assert b"speed 9600 baud" in out("stty", "-F", NODE)
            line.hang_up()
    assert said.splitlines() == [
        b"115200 12",
        b"b'hello\\n' b'world\\n' 0",
        b"b''",
        b"True",
    ]
    with replayed(path):
        assert out(*client) == said
        assert b"speed 9600 baud" in out("stty", "-F", NODE)


def test_a_client_that_is_killed_in_a_read_dies(tmp_path: Path) -> None:
    with terminal() as line, proxied(line.path, tmp_path / "log"):
        waiting = Path(f"/sys/class/cuse/{NAME}/waiting")
        for number in (signal.SIGINT, signal.SIGKILL):
            with subprocess.Popen(["cat", NODE]) as client:
                until(lambda: int(waiting.read_text()) > 0)
                time.sleep(0.05)
                client.send_signal(number)
                assert client.wait(LONG) == -number
        os.write(line.master, b"still there\n")
        assert out("head", "-n", "1", NODE) == b"still there\n"


class Slow(cuse.Device):
    """Its ioctl waits until its client is interrupted."""

    @cuse.ioctl(cuse.IO("X", 0))
    def wait(self, file: cuse.File, arg: int) -> None:
        cuse.sleep(LONG)


def test_a_client_that_is_killed_in_an_ioctl_dies(tmp_path: Path) -> None:
    script = f'open(F, "+<", "{NODE}") or die; print "open"; ioctl(F, 0x5800, 7) or die $!'
    command = ["perl", "-e", f"$| = 1; {script}"]
    with cuse.Channel(Slow("cuseslow")), proxied("/dev/cuseslow", tmp_path / "log"):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.read(4) == b"open"
            time.sleep(0.1)
            client.kill()
            assert client.wait(LONG) == -signal.SIGKILL
    ended = {e.request: e.was_interrupted for e in log.load(tmp_path / "log").exchanges}
    assert ended[Ioctl(0x5800, 7)]


# --- scullv --------------------------------------------------------------------------------------


def drive(tmp_path: Path, node: str) -> list[bytes]:
    """What dd and the commands of cuse-scullv say of a device: bytes, positions, parameters."""
    data = bytes(range(256)) * 1024
    (tmp_path / "in").write_bytes(data)
    out("dd", f"if={tmp_path}/in", f"of={node}", "bs=64K", "status=none")
    said = [out("dd", f"if={node}", "bs=100000", "status=none")]
    assert said == [data]
    said.append(out("dd", f"if={node}", "bs=1", "count=3", "status=none"))
    said.append(said_by("seek-copy", f"--if={node}", "--skip=200", "--bs=1000", "--count=2"))
    assert said[-1] == data[200_000:202_000]
    said_by("set", node, "quantum", "100000")
    said.append(said_by("get", node))
    assert b"quantum 100000" in said[-1]
    return said


def said_by(*arguments: str) -> bytes:
    """What a command of ours says, that goes well."""
    done = inside(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scullv_and_its_log(node: RealServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with proxied(str(node.path), path):
        said = drive(tmp_path, NODE)
        assert b"quantum 100000" in said_by("get", str(node.path))
    with replayed(path):
        assert drive(tmp_path, NODE) == said


# --- the command line ----------------------------------------------------------------------------


def test_the_commands_serve_until_told_and_say_where_a_client_diverged(tmp_path: Path) -> None:
    path = tmp_path / "log"
    out(*CLI, "proxy", "/dev/zero", "--name", NAME, "--record", str(path), "--daemon")
    assert out("head", "-c", "5", NODE) == bytes(5)
    out(*CLI, "stop", NAME)
    (_, read, _) = log.load(path).exchanges
    words = [*CLI, "replay", str(path), "--name", NAME]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert server.stderr.readline() == f"serving {NODE}\n"
        done = run("dd", f"if={NODE}", "bs=7", "count=1")
        assert b"Input/output error" in done.stderr
        server.terminate()
        said = server.stderr.read()
    assert server.returncode == 1
    assert said == (
        f"cuse-scullv: ERROR: {path}:{read.line}: expected {log.asked(read.request)}, came"
        ' {"op": "read", "size": 7}; the client gets EIO\n'
    )


def test_filters_befall_what_is_passed_on() -> None:
    fails_once = "error:errno=ENXIO,op=read,count=1"
    out(*CLI, "proxy", "/dev/zero", "--name", NAME, "--daemon", "--filter", fails_once)
    assert b"No such device or address" in run("head", "-c", "5", NODE).stderr
    assert out("head", "-c", "5", NODE) == bytes(5)
    out(*CLI, "stop", NAME)


# --- a clock -------------------------------------------------------------------------------------


@pytest.mark.smp
def test_hwclock_on_the_guests_clock_and_on_its_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    command = ("hwclock", "--show", "--utc", f"--rtc={NODE}", "--verbose")
    with proxied("/dev/rtc0", path):
        said = out(*command)
    with replayed(path):
        again = out(*command)
    pattern = rb"Hw clock time : ([0-9/: ]+)"
    (time_,) = re.findall(pattern, said)
    assert re.findall(pattern, again) == [time_]
    assert b'"RTC_RD_TIME"' in path.read_bytes()
