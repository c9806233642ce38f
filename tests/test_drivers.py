"""The presets of `serve` that are no memory: scullpipe and aesdchar."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeKernel
from cuse_scullv.drivers import DRIVERS
from cuse_scullv.drivers.aesdchar import COMMAND_MAX, SEEK_TO, AesdChar, SeekTo
from cuse_scullv.drivers.pipe import BUFFER_MAX, QUERY_SIZE, SET_SIZE, ScullPipe
from nodes import RealServer, fails
from shell import CLI, inside, refused, sh
from test_examples import LONG, run

real = pytest.mark.real
Serve = Callable[..., FakeKernel]


@pytest.fixture
def pipe() -> Iterator[RealServer]:
    yield from served("scullpipe")


@pytest.fixture
def aesdchar() -> Iterator[RealServer]:
    yield from served("aesdchar")


def served(preset: str, *words: str) -> Iterator[RealServer]:
    server = RealServer("--preset", preset, *words, name=preset)
    try:
        yield server
        if "--recover" not in words:
            server.check_log()
    finally:
        assert server.stop() == 0
    assert not server.path.exists()


def on(server: RealServer, script: str) -> bytes:
    return sh(script, NODE=str(server.path))


# --- scullpipe ------------------------------------------------------------------------------------


def sized(size: int) -> ScullPipe:
    """A pipe with room for so many bytes."""
    pipe = ScullPipe()
    with cuse.testing.serve(pipe) as kernel, kernel.open() as file:
        file.ioctl(SET_SIZE, size + 1)
    return pipe


def test_readers_and_writers_wait_for_each_other(cuse_device: Serve) -> None:
    kernel = cuse_device(sized(10))
    reader, writer = kernel.open(os.O_RDONLY), kernel.open(os.O_WRONLY | os.O_NONBLOCK)
    call = kernel.start(reader.read, 100)
    assert writer.write(b"hello") == 5
    assert call.result() == b"hello"
    assert (reader.poll(select.POLLIN), writer.poll(select.POLLOUT)) == (0, select.POLLOUT)
    assert writer.write(b"more than fits") == 10
    with fails(errno.EAGAIN):
        writer.write(b"x")
    assert (reader.poll(select.POLLIN), writer.poll(select.POLLOUT)) == (select.POLLIN, 0)
    writer.flags &= ~os.O_NONBLOCK
    blocked = kernel.start(writer.write, b"later")
    waiting = kernel.start(writer.poll, select.POLLOUT, 60)
    assert reader.read(10) == b"more than "
    assert blocked.result() == 5
    assert waiting.result() == select.POLLOUT


def test_what_nobody_has_read_goes_with_the_last_file(cuse_device: Serve) -> None:
    kernel = cuse_device(ScullPipe())
    with kernel.open() as first:
        with kernel.open() as second:
            second.write(b"kept")
        assert first.read(9) == b"kept"
        first.write(b"lost")
    with fails(errno.EAGAIN):
        kernel.open(os.O_RDWR | os.O_NONBLOCK).read(1)


def test_the_size_of_the_buffer_is_asked_for_and_set_for_the_next(cuse_device: Serve) -> None:
    kernel = cuse_device(ScullPipe())
    with kernel.open(os.O_RDWR | os.O_NONBLOCK) as file:
        assert file.ioctl(QUERY_SIZE).result == 4000
        for bad in (0, 1, BUFFER_MAX + 1):
            with fails(errno.EINVAL):
                file.ioctl(SET_SIZE, bad)
        assert file.ioctl(SET_SIZE, 5).result == 0
        assert file.ioctl(QUERY_SIZE).result == 5
        assert file.write(b"x" * 5000) == 3999
    with kernel.open(os.O_RDWR | os.O_NONBLOCK) as file:
        assert file.write(b"x" * 5000) == 4


@real
def test_a_pipe_passes_every_byte_in_order(pipe: RealServer, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"{number}\n" for number in range(40000)))
    script = f"exec 3<>$NODE; cat {text} >&3 & head -c {text.stat().st_size} <&3 | cmp - {text}"
    assert on(pipe, f"{script} && wait") == b""


@real
def test_a_signal_ends_a_wait(pipe: RealServer) -> None:
    path = str(pipe.path)
    run("timeout", "--signal=INT", "1", "cat", path, status=124)
    run("timeout", "1", "dd", f"if={path}", "status=none", status=124)
    run("timeout", "--signal=KILL", "1", "cat", path, status=-signal.SIGKILL)
    assert on(pipe, "exec 3<>$NODE; echo there >&3; head -n 1 <&3") == b"there\n"


@real
def test_nonblock_by_dd_and_poll_by_socat(pipe: RealServer) -> None:
    failed = subprocess.run(
        ["dd", f"if={pipe.path}", "iflag=nonblock", "count=1"],
        capture_output=True,
        check=False,
        timeout=LONG,
    )
    assert failed.returncode == 1
    assert os.strerror(errno.EAGAIN).encode() in failed.stderr
    # It stays open for both: what is written before the reader has opened it would be lost.
    with pipe.path.open("rb", buffering=0):
        reader = subprocess.Popen(
            ["socat", "-u", "-T", "60", f"OPEN:{pipe.path},rdonly,readbytes=6", "STDOUT"],
            stdout=subprocess.PIPE,
        )
        run("socat", "-u", "STDIN", f"OPEN:{pipe.path},wronly", stdin=b"polled")
        assert reader.communicate(timeout=LONG)[0] == b"polled"


@real
def test_several_readers_share_what_is_written(pipe: RealServer) -> None:
    readers = [
        subprocess.Popen(["dd", f"if={pipe.path}", "bs=1", "count=3"], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
        for _ in range(5)
    ]  # fmt: skip
    with pipe.path.open("wb", buffering=0) as file:
        file.write(b"aaabbbcccdddeee")
        got = b"".join(reader.communicate(timeout=LONG)[0] for reader in readers)
    assert sorted(got) == sorted(b"aaabbbcccdddeee")


@real
def test_a_pipe_outlives_the_process_that_serves() -> None:
    for server in served("scullpipe", "--recover"):
        with server.path.open("r+b", buffering=0) as file:
            file.write(b"kept")
            server.kill_worker()
            assert file.read(9) == b"kept"


# --- aesdchar -------------------------------------------------------------------------------------


def seek_to(command: int, byte: int) -> bytes:
    return bytes(SeekTo(command, byte))


def test_ten_commands_are_kept(cuse_device: Serve) -> None:
    kernel = cuse_device(AesdChar())
    file = kernel.open()
    for word in (b"lost\n", *(b"%d\n" % number for number in range(9)), b"be", b"gun\n", b"rest"):
        file.write(word)
    assert file.read(100) == b"0\n1\n2\n3\n4\n5\n6\n7\n8\nbegun\n"
    file.ioctl(SEEK_TO, seek_to(9, 2))
    assert (file.read(2), file.read(100), kernel.open().read(3)) == (b"gu", b"n\n", b"0\n1")
    file.ioctl(SEEK_TO, seek_to(8, 1))
    for command, byte in ((10, 0), (9, 6), (0, 2)):
        with fails(errno.EINVAL):
            file.ioctl(SEEK_TO, seek_to(command, byte))
    assert file.read(3) == b"\nbe"


def test_a_command_that_does_not_end_fills_no_memory(cuse_device: Serve) -> None:
    file = cuse_device(AesdChar()).open()
    for _ in range(COMMAND_MAX >> 16):
        file.write(bytes(1 << 16))
    with fails(errno.ENOMEM):
        file.write(b"x")


def test_what_is_saved_is_what_is_restored() -> None:
    before, after = AesdChar(), AesdChar()
    for device in (before, after):
        with cuse.testing.serve(device) as kernel, kernel.open() as file:
            if device is before:
                for word in (b"two\nlines\n", b"one\n", b"begun"):
                    file.write(word)
                saved = before.save(None)
                after.restore(None, saved)
            else:
                file.write(b" and ended\n")
                assert file.read(99) == b"two\nlines\none\nbegun and ended\n"


@real
def test_aesdchar_by_echo_cat_and_head(aesdchar: RealServer) -> None:
    script = "for i in $(seq 12); do echo $i >$NODE; done; cat $NODE | tr -d '\\n'"
    assert on(aesdchar, script) == b"3456789101112"
    script = "printf half >$NODE; head -c 2 $NODE; echo way >$NODE; tail -n 1 $NODE"
    assert on(aesdchar, script) == b"3\nhalfway\n"


@real
def test_aesdchar_outlives_the_process_that_serves() -> None:
    for server in served("aesdchar", "--recover", "--devices", "2"):
        with server.path.open("r+b", buffering=0) as file:
            file.write(b"one\n")
            file.write(b"two\n")
            assert file.read(2) == b"on"
            server.kill_worker()
            assert file.read(9) == b"e\ntwo\n"


# --- as presets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", DRIVERS)
@pytest.mark.parametrize(
    "words",
    [
        ["--order", "2"],
        ["--ldd3"],
        ["--files", "/tmp"],
        ["--log-requests", "/tmp/log"],
    ],
    ids=lambda words: words[0],
)
def test_options_of_memory_are_refused(preset: str, words: list[str]) -> None:
    said = refused("serve", "--preset", preset, *words, run=inside)
    assert f": {words[0]} is not for --preset {preset}: leave it out" in said


def test_what_goes_with_no_preset_does_not_go_with_these() -> None:
    said = refused("serve", "--preset", "scullpipe", "--minor", "5", run=inside)
    assert "--minor needs a major number: type --major M as well" in said


@pytest.mark.parametrize("preset", DRIVERS)
@real
def test_it_is_served_without_privileges_while_a_command_runs(preset: str, tmp_path: Path) -> None:
    status = tmp_path / "status"
    words = ["serve", "--preset", preset, "--name", preset, "--devices", "2", "--run"]
    script = (
        f"cat /proc/$(pgrep -P $PPID scullv-worker)/status >{status}; readlink /dev/{preset};"
        f"echo through >$SCULLV_DEVICE; exit 3"
    )
    done = subprocess.run(
        [*CLI, *words, "sh", "-c", f"exec 3<>/dev/{preset}1; {script}"],
        capture_output=True,
        check=False,
        timeout=LONG,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"{preset}0\n".encode()
    lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
    assert (lines["Uid"].split()[0], int(lines["CapEff"], 16)) == ("65534", 0)
    assert not Path(f"/dev/{preset}").is_symlink()


@real
def test_a_pipe_in_the_background_has_a_pidfile(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    words = ["--preset", "scullpipe", "--name", "scullpipe", "--daemon", "--pidfile", str(pidfile)]
    run(*CLI, "serve", *words)
    pid = int(pidfile.read_text())
    assert b"scullpipe" in Path(f"/proc/{pid}/cmdline").read_bytes()
    said = refused("serve", *words[:-3], "--no-drop", run=inside)
    assert "scullpipe" in said
    run(*CLI, "stop", "scullpipe")
    assert not pidfile.exists()


@real
def test_it_becomes_the_user_that_is_said() -> None:
    said = refused("serve", "--preset", "scullpipe", "--user", "nosuch", run=inside)
    assert "no user 'nosuch': type --user with a name that `getent passwd` lists" in said


def test_a_file_of_options_is_checked_for_them(tmp_path: Path) -> None:
    file = tmp_path / "pipe.toml"
    file.write_text("preset = 'scullpipe'\ndevices = 4\nmetrics = '9100'\n")
    assert inside("check-config", str(file)).returncode == 0
    file.write_text("preset = 'scullpipe'\nqset = 4\n")
    assert "--qset is not for --preset scullpipe" in refused("check-config", str(file))
