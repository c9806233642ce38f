"""tools/guest: what a command finds in a guest, and what comes back from it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from guests import GUEST, ROOT, needs_qemu, where_guests_run

pytestmark = [pytest.mark.timeout(900), *where_guests_run]


def guest(
    *arguments: str | Path, tool: Path = GUEST, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_the_status_the_streams_and_the_folder_are_the_commands() -> None:
    # What it leaves running keeps the streams open, and must not keep the guest.
    script = "sleep 1000 & id -u; pwd; printf 'a\\0b'; echo to stderr >&2; stat -c %t,%T /dev/cuse"
    done = guest("--", "sh", "-c", f"{script}; exit 37", cwd=ROOT / "tests")
    assert done.returncode == 37
    assert done.stdout == f"0\n{ROOT / 'tests'}\na\0ba,cb\n"
    assert done.stderr == "to stderr\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a place that the guest covers with a fresh tmpfs."""
    if not str(tmp_path).startswith("/tmp/"):
        pytest.skip(f"the temporary folder is {tmp_path}, not below /tmp")
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", copy / "tools")
    return copy


def test_a_checkout_below_tmp_is_there_and_read_only_and_a_share_is_writable(
    checkout: Path, tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "secret").touch()
    script = f"""
        test -x tools/guest || echo no checkout
        touch tools/x 2>&1
        touch /usr/x 2>&1
        touch /tmp/x /run/x /dev/shm/x {share}/x || echo cannot write
        ls {tmp_path}
        printf %s "$PATH"
    """
    tool = checkout / "tools" / "guest"
    done = guest("--share", share, "--", "sh", "-c", script, tool=tool, cwd=checkout)
    assert done.stderr == ""
    assert done.stdout.splitlines()[:-1] == [
        "touch: cannot touch 'tools/x': Read-only file system",
        "touch: cannot touch '/usr/x': Read-only file system",
        "checkout",
        "share",
    ]
    assert done.stdout.splitlines()[-1].startswith(f"{checkout}/.venv/bin:")
    assert done.returncode == 0
    assert (share / "x").exists()


def test_output_and_errors_that_go_to_one_place_keep_their_order() -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
    done = subprocess.run(
        [GUEST, "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.stdout == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"


def test_a_bare_environment_suffices() -> None:
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0" -- sh -c "echo $((6 * 7))" <&- 2>&1', GUEST],
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
        timeout=800,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "42\n")


def test_a_program_that_is_not_there_is_127() -> None:
    done = guest("--", "no-such-program")
    assert done.returncode == 127
    assert done.stderr == "tools/guest: no-such-program: No such file or directory\n"


def test_a_command_that_takes_too_long_is_124_and_said() -> None:
    done = guest("--timeout", "5", "--", "sleep", "1000")
    assert done.returncode == 124
    assert done.stderr.startswith("tools/guest: killed after 5 s (--timeout)\n")


def test_a_guest_that_dies_is_125_and_its_last_words_are_shown() -> None:
    done = guest("--", "sh", "-c", "echo o >/proc/sysrq-trigger; sleep 1000")
    assert done.returncode == 125
    assert "the guest died before the command ended" in done.stderr
    assert "Power" in done.stderr


def living_members(group: int) -> list[int]:
    """Processes of a group that are neither gone nor zombies, which wait for their reaper."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            members.append(int(stat.parent.name))
    return members


def test_sigterm_ends_the_guest_and_leaves_nothing() -> None:
    tool = subprocess.Popen(
        [GUEST, "--", "sh", "-c", "echo up; sleep 1000"], stdout=subprocess.PIPE, text=True
    )
    assert tool.stdout is not None
    assert tool.stdout.readline() == "up\n"
    children = Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split()
    folder = Path(f"/proc/{children[0]}/cmdline").read_text().partition("uml_dir=")[2]
    work = Path(folder.partition("\0")[0]).parent
    assert work.is_dir()
    tool.send_signal(signal.SIGTERM)
    tool.communicate(timeout=60)
    assert tool.returncode == 128 + signal.SIGTERM
    assert not work.exists()
    deadline = time.monotonic() + 60
    while members := living_members(int(children[0])):
        assert time.monotonic() < deadline, members
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no command given"),
        (["--"], "no command given"),
        (["--fast", "--", "true"], "unrecognized arguments: --fast"),
        (["--timeout", "soon", "--", "true"], "--timeout: invalid float value: 'soon'"),
        (["--timeout", "0", "--", "true"], "--timeout wants a number of seconds above 0"),
        (["--share", "/no/such", "--", "true"], "--share /no/such: no such folder"),
    ],
)
def test_bad_usage_is_one_line_and_2(arguments: list[str], complaint: str) -> None:
    done = guest(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@needs_qemu
def test_smp_has_two_cpus_cuse_a_share_and_runs_32_bit_programs(tmp_path: Path) -> None:
    source = tmp_path / "longs.c"
    source.write_text('#include <stdio.h>\nint main(void) { printf("%zu\\n", sizeof(long)); }\n')
    subprocess.run(["gcc", "-m32", "-o", tmp_path / "longs", source], check=True)
    script = f"nproc; stat -c %t,%T /dev/cuse; {tmp_path}/longs | tee {tmp_path}/said; exit 3"
    done = guest("--smp", "--share", tmp_path, "--", "sh", "-c", script)
    assert done.stderr == ""
    assert done.stdout == "2\na,cb\n4\n"
    assert done.returncode == 3
    assert (tmp_path / "said").read_text() == "4\n"
