"""A memory cgroup that is smaller than --max-bytes: clients hear of it, and no OOM killer comes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes import RealServer

MIB = 1 << 20
LIMIT = 128 * MIB
CHUNK = 1 << 16

pytestmark = [pytest.mark.real, pytest.mark.smp]


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Path]:
    """Of this process, and of the servers that it starts; gone afterwards."""
    root = tmp_path / "cgroup"
    root.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", root], check=True)
    own = root / "short"
    own.mkdir()
    (root / "cgroup.subtree_control").write_text("+memory")
    (own / "memory.max").write_text(str(LIMIT))
    (own / "cgroup.procs").write_text(str(os.getpid()))
    subprocess.run(["mount", "--bind", root, "/sys/fs/cgroup"], check=True)
    yield own
    subprocess.run(["umount", "/sys/fs/cgroup"], check=True)
    (root / "cgroup.procs").write_text(str(os.getpid()))
    own.rmdir()
    subprocess.run(["umount", root], check=True)


def pattern(start: int, size: int) -> bytes:
    """What the device holds there: chunks that tell where they are."""
    first, last = start // CHUNK, (start + size) // CHUNK
    chunks = b"".join(bytes([number % 251]) * CHUNK for number in range(first, last + 1))
    return chunks[start % CHUNK :][:size]


def write_all(path: Path, most: int) -> tuple[int, int]:
    """Writes until it cannot: bytes, and the errno."""
    written = 0
    with path.open("r+b", buffering=0) as file:
        while written < most:
            try:
                written += file.write(pattern(written, MIB))
            except OSError as error:
                return written, error.errno or 0
    return written, 0


@pytest.mark.parametrize("kind", ["anon", "memfd"])
def test_a_writer_gets_enospc(cgroup: Path, kind: str) -> None:
    server = RealServer("--backing", kind, "--max-bytes", "512M")
    try:
        assert "more than this memory cgroup has left" in server.errors.decode()
        written, code = write_all(server.path, 512 * MIB)
        assert code == errno.ENOSPC
        assert written > 24 * MIB
        with server.path.open("rb", buffering=0) as file:
            for start in range(0, written, MIB):
                size = min(MIB, written - start)
                assert file.read(size) == pattern(start, size)
        events = dict(line.split() for line in (cgroup / "memory.events").read_text().splitlines())
        assert events["oom_kill"] == "0"
    finally:
        assert server.stop() == 0
