"""Keeper and worker: what the worker may do, and that a client does not notice when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import reaper
from cuse_scullv import client
from nodes import RealServer, child_named, until
from reaper import Reaper
from torture import kill_workers, torture
from views import FilesServer

KILLS = int(os.environ.get("CUSE_SCULLV_KILLS", "12"))
GAP_S = (0.1, 0.5)
# In user-mode-linux a process that is being killed cannot even be given what it has at hand: there
# is no get_user_pages_fast, and the slow way looks for the signal first (mm/gup.c). So nodes are
# tortured in the other guest.


@pytest.fixture
def forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of deaths is forgiven."""
    monkeypatch.setenv("CUSE_SCULLV_DEATHS", "1000000")


@pytest.fixture
def files(view: Path) -> Iterator[FilesServer]:
    server = FilesServer(view, "--recover", "--max-bytes", "64M")
    yield server
    server.stop()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


# --- privileges -----------------------------------------------------------------------------------


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have something to give up")
@pytest.mark.parametrize("arguments", [(), ("--recover",)])
def test_the_worker_has_no_privileges(view: Path, arguments: tuple[str, ...]) -> None:
    server = FilesServer(view, "--max-bytes", "64M", *arguments)
    try:
        state = status(server.worker)
        assert "0" not in state["Uid"].split()
        assert "0" not in state["Gid"].split()
        assert state["Groups"] == ""
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(state[kind], 16) == 0, kind
        assert state["NoNewPrivs"] == "1"
    finally:
        assert server.stop() == 0


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_where_nobody_can_be_become_it_says_so(view: Path) -> None:
    words = [sys.executable, "-m", "cuse_scullv", "serve", "--no-node", "--files", str(view)]
    done = subprocess.run(["unshare", "-Urm", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "in this user namespace: type --no-drop" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can keep anything")
def test_privileges_are_kept_on_demand(view: Path) -> None:
    server = FilesServer(view, "--max-bytes", "64M", "--no-drop")
    try:
        assert status(server.worker)["Uid"].split() == ["0"] * 4
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have something to give up")
def test_who_has_dropped_opens_nothing_more(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    code = (
        "import os, sys\n"
        "from cuse_scullv.processes import privileges\n"
        "privileges.drop(privileges.user_named(None))\n"
        f"for path in ('/etc/shadow', {str(secret)!r}):\n"
        "    try:\n"
        "        os.open(path, os.O_RDONLY)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit(path)\n"
        "try:\n"
        "    os.setuid(0)\n"
        "except PermissionError:\n"
        "    sys.exit(0)\n"
        "sys.exit('back')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what can be asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--recover", "--backing", "anon"), "type --backing memfd, or --backing FILE"),
        (("--recover", "--map", "/etc/passwd"), "type --backing memfd, or --backing FILE"),
        (("--user", "no-such-user"), "no user 'no-such-user': type --user with a name"),
        (("--user", "root"), "type --no-drop for that"),
        (("--user", "nobody", "--no-drop"), "leave out --no-drop or --user"),
    ],
)
def test_what_cannot_be_is_refused(view: Path, arguments: tuple[str, ...], said: str) -> None:
    if os.geteuid() != 0 and arguments[0] == "--user" and len(arguments) == 2:
        pytest.skip("whoever is not root stays who he is")
    words = [
        sys.executable,
        "-m",
        "cuse_scullv",
        "serve",
        "--no-node",
        "--files",
        str(view),
        *arguments,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 3


# --- deaths ---------------------------------------------------------------------------------------


@pytest.mark.mount
def test_without_recover_a_dead_worker_ends_the_server(view: Path) -> None:
    server = FilesServer(view, "--max-bytes", "64M")
    os.kill(server.worker, signal.SIGKILL)
    assert server.process.wait(20) == 1
    assert "the worker died: killed by SIGKILL" in server.errors.decode()
    assert list(view.iterdir()) == []
    server.stop()


@pytest.mark.mount
def test_a_worker_that_dies_again_and_again_ends_the_server(view: Path) -> None:
    server = FilesServer(view, "--recover", "--max-bytes", "64M")
    last = 0
    while server.process.poll() is None:
        worker = server.worker
        if worker not in (0, last):
            last = worker
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.02)
    assert server.process.wait(20) == 1
    assert "5 workers died within 10 s, the last: killed by SIGKILL" in server.errors.decode()
    assert list(view.iterdir()) == []
    server.stop()


