"""Node and file are one device: what is done to the one shows in the other, and in mappings."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client, ioctl
from nodes import SERVER_S
from views import FilesServer, NodeAndFile, backing, served

QUANTUM = 65536

mount = pytest.mark.mount


@pytest.fixture
def both(tmp_path: Path) -> Iterator[NodeAndFile]:
    device = NodeAndFile(tmp_path / "files")
    yield device
    device.stop()
    assert not (tmp_path / "files").is_mount()


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    fd = os.open(path, flags)
    yield fd
    os.close(fd)


@mount
def test_each_reads_what_the_other_wrote(both: NodeAndFile) -> None:
    both.write(0, b"from the node")
    assert both.path.read_bytes() == b"from the node"
    both.path.write_bytes(b"from the file")
    assert both.read(0, 100) == b"from the file"


@mount
def test_a_mapping_shows_what_was_written_through_the_node(both: NodeAndFile) -> None:
    both.write(0, b"a" * 2 * QUANTUM)
    with opened(both.path) as fd, mmap.mmap(fd, 2 * QUANTUM) as mapped:
        assert mapped[:2] == b"aa"
        both.write(1, b"B")
        assert mapped[:3] == b"aBa"
        both.write(QUANTUM - 1, b"CC")
        assert mapped[QUANTUM - 2 : QUANTUM + 2] == b"aCCa"


@mount
def test_a_private_mapping_shows_it_where_it_was_not_stored_to(both: NodeAndFile) -> None:
    both.write(0, b"a" * 2 * QUANTUM)
    with (
        opened(both.path) as fd,
        mmap.mmap(fd, 2 * QUANTUM, access=mmap.ACCESS_COPY) as mapped,
    ):
        mapped[0:1] = b"z"
        both.write(0, b"BB")
        both.write(QUANTUM, b"BB")
        assert mapped[:2] == b"za"
        assert mapped[QUANTUM : QUANTUM + 3] == b"BBa"


@mount
def test_the_node_reads_what_was_stored_to_a_mapping_after_msync(both: NodeAndFile) -> None:
    both.write(0, bytes(QUANTUM))
    with opened(both.path) as fd, mmap.mmap(fd, QUANTUM) as mapped:
        mapped[100:104] = b"mmap"
        mapped.flush()
        assert both.read(100, 4) == b"mmap"


@mount
def test_a_write_through_the_node_keeps_stores_beside_it(both: NodeAndFile) -> None:
    both.write(0, b"a" * 100)
    with opened(both.path) as fd, mmap.mmap(fd, 100) as mapped:
        mapped[10:12] = b"MM"
        both.write(20, b"NN")
        assert mapped[8:24] == b"aaMMaaaaaaaaNNaa"
        assert both.read(8, 16) == b"aaMMaaaaaaaaNNaa"


@mount
def test_growth_through_the_node_shows_in_an_open_file(both: NodeAndFile) -> None:
    both.write(0, b"0123456789")
    with (
        opened(both.path) as fd,
        opened(both.path, os.O_WRONLY | os.O_APPEND) as end,
        mmap.mmap(fd, 10) as mapped,
    ):
        both.write(10, b"grown")
        os.write(end, b",appended")
        assert os.pread(fd, 100, 8) == b"89grown,appended"
        assert os.lseek(fd, 0, os.SEEK_END) == 24
        assert mapped[:] == b"0123456789"
        mapped.resize(24)
        assert mapped[10:] == b"grown,appended"


@mount
def test_a_trim_through_the_node_shows_in_an_open_file(both: NodeAndFile) -> None:
    both.write(0, b"a" * QUANTUM)
    with (
        opened(both.path) as fd,
        opened(both.path, os.O_WRONLY | os.O_APPEND) as end,
        mmap.mmap(fd, QUANTUM) as mapped,
    ):
        mapped[0:1] = b"z"
        both.trim()
        assert os.fstat(fd).st_size == 0
        os.write(end, b"first")
        assert os.pread(fd, 100, 0) == b"first"
        assert mapped[:6] == b"first\0"


@mount
def test_a_punch_through_the_node_shows_in_a_mapping(both: NodeAndFile) -> None:
    both.write(0, b"a" * 2 * QUANTUM)
    with opened(both.path) as fd, mmap.mmap(fd, 2 * QUANTUM) as mapped:
        mapped[10:11] = b"z"
        mapped[QUANTUM : QUANTUM + 1] = b"z"
        both.punch(0, QUANTUM)
        assert mapped[8:12] == bytes(4)
        assert mapped[QUANTUM : QUANTUM + 2] == b"za"


HAMMER = """
import contextlib, fcntl, mmap, os, sys, time
path, role, trim = sys.argv[1], sys.argv[2], int(sys.argv[3])
end = time.monotonic() + float(sys.argv[4])
fd = os.open(path, os.O_RDWR)
while time.monotonic() < end:
    if role == "map":
        # A page that is cut away under a mapping is SIGBUS: a child of its own takes that.
        os.pwrite(fd, b"m" * 70000, 0)
        with contextlib.suppress(ValueError):
            mapped = mmap.mmap(fd, 65536)
            if not (pid := os.fork()):
                stop = time.monotonic() + 0.1
                while time.monotonic() < stop:
                    for page in range(0, 65536, 4096):
                        mapped[page] = 1
                os._exit(0)
            os.waitpid(pid, 0)
            mapped.close()
    elif role == "trim":
        fcntl.ioctl(fd, trim)
    elif role == "truncate":
        os.ftruncate(fd, 0)
    elif role == "unlink":
        os.unlink(path)
    elif role == "open":
        os.close(os.open(path, os.O_RDWR | os.O_TRUNC))
    else:
        os.pwrite(fd, b"w" * 100000, 30000)
        os.pread(fd, 100000, 0)
