"""What `serve` refuses: one line that says what is wrong and what to type, and status 2."""

import os
import shlex
import socket
from pathlib import Path

import pytest

from cuse_scullv.server.daemon import ServeError, Settings
from nodes import NAME, has_cuse, until
from shell import CLI, NOBODYS_CLI, cli, inside, refused, run, sh, text

BAD_OPTIONS = [
    # what is typed, what the message must have
    (["--bogus"], ["--bogus", "--help"]),
    (["--order", "99"], ["--order", "99"]),
    (["--order", "-1"], ["--order"]),
    (["--order", "many"], ["--order", "many"]),
    (["--qset", "0"], ["--qset", "0"]),
    (["--qset", "1048577"], ["--qset", "1048576"]),
    (["--quantum", "0"], ["--quantum", "0"]),
    (["--quantum", "65M"], ["quantum", str(64 << 20)]),
    (["--quantum", "much"], ["--quantum", "much", "64K"]),
    (["--order", "1", "--quantum", "4096"], ["order", "quantum", "type one"]),
    (["--devices", "0"], ["--devices"]),
    (["--devices", "257"], ["--devices"]),
    (["--preset", "scullx"], ["--preset", "scullv"]),
    (["--max-bytes", "0"], ["--max-bytes"]),
    (["--max-bytes", "9E"], ["--max-bytes", "9E"]),
    (["--mode", "rw"], ["--mode", "rw", "0660"]),
    (["--mode", "01777"], ["--mode", "01777"]),
    (["--owner", "no-such-user"], ["--owner", "no-such-user"]),
    (["--group", "no-such-group"], ["--group", "no-such-group"]),
    (["--major", "5000"], ["--major"]),
    (["--minor", "1"], ["--minor", "type --major"]),
    (["--threads", "0"], ["--threads"]),
    (["--placement", "somewhere"], ["--placement", "follow"]),
    (["--placement", "60000"], ["60000"]),
    (["--spin-us", "-1"], ["--spin-us"]),
    (["--log-level", "loud"], ["--log-level", "loud"]),
    (["--name", "a/b"], ["--name", "a/b"]),
    (["--name", ""], ["--name"]),
    (["--name", "x" * 99], ["--name"]),
    (["--no-node"], ["--no-node", "--files DIR"]),
    (["--no-node", "--mem-node", "--files", "/mnt"], ["--mem-node"]),
    (["--run"], ["--run needs a command"]),
    (["true"], ["true", "type --run"]),
]


@pytest.mark.parametrize(
    ("options", "words"), BAD_OPTIONS, ids=[" ".join(o) for o, _ in BAD_OPTIONS]
)
def test_bad_options_are_refused(options: list[str], words: list[str]) -> None:
    message = refused("serve", *options, run=inside)
    assert message.startswith("cuse-scullv")
    for word in words:
        assert word in message


def test_settings_refuse_what_serves_nothing() -> None:
    with pytest.raises(ServeError, match="--files"):
        Settings(node=False)


@pytest.mark.skipif(has_cuse(), reason="this kernel has CUSE")
def test_without_cuse_it_says_why_and_names_the_ways_out() -> None:
    message = refused("serve")
    assert "cuse" in message
    assert "--no-node --files DIR" in message


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_without_root_it_says_what_to_do() -> None:
    done = run(*NOBODYS_CLI, "serve")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1, text(done)
    assert b"cuse" in done.stderr


def test_help_goes_to_stdout_and_is_no_error() -> None:
    done = cli("serve", "--help")
    assert done.returncode == 0
    assert b"--max-bytes" in done.stdout
    assert done.stderr == b""


def test_the_command_alone_shows_what_there_is() -> None:
    done = cli()
    assert done.returncode == 2
    assert b"seek-copy" in done.stderr


def test_an_unknown_subcommand_is_refused() -> None:
    assert "sevre" in refused("sevre")


def test_version_is_the_package_s() -> None:
    from cuse_scullv import __version__

    assert cli("--version").stdout.decode() == f"cuse-scullv, version {__version__}\n"


# --- on a real node


@pytest.mark.real
def test_run_finds_a_device_and_returns_the_command_s_status() -> None:
    done = cli(
        *("serve", "--name", NAME, "--run", "sh", "-c"),
        f'test -c /dev/{NAME} && test "$SCULLV_DEVICE" = /dev/{NAME} && exit 7',
    )
    assert done.returncode == 7, text(done)
    assert not Path(f"/dev/{NAME}").exists()


