"""The presets of the book's chapter 6: who may open a device, and when."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import subprocess
from pathlib import Path

import pytest

from cuse_scullv.ioctl import NUMBERS
from nodes import RealPool, RealServer, Serve, fails, until
from shell import inside, refused, sh

OTHER, THIRD = 65534, 65533
HQUANTUM = NUMBERS["SCULL_IOCHQUANTUM"]
pytestmark = pytest.mark.usefixtures("quiet")


def test_single_has_one_open_file(serve_fake: Serve) -> None:
    served = serve_fake(preset="scullsingle")
    with served.open():
        for flags in (os.O_RDONLY, os.O_RDWR | os.O_NONBLOCK):
            with fails(errno.EBUSY):
                served.open(flags)
    served.open().close()


def test_uid_has_files_of_one_user(serve_fake: Serve) -> None:
    served = serve_fake(preset="sculluid")
    kernel = served.kernels[0]
    kernel.uid, kernel.pid = OTHER, 1 << 22  # a pid that no process has: without capabilities
    with served.open() as mine:
        served.open().close()
        kernel.uid = THIRD
        with fails(errno.EBUSY):
            served.open()
        kernel.pid = os.getpid()  # root, who has CAP_SYS_ADMIN
        served.open().close()
        mine.write(b"kept")
    assert served.open().read(9) == b"kept"


def test_wuid_has_others_wait(serve_fake: Serve) -> None:
    served = serve_fake(preset="scullwuid")
    kernel = served.kernels[0]
    kernel.uid, kernel.pid = OTHER, 1 << 22
    with served.open() as mine:
        served.open().close()
        kernel.uid = THIRD
        with fails(errno.EAGAIN):
            served.open(os.O_RDWR | os.O_NONBLOCK)
        interrupted, waiting = kernel.start(kernel.open), kernel.start(kernel.open)
        interrupted.interrupt()
        with fails(errno.EINTR):
            interrupted.result()
        assert not waiting.wait(0.05)
        assert mine.write(b"kept") == 4  # whoever waits holds nobody up
    with waiting.result() as theirs:
        assert theirs.read(9) == b"kept"


def test_a_signal_to_who_does_not_wait_is_nothing(serve_fake: Serve) -> None:
    served = serve_fake(preset="scullwuid")
    kernel = served.kernels[0]
    with served.open() as file:
        file.write(b"kept")
        for _ in range(20):
            call = kernel.start(file.read, 4)
            call.interrupt()
            assert call.result() in (b"kept", b"")  # at once: nothing waits
    served.open().close()


def test_priv_has_a_memory_for_each_terminal(
    serve_fake: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminals = iter([1, 2, 1, 2])
    monkeypatch.setattr("cuse_scullv.access.terminal_of", lambda _: next(terminals))
    served = serve_fake(preset="scullpriv")
    with served.open() as one, served.open() as two:
        one.write(b"one")
        assert two.ioctl(HQUANTUM, 1000).result == 4000
    with served.open() as one, served.open(os.O_WRONLY) as two:
        two.write(b"second")
        assert one.read(9) == b"one"
        info = served.devices[0].information()
    assert (info.devices, info.size) == (1, 0)


def test_who_has_no_terminal_has_no_memory(serve_fake: Serve) -> None:
    served = serve_fake(preset="scullpriv")
    served.kernels[0].pid = 1 << 22
    with fails(errno.EINVAL):
        served.open()


@pytest.mark.parametrize(
    "words",
    [
        ["--recover"],
        ["--backing", "memfd"],
        ["--files", "/tmp"],
        ["--no-node", "--files", "/tmp"],
        ["--mem-node"],
    ],
)
def test_what_does_not_go_with_them_is_refused(words: list[str]) -> None:
    said = refused("serve", "--preset", "sculluid", *words, run=inside)
    assert "sculluid is a node, and memory of its own: leave out" in said


# What a user without capabilities does with a node.
AS = "setpriv --reuid {} --clear-groups"


@pytest.mark.real
def test_users_on_a_real_node(real_pool: RealPool, tmp_path: Path) -> None:
    path = str(real_pool.get(preset="sculluid", mode="0666").path)
    script = f"""
        mkfifo $FIFO; exec 4<>$FIFO
        {AS.format(OTHER)} sh -c 'exec 3<>$NODE; echo mine >&3; read line' <&4 &
        until grep -q mine $NODE; do :; done
        {AS.format(THIRD)} dd if=$NODE status=none 2>&1 | grep -o busy
        echo >&4; wait
        {AS.format(THIRD)} cat $NODE"""
    assert sh(script, NODE=path, FIFO=str(tmp_path / "fifo")) == b"busy\nmine\n"


@pytest.mark.real
def test_terminals_on_a_real_node() -> None:
    server = RealServer("--preset", "scullpriv", name="scullprivtest")

    def on(terminal: int, text: str) -> bytes:
        """What a shell with that controlling terminal prints."""
        words = ["setsid", "--ctty", "--wait", "sh", "-ec", text.replace("NODE", str(server.path))]
        return subprocess.run(
            words, stdin=terminal, stdout=subprocess.PIPE, check=True, timeout=60
        ).stdout

    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        terminals = [pty.openpty() for _ in range(2)]
        for descriptor in (end for ends in terminals for end in ends):
            stack.callback(os.close, descriptor)
        (_, one), (_, two) = terminals
        on(one, "echo one >NODE")
        assert on(two, "cat NODE; echo two >NODE; cat NODE") == b"two\n"
        assert on(one, "cat NODE") == b"one\n"


@pytest.mark.real
def test_users_wait_for_each_other_on_a_real_node(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = RealServer(
        "--preset", "scullwuid", "--mode", "0666", "--log-requests", str(log), name="scullwuidtest"
    )
    as_third = AS.format(THIRD)
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        with server.path.open("r+b", buffering=0) as file:
            sh(f"status=0; {as_third} timeout 1 cat $NODE || status=$?; test $status = 124",
               NODE=str(server.path))  # fmt: skip
            words = [*as_third.split(), "cat", str(server.path)]
            waiting = subprocess.Popen(words, stdout=subprocess.PIPE)
            requests = Path(f"/sys/class/cuse/{server.name}/waiting")
            until(lambda: int(requests.read_text()) > 0)
            file.write(b"for you")
        assert waiting.communicate(timeout=60)[0] == b"for you"
    assert '"error": "EINTR"' in log.read_text()
