"""The examples: over the fake kernel, and as programs whose nodes other people's programs use."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import importlib.util
import os
import pty
import select
import shutil
import signal
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


# --- pipe ---------------------------------------------------------------------------------------


def test_pipe(cuse_device: Serve) -> None:
    kernel = cuse_device(load("pipe").Pipe(capacity=10))
    reader, writer = kernel.open(os.O_RDONLY), kernel.open(os.O_WRONLY | os.O_NONBLOCK)
    call = kernel.start(reader.read, 100)
    assert writer.write(b"hello") == 5
    assert call.result() == b"hello"
    assert (reader.poll(select.POLLIN), writer.poll(select.POLLOUT)) == (0, select.POLLOUT)
    assert writer.write(b"more than fits") == 10
    with pytest.raises(BlockingIOError):
        writer.write(b"x")
    assert (reader.poll(select.POLLIN), writer.poll(select.POLLOUT)) == (select.POLLIN, 0)
    writer.flags &= ~os.O_NONBLOCK
    blocked = kernel.start(writer.write, b"later")
    waiting = kernel.start(writer.poll, select.POLLOUT, 60)
    assert reader.read(10) == b"more than "
    assert blocked.result() == 5
    assert waiting.result() == select.POLLOUT


@real
def test_pipe_passes_every_byte_in_order() -> None:
    with running("pipe"):
        assert shell("(echo one; echo two) > NODE & head -n 2 NODE; wait") == b"one\ntwo\n"
        shell(
            "seq 40000 > /tmp/pipe.in; size=$(wc -c < /tmp/pipe.in);"
            "cat /tmp/pipe.in > NODE & head -c $size NODE | cmp - /tmp/pipe.in && wait"
        )


@real
def test_pipe_blocks_and_is_interrupted() -> None:
    with running("pipe"):
        run("timeout", "--signal=INT", "1", "cat", str(NODE), status=124)
        run("timeout", "1", "dd", f"if={NODE}", "status=none", status=124)
        run("timeout", "--signal=KILL", "1", "cat", str(NODE), status=-signal.SIGKILL)
        assert shell("echo still there > NODE & head -n 1 NODE; wait") == b"still there\n"


@real
def test_pipe_nonblock_by_dd_and_poll_by_socat() -> None:
    with running("pipe"):
        failed = subprocess.run(
            ["dd", f"if={NODE}", "iflag=nonblock", "count=1"],
            capture_output=True,
            check=False,
            timeout=LONG,
        )
        assert failed.returncode == 1
        assert os.strerror(errno.EAGAIN).encode() in failed.stderr
        reader = subprocess.Popen(
            ["socat", "-u", "-T", "60", f"OPEN:{NODE},rdonly,readbytes=6", "STDOUT"],
            stdout=subprocess.PIPE,
        )
        run("socat", "-u", "STDIN", f"OPEN:{NODE},wronly", stdin=b"polled")
        assert reader.communicate(timeout=LONG)[0] == b"polled"


@real
def test_pipe_with_several_readers() -> None:
    with running("pipe"):
        readers = [
            subprocess.Popen(["dd", f"if={NODE}", "bs=1", "count=3"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
            for _ in range(5)
        ]  # fmt: skip
        shell("printf aaabbbcccdddeee > NODE")
        got = b"".join(reader.communicate(timeout=LONG)[0] for reader in readers)
        assert sorted(got) == sorted(b"aaabbbcccdddeee")


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


# --- access -------------------------------------------------------------------------------------


def test_access_single(cuse_device: Serve) -> None:
    kernel = cuse_device(load("access").Access(policy="single"))
    with kernel.open():
        with pytest.raises(OSError) as caught:
            kernel.open()
        assert caught.value.errno == errno.EBUSY
    kernel.open()


@pytest.mark.parametrize("policy", ["uid", "wuid"])
def test_access_uid(cuse_device: Serve, policy: str) -> None:
    kernel = cuse_device(load("access").Access(policy=policy))
    kernel.uid = 1000
    mine = kernel.open()
    kernel.open().close()
    kernel.uid = 2000
    if policy == "uid":
        with pytest.raises(OSError) as caught:
            kernel.open()
        assert caught.value.errno == errno.EBUSY
    else:
        with pytest.raises(BlockingIOError):
            kernel.open(os.O_RDWR | os.O_NONBLOCK)
        interrupted, waiting = kernel.start(kernel.open), kernel.start(kernel.open)
        interrupted.interrupt()
        with pytest.raises(InterruptedError):
            interrupted.result()
        assert not waiting.wait(0.05)
        mine.close()
        waiting.result().close()
    mine.close()
    kernel.open().close()


@real
def test_access_single_by_shells() -> None:
    with running("access", "--policy", "single"):
        assert shell("exec 3<> NODE; cat NODE 2>&1 >/dev/null | grep -c busy") == b"1\n"
        assert shell("echo kept > NODE; cat NODE") == b"kept\n"


@real
def test_access_uid_by_other_users() -> None:
    other = "setpriv --reuid 65534 --clear-groups"
    third = "setpriv --reuid 65533 --clear-groups"
    with running("access", "--policy", "uid"):
        again = f"{other} sh -c 'exec 3<> NODE; cat NODE; echo mine'"
        assert shell(again) == b"mine\n"
        assert shell(f"exec 3<> NODE; {third} cat NODE 2>&1 | grep -c busy") == b"1\n"


@real
def test_access_wuid_by_another_user_who_waits() -> None:
    third = ["setpriv", "--reuid", "65533", "--clear-groups"]
    with running("access", "--policy", "wuid"):
        with NODE.open("r+b", buffering=0) as file:
            run(*third, "timeout", "1", "cat", str(NODE), status=124)
            waiting = subprocess.Popen([*third, "cat", NODE], stdout=subprocess.PIPE)
            requests = Path(f"/sys/class/cuse/{NAME}/waiting")
            while int(requests.read_text()) == 0:
                assert waiting.poll() is None
                time.sleep(0.01)
            file.write(b"for you")
        assert waiting.communicate(timeout=LONG)[0] == b"for you"


@real
def test_access_priv_by_terminals() -> None:
    def on(terminal: int, text: str) -> bytes:
        """What a shell with that controlling terminal prints."""
        command = ["setsid", "--ctty", "--wait", "sh", "-c", text.replace("NODE", str(NODE))]
        return subprocess.run(
            command, stdin=terminal, stdout=subprocess.PIPE, check=True, timeout=LONG
        ).stdout

    terminals = [pty.openpty() for _ in range(2)]
    (_, one), (_, two) = terminals
    with running("access", "--policy", "priv"):
        on(one, "echo one > NODE")
        assert on(two, "cat NODE; echo two > NODE") == b""
        assert on(one, "cat NODE") == b"one\n"
        assert on(two, "cat NODE") == b"two\n"
    for fd in (fd for pair in terminals for fd in pair):
        os.close(fd)


# --- aesdchar -----------------------------------------------------------------------------------


def test_aesdchar(cuse_device: Serve) -> None:
    module = load("aesdchar")
    kernel = cuse_device(module.AesdChar())
    file = kernel.open()
    for word in (b"lost\n", *(b"%d\n" % number for number in range(9)), b"be", b"gun\n", b"rest"):
        file.write(word)
    assert file.read(100) == b"0\n1\n2\n3\n4\n5\n6\n7\n8\nbegun\n"

    def seek_to(command: int, byte: int) -> None:
        file.ioctl(module.SEEK_TO, bytes(module.SeekTo(command, byte)))

    seek_to(9, 2)
    assert (file.read(2), file.read(100), kernel.open().read(3)) == (b"gu", b"n\n", b"0\n1")
    seek_to(8, 1)
    for command, byte in ((10, 0), (9, 6), (0, 2)):
        with pytest.raises(OSError) as caught:
            seek_to(command, byte)
        assert caught.value.errno == errno.EINVAL
    assert file.read(3) == b"\nbe"


@real
def test_aesdchar_by_echo_cat_and_head() -> None:
    with running("aesdchar"):
        assert shell("for i in $(seq 12); do echo $i > NODE; done; cat NODE | tr -d '\\n'") == (
            b"3456789101112"
        )
        assert shell("printf half > NODE; head -c 2 NODE; echo way > NODE; tail -n 1 NODE") == (
            b"3\nhalfway\n"
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
