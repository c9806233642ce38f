"""Who counts as an administrator."""

import os
from pathlib import Path

import pytest

from cuse_scullv.capability import CAP_SYS_TIME, has_capability, has_sys_admin
from shell import run

PID = 4711


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one process that has every capability."""
    for name in ("self", str(PID)):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "ns/user").symlink_to("user:[4026531837]")
    (tmp_path / str(PID) / "status").write_text("Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n")
    return tmp_path


def test_the_effective_set_decides(proc: Path) -> None:
    assert has_sys_admin(PID, proc)
    status = proc / str(PID) / "status"
    status.write_text("CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffdfffff\n")
    assert not has_sys_admin(PID, proc)
    status.write_text("CapEff:\t0000000000200000\n")
    assert has_sys_admin(PID, proc)


def test_each_capability_is_a_bit_of_the_set(proc: Path) -> None:
    (proc / str(PID) / "status").write_text("CapEff:\t0000000002000000\n")
    assert has_capability(PID, CAP_SYS_TIME, proc)
    assert not has_capability(PID, CAP_SYS_TIME - 1, proc)
    assert not has_sys_admin(PID, proc)


def test_might_in_another_user_namespace_does_not_count(proc: Path) -> None:
    link = proc / str(PID) / "ns/user"
    link.unlink()
    link.symlink_to("user:[4026532222]")
    assert not has_sys_admin(PID, proc)


@pytest.mark.parametrize("pid", [0, -1, 4712])
def test_a_caller_that_cannot_be_seen_is_no_administrator(proc: Path, pid: int) -> None:
    assert not has_sys_admin(pid, proc)


def test_a_status_without_capabilities_says_no(proc: Path) -> None:
    (proc / str(PID) / "status").write_text("Name:\tx\n")
    assert not has_sys_admin(PID, proc)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to drop capabilities")
def test_this_process_and_one_that_has_dropped_the_capability() -> None:
    assert has_sys_admin(os.getpid())
    code = "import os; from cuse_scullv.capability import *; print(has_sys_admin(os.getpid()))"
    dropped = run("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "python3", "-c", code)
    assert dropped.stdout == b"False\n", dropped.stderr