@pytest.mark.mount
@pytest.mark.parametrize(("level", "appears"), [("info", True), ("warning", False)])
def test_the_log_says_as_much_as_was_asked_for(tmp_path: Path, level: str, appears: bool) -> None:
    done = cli(
        *("serve", "--no-node", "--files", str(tmp_path), "--log-level", level, "--run"),
        *(*CLI, "trim", str(tmp_path / "scullv")),
    )
    assert done.returncode == 0, text(done)
    assert (b"INFO: scullv: trimmed: quantum 65536, qset 500\n" in done.stderr) is appears
    assert b"serving" in done.stderr


@pytest.mark.real
def test_who_may_not_open_cuse_is_told_what_to_do() -> None:
    done = run(*NOBODYS_CLI, "serve", "--name", NAME)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1, text(done)
    assert b"may not open /dev/cuse" in done.stderr
    assert b"as root" in done.stderr
    assert b"--no-node --files DIR" in done.stderr


@pytest.mark.real
def test_a_file_survives_the_way_through_a_device() -> None:
    """50 MB: past the byte at which the book's module breaks the kernel."""
    script = (
        f"test -c /dev/{NAME} && head -c 50000000 /dev/urandom > /tmp/a &&"
        f" cp /tmp/a /dev/{NAME} && cmp /tmp/a /dev/{NAME}"
    )
    done = cli("serve", "--name", NAME, "--run", "sh", "-c", script)
    Path("/tmp/a").unlink(missing_ok=True)
    assert done.returncode == 0, text(done)


@pytest.mark.real
def test_a_command_that_is_not_there_is_127_and_leaves_nothing() -> None:
    done = cli("serve", "--name", NAME, "--run", "no-such-command")
    assert done.returncode == 127
    assert b"no command 'no-such-command'" in done.stderr
    assert not Path(f"/dev/{NAME}").exists()


@pytest.mark.real
def test_a_file_of_the_name_in_dev_is_left_alone() -> None:
    path = Path(f"/dev/{NAME}")
    path.write_text("mine")
    try:
        assert str(path) in refused("serve", "--name", NAME)
        assert path.read_text() == "mine"
    finally:
        path.unlink()


@pytest.mark.real
@pytest.mark.parametrize("preset", ["scullv", "scullpipe"])
def test_the_link_that_a_killed_server_left_is_taken_over(preset: str) -> None:
    path = Path(f"/dev/{NAME}")
    words = ("serve", "--preset", preset, "--name", NAME)
    script = "kill -9 $PPID; until ! test -e $SCULLV_DEVICE; do sleep 0.05; done"
    cli(*words, "--devices", "2", "--run", "sh", "-c", script)
    until(lambda: path.is_symlink() and not path.exists())
    assert cli(*words, "--run", "test", "-c", str(path)).returncode == 0
    assert not path.is_symlink()
    path.symlink_to("elsewhere")  # is nobody's
    try:
        assert str(path) in refused(*words)
    finally:
        path.unlink()


@pytest.mark.real
def test_a_major_and_minor_that_are_taken_are_refused(tmp_path: Path) -> None:
    """1:3 is /dev/null's."""
    message = refused("serve", "--name", NAME, "--major", "1", "--minor", "3")
    assert "1:3" in message
    assert not Path(f"/dev/{NAME}").exists()


@pytest.mark.real
def test_a_service_manager_is_told_when_the_node_is_there(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        sh(
            '"$PYTHON" -m cuse_scullv serve --name "$NAME" --run true',
            PYTHON=CLI[0],
            NAME=NAME,
            NOTIFY_SOCKET=str(path),
        )
        assert listener.recv(100) == b"READY=1"
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.real
def test_the_limit_is_below_the_free_memory_unless_given() -> None:
    done = cli(
        *("serve", "--name", NAME, "--run", "sh", "-c"),
        f"{shlex.join([*CLI, 'info', '--json', f'/dev/{NAME}'])}; grep MemAvailable /proc/meminfo",
    )
    assert done.returncode == 0, text(done)
    import json

    report, _, free = done.stdout.rpartition(b"MemAvailable:")
    limit = json.loads(report)["limit"]
    assert 0 < limit < int(free.split()[0]) * 1024
