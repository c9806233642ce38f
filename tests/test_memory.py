"""The default memory limit: half of what the machine, or its cgroup, still has."""

from pathlib import Path

import pytest

from cuse_scullv.memory import available, cgroup_limit, default_limit

MIB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of a machine with 1000 MiB available, in the cgroup /a/b of version 2."""
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(
        f"MemTotal:  {2000 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {1000 * 1024} kB\n"
    )
    (proc / "self/cgroup").write_text("0::/a/b\n")
    return proc


def v2(directory: Path, limit: str, usage: int, cache: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "memory.max").write_text(f"{limit}\n")
    (directory / "memory.current").write_text(f"{usage}\n")
    (directory / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


def v1(directory: Path, limit: int, usage: int, cache: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (directory / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (directory / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {cache}\n")


def test_without_cgroups_the_machine_s_memory_counts(proc: Path, tmp_path: Path) -> None:
    assert available(proc, tmp_path / "none") == 1000 * MIB
    assert default_limit(proc, tmp_path / "none") == 500 * MIB


def test_a_limit_on_an_ancestor_counts(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    v2(root / "a/b", "max", 100)
    v2(root / "a", str(300 * MIB), 100 * MIB, cache=20 * MIB)
    assert available(proc, root) == 220 * MIB


def test_a_path_that_is_not_seen_from_here_leaves_its_ancestors(proc: Path, tmp_path: Path) -> None:
    """As in a container without a cgroup namespace: the path is the host's."""
    root = tmp_path / "cgroup"
    v2(root, str(200 * MIB), 50 * MIB)
    assert available(proc, root) == 150 * MIB


def test_version_1_is_read_too(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    (proc / "self/cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/x\n0::/\n")
    v1(root / "memory/x", 64 * MIB, 32 * MIB, cache=8 * MIB)
    assert available(proc, root) == 40 * MIB


def test_an_exhausted_cgroup_still_leaves_a_little(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    v2(root / "a", str(10 * MIB), 11 * MIB)
    assert available(proc, root) == 0
    assert default_limit(proc, root) == MIB


def test_this_machine_has_some() -> None:
    assert available() > MIB


def test_what_devices_may_hold_leaves_room_for_who_serves(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    v2(root / "a/b", str(352 * MIB), 32 * MIB)
    assert cgroup_limit(proc, root) == (320 - 10 - 24) * MIB


def test_swap_counts_where_a_cgroup_would_kill(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    v2(root / "a/b", str(352 * MIB), 32 * MIB)
    with (proc / "meminfo").open("a") as meminfo:
        meminfo.write(f"SwapFree: {32 * 1024} kB\n")
    assert cgroup_limit(proc, root) == (352 - 11 - 24) * MIB


def test_a_cgroup_that_is_full_leaves_little(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    v2(root / "a/b", str(32 * MIB), 32 * MIB)
    assert cgroup_limit(proc, root) == MIB


def test_without_a_limit_there_is_none_to_foresee(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    v2(root / "a/b", "max", 32 * MIB)
    assert cgroup_limit(proc, root) is None
