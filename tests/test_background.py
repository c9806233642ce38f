"""Servers in the background: --daemon, --pidfile and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import registry
from cuse_scullv.pidfile import PidFile, holder
from nodes import NAME
from shell import cli, refused, run, text

SERVE = ("serve", "--no-node", "--max-bytes", "64M", "--files")
EXAMPLE = Path(__file__).parent.parent / "examples" / "rot13.py"

IMPORT = "import sys; from pathlib import Path; from cuse_scullv.pidfile import PidFile, holder\n"
ASK = IMPORT + "print(holder(Path(sys.argv[1])))"
HOLD = IMPORT + "with PidFile(Path(sys.argv[1])): print(1, flush=True); input()"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    yield folder
    if folder.is_mount():
        cli("stop", str(folder))


# --- the file that names a process


def test_a_pid_file_names_who_holds_it_and_goes_with_him(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert holder(path) is None
    with PidFile(path):
        assert path.read_text() == f"{os.getpid()}\n"
        asked = run(sys.executable, "-c", ASK, str(path))
        assert asked.stdout.decode().strip() == str(os.getpid()), text(asked)
    assert not path.exists()


def test_a_file_that_a_crashed_server_left_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1\n")
    assert holder(path) is None
    with PidFile(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_file_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"1\n"
    assert holder(path) == child.pid
    with pytest.raises(BlockingIOError, match=str(child.pid)), PidFile(path):
        pass
    child.communicate(b"\n")
    assert holder(path) is None


@pytest.mark.parametrize("content", [b"notes\n", b"12 apples\n", b"1\n2\n"])
def test_a_file_that_is_no_pid_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(FileExistsError), PidFile(path):
        pass
    assert path.read_bytes() == content


def test_what_took_a_pid_files_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with PidFile(path):
        path.unlink()
        path.write_text("another's\n")
    assert path.read_text() == "another's\n"


# --- the command


@pytest.mark.mount
def test_daemon_returns_when_clients_can_open(files: Path, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    started = cli(*SERVE, str(files), "--daemon", "--pidfile", str(pidfile))
    assert started.returncode == 0, text(started)
    assert started.stderr.startswith(b"cuse-scullv: serving ")
    (files / "scullv").write_bytes(b"hello")
    assert (files / "scullv").read_bytes() == b"hello"
    pid = int(pidfile.read_text())
    assert holder(pidfile) == pid
    assert os.getsid(pid) == pid  # no terminal's hang-up reaches it
    assert str(Path(f"/proc/{pid}/cwd").readlink()) == "/"
    assert {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in range(3)} == {"/dev/null"}
    ended = cli("stop", str(files / "scullv"))
    assert ended.returncode == 0, text(ended)
    assert not files.is_mount()
    assert not pidfile.exists()


@pytest.mark.mount
def test_a_spare_worker_leaves_the_terminal_alone(files: Path) -> None:
    assert cli(*SERVE, str(files), "--daemon", "--recover").returncode == 0  # its output has ended
    assert cli("stop", str(files)).returncode == 0


@pytest.mark.mount
def test_a_server_in_the_foreground_is_stopped_too(files: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cuse_scullv", *SERVE, str(files)], stderr=subprocess.PIPE
    ) as server:
        assert server.stderr is not None
        assert server.stderr.readline().startswith(b"cuse-scullv: serving ")
        assert cli("stop", str(files)).returncode == 0
        assert server.wait(10) == 0


@pytest.mark.mount
def test_an_error_of_the_daemon_is_the_commands(files: Path, tmp_path: Path) -> None:
    message = refused(*SERVE, str(tmp_path / "missing"), "--daemon")
    assert "no directory" in message
    assert "mkdir" in message


@pytest.mark.mount
def test_a_pid_file_in_use_is_refused(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with PidFile(path):
        message = refused(*SERVE, str(files), "--daemon", "--pidfile", str(path))
    assert f"process {os.getpid()} has it" in message
    assert not files.is_mount()
    message = refused(*SERVE, str(files), "--daemon", "--pidfile", str(tmp_path / "no" / "pid"))
    assert "No such file" in message
    assert not files.is_mount()


def test_stop_of_nothing_says_so(tmp_path: Path) -> None:
    for name in ("no-such-device", "/dev/no-such-device", str(tmp_path)):
        assert "no server of yours serves" in refused("stop", name)


@pytest.mark.mount
def test_a_slip_of_the_pen_stops_no_other_server(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*SERVE, str(files), "--daemon").returncode == 0
    monkeypatch.chdir(files)
    assert "no server" in refused("stop", "scullx")
    monkeypatch.chdir("/")
    assert files.is_mount()


@pytest.mark.mount
def test_a_killed_server_is_not_mistaken_for_another_process(files: Path) -> None:
    assert cli(*SERVE, str(files), "--daemon").returncode == 0
    pid = registry.find(str(files))
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    run("umount", "-l", str(files))
    assert "no server" in refused("stop", str(files))


def test_options_that_do_not_go_together() -> None:
    assert "--daemon" in refused("serve", "--pidfile", "x")
    assert "--daemon" in refused("serve", "--daemon", "--run", "true")


# --- nodes


@pytest.mark.real
def test_a_node_is_there_when_the_command_returns() -> None:
    started = cli("serve", "--name", NAME, "--devices", "2", "--daemon")
    assert started.returncode == 0, text(started)
    fd = os.open(f"/dev/{NAME}1", os.O_WRONLY)
    assert os.write(fd, b"x") == 1
    os.close(fd)
    assert cli("stop", f"/dev/{NAME}1").returncode == 0
    assert not os.path.lexists(f"/dev/{NAME}")


@pytest.mark.real
def test_a_device_of_ones_own_in_the_background() -> None:
    started = run(sys.executable, str(EXAMPLE), "--name", NAME, "--daemon")
    assert (started.returncode, started.stderr) == (0, f"serving /dev/{NAME}\n".encode())
    assert Path(f"/dev/{NAME}").is_char_device()
    assert cli("stop", NAME).returncode == 0
    assert not Path(f"/dev/{NAME}").exists()


# --- what a name means


@pytest.mark.parametrize(
    ("name", "node", "first"),
    [
        ("scullv", "/dev/scullv", "/dev/scullv"),
        ("/dev/input/event9", "/dev/input/event9", "/dev/input/event9"),
        ("input/event9", "/dev/input/event9", "input/event9"),  # a directory of files, if there
        ("./input/event9", None, "input/event9"),
    ],
)
def test_a_node_is_named_by_its_path_below_dev(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, node: str | None, first: str
) -> None:
    monkeypatch.chdir(tmp_path)
    places = list(registry.places_named(name))
    assert places[0] == tmp_path / first
    below = [str(place) for place in places if Path("/dev") in place.parents]
    assert node in below if node else not below
