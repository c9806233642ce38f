"""Starting and stopping real servers, under load and by force."""

import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from nodes import NAME, RealFile, RealServer, has_cuse, info
from shell import sh

pytestmark = pytest.mark.real

# Stopping is promised in two seconds; a CI machine may be many times slower.
STOP_S = 10.0
WAIT_S = 60.0
ABORT = Path(f"/sys/class/cuse/{NAME}/abort")


def state(pid: int) -> str:
    """Of a process, as ps(1) letters it; "" for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def until(what: str, condition: object) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        time.sleep(0.01)


@pytest.fixture
def load() -> object:
    """Starts programs that read and write a node without end, and ends them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: Path) -> list[subprocess.Popen[bytes]]:
        # nocreat: when the node has gone, none of them may put a file in its place.
        write = f"dd if=/dev/zero of={path} conv=nocreat"
        scripts = (
            f"while {write} bs=64k count=400 2>/dev/null; do :; done",
            f"while {write},notrunc bs=512 count=4000 2>/dev/null; do :; done",
            f"while cat {path} >/dev/null 2>&1; do :; done",
        )
        for script in scripts:
            started.append(subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL))
        return started

    yield start
    for process in started:
        process.kill()
        process.wait(WAIT_S)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.smp, id="two CPUs"),
    ],
)
def test_a_signal_under_load_stops_the_server_and_leaves_no_client_behind(
    load: object, number: signal.Signals
) -> None:
    server = RealServer()
    clients = load(server.path)  # type: ignore[operator]
    with RealFile(server.path, os.O_RDONLY) as file:
        until("load", lambda: info(file).size > 1 << 20)
    began = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(WAIT_S) == 0, server.errors.decode()
    took = time.monotonic() - began
    assert took < STOP_S
    for client in clients:
        client.wait(WAIT_S)  # their loops end when the node has gone; none hangs in D state
    assert not server.path.exists()
    server.stop()
    server.check_log()


def test_killing_the_server_ends_its_clients_calls(load: object) -> None:
    server = RealServer()
    clients = load(server.path)  # type: ignore[operator]
    with RealFile(server.path, os.O_RDWR) as file:
        until("load", lambda: info(file).size > 1 << 20)
        server.process.kill()
        server.process.wait(WAIT_S)
        for client in clients:
            client.wait(WAIT_S)
        with pytest.raises(OSError) as caught:
            file.read(1)
        assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)


def test_the_name_can_be_served_again_at_once() -> None:
    for _ in range(3):
        server = RealServer()
        assert sh('cat "$NODE"', NODE=str(server.path)) == b""
        sh('printf x >"$NODE"', NODE=str(server.path))
        assert server.stop() == 0


def test_a_killed_server_s_name_can_be_served_again() -> None:
    server = RealServer()
    server.process.kill()
    server.process.wait(WAIT_S)
    until("the node goes", lambda: not server.path.exists())
    again = RealServer()
    assert again.stop() == 0


def test_files_open_across_a_stop_say_that_the_server_has_gone() -> None:
    server = RealServer()
    with RealFile(server.path, os.O_RDWR) as file:
        file.write(b"x")
        assert server.stop() == 0
        for action in (lambda: file.read(1), lambda: file.write(b"y"), lambda: info(file)):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno == errno.ENOTCONN


def test_an_aborted_device_ends_the_server_with_status_1() -> None:
    server = RealServer()
    ABORT.write_text("1")
    assert server.process.wait(WAIT_S) == 1
    server.stop()
    assert b"a device was ended by the kernel" in server.errors


def test_a_command_whose_device_ended_is_not_waited_for() -> None:
    server = RealServer("--run", "sleep", "1000")
    ABORT.write_text("1")
    assert server.process.wait(WAIT_S) == 1
    server.stop()
    assert b"a device was ended by the kernel" in server.errors


def test_a_client_killed_in_the_midst_leaves_the_server_working() -> None:
    server = RealServer()
    try:
        for _ in range(5):
            zeros = [
                "dd",
                "if=/dev/zero",
                f"of={server.path}",
                "conv=nocreat",
                "bs=1M",
                "count=200",
            ]
            client = subprocess.Popen(zeros, stderr=subprocess.DEVNULL)
            with RealFile(server.path, os.O_RDONLY) as file:
                until("some bytes", lambda file=file: info(file).size > 1 << 20)
            client.kill()
            client.wait(WAIT_S)
        assert sh('printf ok >"$NODE"; cat "$NODE"', NODE=str(server.path)) == b"ok"
        with RealFile(server.path, os.O_RDONLY) as file:
            until("released", lambda: info(file).opens == 1)
    finally:
        assert server.stop() == 0
    server.check_log()


def test_a_stop_does_not_wait_for_a_slow_client() -> None:
    """One that holds the node open and does nothing."""
    server = RealServer()
    holder = subprocess.Popen(["sh", "-c", f"exec sleep 1000 <{server.path}"])
    with RealFile(server.path, os.O_RDONLY) as file:
        until("the holder has it", lambda: info(file).opens == 2)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < STOP_S
    holder.kill()
    holder.wait(WAIT_S)


def test_opening_and_closing_in_many_threads_leaks_nothing() -> None:
    server = RealServer()

    def work() -> None:
        for _ in range(50):
            with RealFile(server.path, os.O_RDWR) as file:
                file.write(b"x")

    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        with RealFile(server.path, os.O_RDONLY) as file:
            until("released", lambda: info(file).opens == 1)
    finally:
        assert server.stop() == 0
    server.check_log()


def test_this_kernel_has_cuse() -> None:
    assert has_cuse()