"""
HAMMER_S = 3.0


@mount
@pytest.mark.timeout(600)
def test_no_mixture_of_changes_hangs(both: NodeAndFile) -> None:
    """Truncation holds back the writes of dirty pages, which who drops pages waits for, who must
    not be the one to answer the truncation: dropper.c."""
    roles = ("map", "map", "trim", "truncate", "unlink", "open", "write")
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(both.path), role, str(ioctl.TRIM), str(HAMMER_S)]
        )
        for role in roles
    ]
    try:
        both.hammer(HAMMER_S)
        assert [client.wait(SERVER_S) for client in clients] == [0] * len(clients)
    finally:
        for process in clients:
            process.kill()
            process.wait()
    both.write(0, b"alive")
    assert both.path.read_bytes()[:5] == b"alive"


# --- the book's rule: no trim while mapped


@mount
@pytest.mark.parametrize("kind", ["anon", "memfd", "memfd-direct"])
@pytest.mark.parametrize("ldd3", [True, False])
def test_by_the_book_a_mapped_device_is_not_trimmed(tmp_path: Path, ldd3: bool, kind: str) -> None:
    arguments = [*(["--ldd3"] if ldd3 else []), *backing(kind, tmp_path)]
    with (
        served(tmp_path / "files", "--max-bytes", "16M", *arguments) as server,
        opened(server.files[0]) as fd,
    ):
        os.write(fd, b"a" * 4096)
        mapped = mmap.mmap(fd, 4096)
        assert mapped[0] == ord("a")
        if ldd3:
            for empty in (
                lambda: fcntl.ioctl(fd, ioctl.TRIM),
                lambda: os.ftruncate(fd, 0),
                lambda: server.files[0].unlink(),
            ):
                with pytest.raises(OSError) as error:
                    empty()
                assert error.value.errno == errno.EBUSY
            assert os.pread(fd, 1, 0) == b"a"
        else:
            fcntl.ioctl(fd, ioctl.TRIM)
            assert os.fstat(fd).st_size == 0
        mapped.close()
        fcntl.ioctl(fd, ioctl.TRIM)
        assert os.fstat(fd).st_size == 0


# --- a real node


@pytest.fixture
def real(tmp_path: Path) -> Iterator[FilesServer]:
    with served(tmp_path / "files", "--max-bytes", "64M", name="scullvview", node=True) as server:
        yield server


@pytest.mark.real
def test_a_mapping_shows_what_dd_writes_to_the_node(real: FilesServer) -> None:
    with opened(real.files[0]) as fd:
        os.ftruncate(fd, QUANTUM)
        with mmap.mmap(fd, QUANTUM) as mapped:
            assert mapped[0] == 0
            mapped[QUANTUM - 1 :] = b"m"
            mapped.flush()
            with client.open(real.path, "r+") as node:
                node.seek(QUANTUM - 1)
                assert node.read(1) == b"m"
            subprocess.run(
                f"exec 3<>{real.path}; head -c 100 /dev/zero | tr '\\0' d >&3",
                shell=True,
                check=True,
                timeout=SERVER_S,
            )
            assert mapped[:101] == b"d" * 100 + b"\0"


@pytest.mark.real
def test_opening_the_node_for_writing_only_empties_the_file(real: FilesServer) -> None:
    real.files[0].write_bytes(b"x" * 1000)
    with opened(real.files[0]) as fd:
        os.close(os.open(real.path, os.O_WRONLY))
        assert os.fstat(fd).st_size == 0


@pytest.mark.real
@pytest.mark.timeout(600)
def test_nodes_and_mappings_do_not_hang(real: FilesServer) -> None:
    roles = ("map", "trim", "truncate", "write")
    script = [sys.executable, "-c", HAMMER]
    tail = [str(ioctl.TRIM), str(HAMMER_S)]
    clients = [subprocess.Popen([*script, str(real.files[0]), role, *tail]) for role in roles]
    try:
        end = time.monotonic() + HAMMER_S
        with client.open(real.path, "r+") as node:
            while time.monotonic() < end:
                node.seek(0)
                node.write(b"n" * 100_000)
                node.trim()
        assert [process.wait(SERVER_S) for process in clients] == [0] * len(clients)
    finally:
        for process in clients:
            process.send_signal(signal.SIGKILL)
            process.wait()