@pytest.mark.mount
@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT])
def test_last_words_are_passed_on(files: FilesServer, how: signal.Signals) -> None:
    os.kill(files.worker, how)
    until(lambda: how.name in files.errors.decode())
    assert "Current thread" in files.errors.decode()  # faulthandler
    files.files[0].write_bytes(b"still here")
    assert files.files[0].read_bytes() == b"still here"


@pytest.mark.mount
def test_without_its_keeper_a_worker_ends(view: Path) -> None:
    server = FilesServer(view, "--recover", "--max-bytes", "64M")
    until(lambda: server.spare)
    processes = server.worker, server.spare
    server.process.kill()
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    subprocess.run(["fusermount3", "-u", "-z", view], check=True)
    server.stop()


@pytest.mark.mount
def test_a_spare_worker_follows(files: FilesServer) -> None:
    until(lambda: files.spare)
    spare = files.spare
    files.kill_worker()
    assert files.worker == spare
    until(lambda: files.spare)


@pytest.mark.mount
def test_a_spare_worker_that_dies_is_replaced(files: FilesServer) -> None:
    until(lambda: files.spare)
    spare = files.spare
    os.kill(spare, signal.SIGKILL)
    until(lambda: "a spare worker died: killed by SIGKILL" in files.errors.decode())
    until(lambda: files.spare not in (0, spare))
    files.kill_worker()  # the new one has not prepared anything yet
    files.files[0].write_bytes(b"still here")
    assert files.files[0].read_bytes() == b"still here"


@pytest.mark.mount
def test_who_follows_dies_at_once_as_well(files: FilesServer) -> None:
    until(lambda: files.spare)
    worker, spare = files.worker, files.spare
    os.kill(files.process.pid, signal.SIGSTOP)  # the keeper sees both at once
    os.kill(worker, signal.SIGKILL)
    os.kill(spare, signal.SIGKILL)
    os.kill(files.process.pid, signal.SIGCONT)
    until(lambda: files.worker not in (0, worker, spare))
    files.files[0].write_bytes(b"still here")
    assert files.files[0].read_bytes() == b"still here"


@pytest.mark.mount
def test_parameters_and_geometry_outlive_a_worker(files: FilesServer) -> None:
    with client.open(files.files[0], "r+") as device:
        device.set("order", 1)
        device.trim()
        device.set("order", 2)
        device.write(b"x" * 10)
        before = device.info()
        files.kill_worker()
        after = device.info()
    assert (after.quantum, after.pending_quantum, after.size) == (8192, 16384, 10)
    assert before == after


@pytest.mark.real
def test_an_open_node_stays_open() -> None:
    server = RealServer("--recover", "--max-bytes", "64M", "--mem-node", "--devices", "2")
    try:
        with client.open(server.path, "r+") as device, client.open(server.path) as other:
            text = os.open(f"/dev/{server.name}mem", os.O_RDONLY)
            device.write(b"first")
            assert other.read(2) == b"fi"
            server.kill_worker()
            device.write(b"second")
            assert device.tell() == 11
            assert device.info().opens == 2
            assert other.read(99) == b"rstsecond"
            server.kill_worker()
            assert os.read(text, 99)
            os.close(text)
        with client.open(server.path) as device:
            assert device.info().opens == 1
    finally:
        assert server.stop() == 0


# --- another program ------------------------------------------------------------------------------


