"""What doctor says of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuse_scullv.kernels import Version, has_fault, notes, running, version_of


@pytest.mark.parametrize(
    ("release", "version", "is_so"),
    [
        ("6.1.0-50-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-10-01)", (6, 1, 176)),
        ("6.12.117+deb13-amd64", "#1 SMP Debian 6.12.117-1", (6, 12, 117)),
        ("6.18.3", "#1 SMP", (6, 18, 3)),
        ("7.3-rc1", "#1 SMP", (7, 3, 0)),
        ("plan9", "fourth edition", (0, 0, 0)),
    ],
)
def test_versions_are_understood(release: str, version: str, is_so: Version) -> None:
    assert version_of(release, version) == is_so


def test_the_running_kernel_has_one() -> None:
    assert running() >= (5, 0, 0)


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((6, 7, 99), False),
        ((6, 8, 0), True),
        ((6, 12, 109), True),
        ((6, 12, 110), False),
        ((6, 13, 5), True),  # a series that never got the mend
        ((7, 2, 5), True),
        ((7, 2, 6), False),
        ((7, 3, 0), False),
    ],
)
def test_a_fault_is_mended_by_series(version: Version, has: bool) -> None:
    assert has_fault(version, (6, 8, 0), (6, 12, 110), (6, 18, 52), (7, 2, 6)) == has


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ((6, 1, 176), ["go together", "no passthrough", "stay behind", "90140"]),
        ((6, 1, 192), ["go together", "no passthrough"]),
        ((6, 8, 1), ["no passthrough", "faults in mappings", "old bytes", "stay behind", "90140"]),
        ((6, 10, 1), ["too short", "old bytes", "stay behind", "90140"]),
        ((6, 12, 117), []),
        ((7, 3, 4), ["hint"]),
    ],
)
def test_what_concerns_a_kernel(version: Version, words: list[str], tmp_path: Path) -> None:
    said = list(notes(version, tmp_path))
    assert len(said) == len(words)
    for line, word in zip(said, words, strict=True):
        assert word in line


def test_what_was_set_is_seen(tmp_path: Path) -> None:
    for name, value in {
        "proc/sys/fs/fuse/default_request_timeout": "0",
        "proc/sys/fs/fuse/max_request_timeout": "30",
        "proc/sys/fs/fuse/max_pages_limit": "32",
        "sys/module/fuse/parameters/enable_uring": "Y",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    assert [line.split(" is ")[0] for line in notes((7, 2, 6), tmp_path)] == [
        "fs.fuse.max_request_timeout",
        "fs.fuse.max_pages_limit",
    ]
    assert "fuse.enable_uring is on" in "\n".join(notes((7, 2, 5), tmp_path))


def test_every_line_is_short_enough_for_a_terminal(tmp_path: Path) -> None:
    for minor in range(20):
        for line in notes((6, minor, 0), tmp_path):
            assert len(line) <= 92