@pytest.mark.mount
def test_another_program_takes_over(files: FilesServer) -> None:
    with client.open(files.files[0], "r+") as device:
        device.write(b"before ")
        device.set("order", 1)
        reload(files)
        device.write(b"after")
        assert device.get("order") == 1
        assert device.info().opens == 1
    assert files.files[0].read_bytes() == b"before after"
    files.kill_worker()
    reload(files)
    assert files.files[0].read_bytes() == b"before after"


@pytest.mark.mount
@pytest.mark.usefixtures("view")
def test_programs_that_follow_know_the_folder(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cuse_scullv", "serve", "--daemon", "--pidfile", "pid"]
    options = ["--recover", "--no-node", "--files", "view", "--max-bytes", "64M"]
    subprocess.run([*words, *options], cwd=tmp_path, check=True, timeout=60)
    keeper = int((tmp_path / "pid").read_text())
    file = tmp_path / "view" / "scullv"
    file.write_bytes(b"kept")
    for _ in range(3):
        worker = child_named(keeper, "scullv-worker")
        os.kill(keeper, signal.SIGUSR2)
        until(lambda old=worker: child_named(keeper, "scullv-worker") not in (0, old))
        assert file.read_bytes() == b"kept"
    os.kill(keeper, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{keeper}").exists())
    assert not file.exists()


@pytest.mark.real
def test_another_program_takes_nodes_over() -> None:
    server = RealServer("--recover", "--max-bytes", "64M", "--mem-node", "--devices", "2")
    try:
        with client.open(server.path, "r+") as device:
            device.write(b"before ")
            reload(server)
            device.write(b"after")
            assert device.tell() == 12
    finally:
        assert server.stop() == 0
    assert not server.path.exists()


def reload(server: RealServer) -> None:
    """Has the keeper become the program anew; returns when that serves."""
    worker = server.worker
    server.process.send_signal(signal.SIGUSR2)
    until(lambda: server.worker not in (0, worker))


@pytest.mark.mount
def test_who_does_not_recover_does_not_reload(view: Path) -> None:
    server = FilesServer(view, "--max-bytes", "64M")
    server.process.send_signal(signal.SIGUSR2)
    until(lambda: b"not reloaded: only a server with --recover" in server.errors)
    assert server.files[0].exists()
    server.stop()


@pytest.mark.mount
def test_a_program_with_other_state_is_refused(
    view: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = FilesServer(view, "--recover", "--max-bytes", "64M")
    worker = server.worker
    other = tmp_path / "cuse_scullv"
    other.mkdir()
    (other / "__init__.py").write_text("")
    (other / "_native.py").write_text("class lib:\n    state_version = staticmethod(lambda: 99)\n")
    server.process.send_signal(signal.SIGUSR2)
    until(lambda: b"reads state of version 99, this one's is of version 2" in server.errors)
    assert server.worker == worker
    server.stop()


@pytest.mark.mount
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices = 2", "its options say to serve something else now"),
        ("devcies = 1", "the new program does not start: {}: no option 'devcies'"),
        ("backing = 'anon'", "the new program does not start: --recover needs"),
    ],
)
def test_options_that_have_changed_are_refused(
    view: Path, tmp_path: Path, text: str, said: str
) -> None:
    config = tmp_path / "scullv.toml"
    config.write_text("devices = 1")
    server = FilesServer(view, "--recover", "--max-bytes", "64M", "--config", str(config))
    worker = server.worker
    config.write_text(text)
    server.process.send_signal(signal.SIGUSR2)
    until(lambda: b"not reloaded: " + said.format(config).encode() in server.errors)
    assert server.worker == worker
    server.stop()


# --- kill points ----------------------------------------------------------------------------------

POINTS = [point for point in reaper.POINTS if not point.endswith("COMMITTED")]  # of Python's


@pytest.mark.mount
@pytest.mark.usefixtures("forgiving")
def test_files_at_every_kill_point(
    view: Path, mortal_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mortal_build)
    server = FilesServer(
        view, "--recover", "--max-bytes", "256M", "--view", "direct", "--devices", "4"
    )
    path = server.files
    roles = [("place", path[0]), ("place", path[1]), ("exchange", path[0]), ("exchange", path[1])]
    at_points(server, [*roles, ("cut", path[3]), ("wait", path[0])], 10 * KILLS)


@pytest.mark.real
@pytest.mark.smp
@pytest.mark.usefixtures("forgiving")
def test_nodes_at_every_kill_point(mortal_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mortal_build)
    server = RealServer("--recover", "--max-bytes", "256M", "--devices", "4")
    path = server.paths
    roles = [("stream", path[0]), ("stream", path[1]), ("trim", path[2]), ("trim", path[3])]
    at_points(server, [*roles, ("exchange", path[0]), ("wait", path[0])], KILLS)


def at_points(server: RealServer, roles: list[tuple[str, Path]], deaths: int) -> None:
    try:
        reaps = Reaper(server.process.pid, POINTS)
        torture(roles, lambda: reaps.run(deaths))
        print(dict(reaps.reached))
    finally:
        assert server.stop() == 0


@pytest.mark.mount
@pytest.mark.parametrize("drop", [(), ("--no-drop",)])
@pytest.mark.parametrize(
    ("death", "said"),
    [("WILD_WRITE", "SIGSEGV: fault at address 0x000000000dead000"), ("EXEC", "SIGSYS")],
)
def test_a_fault_in_the_worker_gets_nowhere(
    view: Path,
    mortal_build: Path,
    monkeypatch: pytest.MonkeyPatch,
    death: str,
    said: str,
    drop: tuple[str, ...],
) -> None:
    monkeypatch.chdir(mortal_build)
    server = FilesServer(view, "--recover", "--max-bytes", "64M", "--view", "direct", *drop)
    try:
        server.files[0].write_bytes(b"before ")
        Reaper(server.process.pid, POINTS).kill_at("UNRECORDED", death)
        with server.files[0].open("ab") as file:
            file.write(b"after")
        assert server.files[0].read_bytes() == b"before after"
        until(lambda: b"another takes its place" in server.errors)
        if drop and death == "EXEC":
            said = "SIGKILL"  # of the other program, by the keeper
        assert said in server.errors.decode()
    finally:
        assert server.stop() == 0


# --- torture --------------------------------------------------------------------------------------


def at_random(server: RealServer, roles: list[tuple[str, Path]]) -> None:
    try:
        torture(roles, lambda: kill_workers(lambda: server.worker, KILLS, GAP_S))
    finally:
        assert server.stop() == 0


@pytest.mark.mount
@pytest.mark.usefixtures("forgiving")
@pytest.mark.parametrize("how", ["direct", "auto"])
def test_no_client_of_the_view_notices(view: Path, how: str) -> None:
    server = FilesServer(view, "--recover", "--max-bytes", "256M", "--view", how, "--devices", "4")
    path = server.files
    roles = [("place", path[0]), ("place", path[1]), ("exchange", path[0]), ("exchange", path[1])]
    at_random(server, [*roles, ("wait", path[0]), ("store", path[2])])


@pytest.mark.real
@pytest.mark.smp
@pytest.mark.usefixtures("forgiving")
@pytest.mark.parametrize(
    "load",
    [
        [("stream", 0)],
        [("exchange", 0)],
        [("stream", 0), ("stream", 1), ("trim", 2), ("exchange", 0)],  # leaves no CPU idle
    ],
    ids=["stream", "exchange", "all"],
)
def test_no_client_of_a_node_notices(load: list[tuple[str, int]]) -> None:
    server = RealServer("--recover", "--max-bytes", "256M", "--devices", "4")
    path = server.paths
    at_random(server, [*((role, path[device]) for role, device in load), ("wait", path[0])])
