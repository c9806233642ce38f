"""What a client may do with the files of the file view, and what comes of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client, ioctl
from fsx import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, fallocate
from views import BACKINGS, FilesServer, backing, blocks, is_root, large_pages, memory_of, served

pytestmark = pytest.mark.mount

QUANTUM = 65536
LIMIT = 64 << 20
COLLAPSE_RANGE = 8  # linux/falloc.h


@pytest.fixture(scope="module", params=BACKINGS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilesServer]:
    folder = tmp_path_factory.mktemp("view")
    words = ["--devices", "2", "--mode", "0640", *backing(request.param, folder)]
    if request.param != "file":
        words += ["--max-bytes", str(LIMIT)]
    with served(folder / "files", *words) as files:
        yield files


@pytest.fixture
def files(server: FilesServer) -> FilesServer:
    server.empty()
    return server


@pytest.fixture
def path(files: FilesServer) -> Path:
    return files.files[0]


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    yield number
    os.close(number)


# A file without --max-bytes has no limit but its disk's.
limited = pytest.mark.parametrize("server", [k for k in BACKINGS if k != "file"], indirect=True)


def test_a_file_is_in_a_file_system_of_its_own_size(tmp_path: Path) -> None:
    with served(tmp_path / "files", *backing("file", tmp_path)) as server:
        shown, own = os.statvfs(server.directory), os.statvfs(tmp_path)
        assert (shown.f_blocks * shown.f_frsize) >> 30 == (
            (own.f_blocks - own.f_bfree + own.f_bavail) * own.f_frsize
        ) >> 30


@contextlib.contextmanager
def refused(*codes: int) -> Iterator[None]:
    """The block raises OSError, with one of these errnos."""
    with pytest.raises(OSError) as error:
        yield
    assert error.value.errno in codes


# --- names and attributes


def test_the_directory_has_a_file_for_each_device_and_the_text(files: FilesServer) -> None:
    assert files.names() == ["scullv0", "scullv1", "scullvmem"]


def test_files_are_regular_with_the_mode_of_the_node(files: FilesServer) -> None:
    for path in files.files:
        assert path.stat().st_mode == stat.S_IFREG | 0o640
        assert path.stat().st_uid == os.getuid()
    assert files.text.stat().st_mode == stat.S_IFREG | 0o444


def test_the_devices_do_not_share_bytes(files: FilesServer) -> None:
    files.files[0].write_bytes(b"zero")
    files.files[1].write_bytes(b"one")
    assert [path.read_bytes() for path in files.files] == [b"zero", b"one"]


def test_mode_and_owner_cannot_be_changed(path: Path) -> None:
    before = path.stat()
    with refused(errno.EPERM):
        path.chmod(0o666)
    with refused(errno.EPERM):
        os.chown(path, before.st_uid + 1, -1)
    assert path.stat()[:6] == before[:6]


def test_giving_a_file_the_mode_and_owner_it_has_succeeds(path: Path) -> None:
    path.chmod(0o640)
    os.chown(path, path.stat().st_uid, path.stat().st_gid)


def test_a_write_moves_the_time_of_modification(path: Path) -> None:
    os.utime(path, (1_000_000_000, 1_100_000_000))
    assert path.stat().st_atime == 1_000_000_000
    assert path.stat().st_mtime == 1_100_000_000
    started = time.time() - 1  # the files' clock is that of the kernel's ticks
    with path.open("r+b") as file:
        file.write(b"x")
    assert started <= path.stat().st_mtime <= time.time()
    assert path.stat().st_atime == 1_000_000_000


def test_a_read_moves_no_time(path: Path) -> None:
    path.write_bytes(b"x")
    os.utime(path, (5, 6))
    path.read_bytes()
    assert (path.stat().st_atime, path.stat().st_mtime) == (5, 6)


@limited
def test_the_file_system_is_as_large_as_the_limit(files: FilesServer) -> None:
    empty = os.statvfs(files.directory)
    assert empty.f_blocks * empty.f_frsize == LIMIT
    assert empty.f_bfree == empty.f_bavail == empty.f_blocks
    files.files[0].write_bytes(bytes(10 * QUANTUM))
    full = os.statvfs(files.directory)
    assert (full.f_blocks - full.f_bfree) * full.f_frsize == 10 * QUANTUM


# --- reading and writing


def test_positions_are_those_of_a_file(fd: int) -> None:
    assert os.write(fd, b"0123456789") == 10
    assert os.lseek(fd, 3, os.SEEK_SET) == 3
    assert os.read(fd, 4) == b"3456"
    assert os.lseek(fd, -2, os.SEEK_END) == 8
    assert os.pwrite(fd, b"ab", 1) == 2
    assert os.read(fd, 10) == b"89"
    assert os.pread(fd, 4, 0) == b"0ab3"


def test_reading_past_the_end_gives_nothing(fd: int) -> None:
    os.write(fd, b"abc")
    assert os.pread(fd, 10, 3) == b""
    assert os.pread(fd, 10, 1 << 40) == b""


def test_a_gap_reads_as_zeros_and_takes_no_memory(path: Path, fd: int) -> None:
    os.pwrite(fd, b"end", 100 * QUANTUM)
    assert os.fstat(fd).st_size == 100 * QUANTUM + 3
    assert os.pread(fd, 20, 50 * QUANTUM) == bytes(20)
    assert blocks(path) == memory_of(path, (100 * QUANTUM, 100 * QUANTUM + 3))


def test_large_transfers_arrive_whole(fd: int) -> None:
    data = os.urandom(5 * 1024 * 1024 + 777)
    assert os.pwrite(fd, data, 12345) == len(data)
    assert os.pread(fd, len(data) + 1, 12345) == data


def test_o_append_writes_at_the_end(path: Path, fd: int) -> None:
    other = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, b"first,")
        os.write(other, b"second,")
        os.pwrite(fd, b"third", 13)
        os.write(other, b",fourth")
    finally:
        os.close(other)
    assert path.read_bytes() == b"first,second,third,fourth"


def test_opening_for_writing_only_empties_nothing(path: Path) -> None:
    path.write_bytes(b"kept")
    os.close(os.open(path, os.O_WRONLY))
    assert path.read_bytes() == b"kept"


def test_o_trunc_empties(path: Path) -> None:
    path.write_bytes(b"lost")
    os.close(os.open(path, os.O_RDWR | os.O_TRUNC))
    assert path.stat().st_size == 0
    assert blocks(path) == 0


@limited
def test_what_does_not_fit_the_limit_is_refused(files: FilesServer, path: Path, fd: int) -> None:
    written = 0
    with refused(errno.ENOSPC):
        for _ in range(LIMIT // (1 << 20) + 1):
            written += os.write(fd, bytes(1 << 20))
    assert written == path.stat().st_size
    assert written == LIMIT or (files.is_on_disk and LIMIT - QUANTUM < written < LIMIT)


def test_positions_past_2_to_the_63_are_refused(fd: int) -> None:
    with refused(errno.EFBIG, errno.EINVAL):  # the kernel's own check of position and length
        os.pwrite(fd, b"xx", 2**63 - 1)
    assert os.fstat(fd).st_size == 0


def test_fsync_succeeds(fd: int) -> None:
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)


# --- extents


def test_truncating_cuts_and_grows(path: Path, fd: int) -> None:
    os.write(fd, b"x" * (3 * QUANTUM))
    os.ftruncate(fd, QUANTUM + 5)
    assert blocks(path) == memory_of(path, (0, QUANTUM + 5))
    os.ftruncate(fd, 2 * QUANTUM)
    assert os.pread(fd, 3 * QUANTUM, QUANTUM) == b"x" * 5 + bytes(QUANTUM - 5)
    os.truncate(path, 10 * QUANTUM)
    assert os.fstat(fd).st_size == 10 * QUANTUM
    assert blocks(path) == memory_of(path, (0, QUANTUM + 5))


def test_truncating_to_nothing_adopts_the_pending_parameters(path: Path) -> None:
    with client.open(path, "r+") as file:
        file.write(b"x" * 10)
        file.set("quantum", 8192)
        file.set("qset", 7)
        assert (file.info().quantum, file.info().qset) == (QUANTUM, 500)
        os.truncate(path, 0)
        assert (file.info().quantum, file.info().qset) == (8192, 7)


def test_cutting_to_a_size_above_nothing_adopts_no_parameters(path: Path) -> None:
    with client.open(path, "r+") as file:
        file.write(b"x" * 10)
        file.set("quantum", 8192)
        os.truncate(path, 1)
        assert file.info().quantum == QUANTUM


def test_data_and_holes_are_found(fd: int) -> None:
    os.pwrite(fd, b"x", 2 * QUANTUM)
    os.pwrite(fd, b"x", 5 * QUANTUM)
    os.ftruncate(fd, 8 * QUANTUM)
    found = [os.lseek(fd, at * QUANTUM, os.SEEK_DATA) // QUANTUM for at in (0, 2, 3)]
    assert found == [2, 2, 5]
    holes = [os.lseek(fd, at * QUANTUM, os.SEEK_HOLE) // QUANTUM for at in (0, 2, 5, 7)]
    assert holes == [0, 3, 6, 7]
    with refused(errno.ENXIO):
        os.lseek(fd, 6 * QUANTUM, os.SEEK_DATA)
    with refused(errno.ENXIO):
        os.lseek(fd, 8 * QUANTUM, os.SEEK_HOLE)


def test_the_end_of_a_file_without_holes_is_one(fd: int) -> None:
    os.write(fd, b"x" * QUANTUM)
    assert os.lseek(fd, 10, os.SEEK_HOLE) == QUANTUM


def test_allocating_takes_memory_and_grows(path: Path, fd: int) -> None:
    fallocate(fd, 0, QUANTUM, 2 * QUANTUM)
    assert os.fstat(fd).st_size == 3 * QUANTUM
    assert 2 * QUANTUM <= blocks(path) <= 2 * QUANTUM + large_pages(path, 2 * QUANTUM)
    assert os.pread(fd, QUANTUM, QUANTUM) == bytes(QUANTUM)


def test_allocating_may_leave_the_size(path: Path, fd: int) -> None:
    fallocate(fd, KEEP_SIZE, 0, 2 * QUANTUM)
    assert os.fstat(fd).st_size == 0
    assert blocks(path) == 2 * QUANTUM


@limited
def test_allocating_more_than_the_limit_changes_nothing(path: Path, fd: int) -> None:
    os.write(fd, b"x")
    with refused(errno.ENOSPC):
        fallocate(fd, 0, 0, LIMIT + QUANTUM)
    assert os.fstat(fd).st_size == 1
    assert blocks(path) == memory_of(path, (0, 1))


def test_a_punched_hole_gives_its_memory_back(path: Path, fd: int) -> None:
    os.write(fd, b"x" * (4 * QUANTUM))
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, QUANTUM - 1, 2 * QUANTUM + 2)
    assert blocks(path) == 2 * QUANTUM
    assert os.fstat(fd).st_size == 4 * QUANTUM
    expected = b"x" * (QUANTUM - 1) + bytes(2 * QUANTUM + 2) + b"x" * (QUANTUM - 1)
    assert os.pread(fd, 4 * QUANTUM, 0) == expected


def test_a_zeroed_range_keeps_memory(path: Path, fd: int) -> None:
    os.write(fd, b"x" * (2 * QUANTUM))
    fallocate(fd, ZERO_RANGE, 10, 4 * QUANTUM)
    assert os.pread(fd, 5 * QUANTUM, 0) == b"x" * 10 + bytes(4 * QUANTUM)
    assert blocks(path) == memory_of(path, (0, 4 * QUANTUM + 10))


def test_other_changes_of_extents_are_not_supported(fd: int) -> None:
    os.write(fd, b"x" * (2 * QUANTUM))
    with refused(errno.EOPNOTSUPP):
        fallocate(fd, COLLAPSE_RANGE, 0, QUANTUM)


# --- mappings


def test_a_shared_mapping_shows_what_is_written(fd: int) -> None:
    os.write(fd, b"a" * QUANTUM)
    with mmap.mmap(fd, QUANTUM) as mapped:
        assert mapped[:3] == b"aaa"
        os.pwrite(fd, b"BB", 1)
        assert mapped[:4] == b"aBBa"


def test_stores_to_a_shared_mapping_are_read_after_msync(path: Path, fd: int) -> None:
    os.ftruncate(fd, 2 * QUANTUM)
    with mmap.mmap(fd, 2 * QUANTUM) as mapped:
        mapped[QUANTUM - 2 : QUANTUM + 2] = b"wxyz"
        mapped.flush()
        assert os.pread(fd, 4, QUANTUM - 2) == b"wxyz"
    assert path.read_bytes()[QUANTUM - 2 : QUANTUM + 2] == b"wxyz"
    least = memory_of(path, (QUANTUM - 2, QUANTUM + 2))
    assert least <= blocks(path) <= least + large_pages(path, 2 * QUANTUM)


def test_stores_to_a_private_mapping_stay_private(path: Path, fd: int) -> None:
    os.write(fd, b"a" * 100)
    with mmap.mmap(fd, 100, access=mmap.ACCESS_COPY) as mapped:
        mapped[0:1] = b"z"
        assert mapped[:2] == b"za"
    assert path.read_bytes() == b"a" * 100


def test_a_mapping_outlives_its_descriptor(path: Path) -> None:
    path.write_bytes(bytes(QUANTUM))
    number = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(number, QUANTUM)
    os.close(number)
    mapped[5:6] = b"!"
    mapped.close()
    assert path.read_bytes()[5:6] == b"!"


def test_a_read_only_descriptor_maps_read_only(path: Path) -> None:
    path.write_bytes(b"abc")
    number = os.open(path, os.O_RDONLY)
    try:
        with refused(errno.EACCES):
            mmap.mmap(number, 3)
        with mmap.mmap(number, 3, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == b"abc"
    finally:
        os.close(number)


def test_punching_clears_what_is_mapped(fd: int) -> None:
    os.write(fd, b"a" * (2 * QUANTUM))
    with mmap.mmap(fd, 2 * QUANTUM) as mapped:
        mapped[QUANTUM : QUANTUM + 1] = b"z"
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 2 * QUANTUM)
        assert mapped[QUANTUM : QUANTUM + 4] == bytes(4)
        assert mapped[:4] == bytes(4)


# --- ioctls


def test_both_families_of_ioctls_answer(fd: int) -> None:
    numbers = ioctl.NUMBERS
    assert fcntl.ioctl(fd, numbers["SCULLV_IOCQORDER"]) == 4
    assert fcntl.ioctl(fd, numbers["SCULLV_IOCTORDER"], 2) == 0
    room = fcntl.ioctl(fd, numbers["SCULL_IOCGQUANTUM"], bytes(4))
    assert struct.unpack("=i", room) == (4096 << 2,)
    assert fcntl.ioctl(fd, numbers["SCULL_IOCHQSET"], 77) == 500
    assert fcntl.ioctl(fd, numbers["SCULLV_IOCQQSET"]) == 77


def test_trim_and_punch_by_ioctl_show_in_a_mapping(path: Path, fd: int) -> None:
    os.write(fd, b"a" * (2 * QUANTUM))
    with mmap.mmap(fd, 2 * QUANTUM) as mapped:
        assert mapped[:2] == b"aa"
        mapped[QUANTUM : QUANTUM + 2] = b"zz"
        fcntl.ioctl(fd, ioctl.PUNCH, ioctl.pack_range(0, QUANTUM))
        assert mapped[:2] == bytes(2)
        assert mapped[QUANTUM : QUANTUM + 2] == b"zz"
        assert os.pread(fd, 2, QUANTUM) == b"zz"
        fcntl.ioctl(fd, ioctl.TRIM)
        assert path.stat().st_size == 0
        os.ftruncate(fd, 2 * QUANTUM)
        assert mapped[QUANTUM : QUANTUM + 2] == bytes(2)


def test_an_appender_sees_a_trim_by_ioctl(path: Path, fd: int) -> None:
    other = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(other, b"a" * 1000)
        fcntl.ioctl(fd, ioctl.TRIM)
        os.write(other, b"b")
    finally:
        os.close(other)
    assert path.read_bytes() == b"b"


@pytest.mark.parametrize("cmd", [ioctl.SEEK, 0x5401, 0xEE07])
def test_what_is_no_ioctl_of_a_file_is_refused(fd: int, cmd: int) -> None:
    with refused(errno.ENOTTY):
        fcntl.ioctl(fd, cmd, bytes(64))


def test_changing_needs_a_descriptor_for_writing(path: Path) -> None:
    pid = os.fork()
    if pid == 0:  # without CAP_SYS_ADMIN, which would do as well
        status = 1
        try:
            number = os.open(path, os.O_RDONLY)
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            fcntl.ioctl(number, ioctl.TRIM)
        except OSError as error:
            status = 0 if error.errno == errno.EPERM else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- names that cannot be


def test_removing_a_file_empties_it(path: Path, fd: int) -> None:
    os.write(fd, b"x" * 100)
    path.unlink()
    assert path.stat().st_size == 0
    path.write_bytes(b"again")
    assert os.pread(fd, 10, 0) == b"again"


def test_removing_a_file_empties_its_mapping(path: Path, fd: int) -> None:
    os.write(fd, b"x" * QUANTUM)
    with mmap.mmap(fd, QUANTUM) as mapped:
        mapped[0:1] = b"y"
        path.unlink()
        os.truncate(path, QUANTUM)
        assert mapped[:2] == bytes(2)


def test_creating_a_file_that_is_there_opens_it(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.unlink()
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    with pytest.raises(FileExistsError):
        os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_names_can_neither_be_made_nor_moved(files: FilesServer) -> None:
    new, old = files.directory / "new", files.files[0]
    for attempt in (
        lambda: new.write_bytes(b""),
        lambda: os.mknod(new),
        lambda: new.mkdir(),
        lambda: new.symlink_to("scullv0"),
        lambda: os.link(old, new),
        lambda: old.rename(new),
        lambda: old.rename(files.files[1]),
        lambda: files.text.unlink(),
        lambda: os.truncate(files.text, 10),
    ):
        with refused(errno.EPERM):
            attempt()
    with pytest.raises(FileNotFoundError):
        new.unlink()
    assert files.names() == ["scullv0", "scullv1", "scullvmem"]


# --- scullvmem


def test_the_text_is_that_of_the_moment_of_opening(files: FilesServer) -> None:
    with files.text.open() as before:
        files.files[1].write_bytes(b"12345")
        assert "Device 1: qset 500, order 4, sz 0\n" in before.read()
    text = files.text.read_text()
    assert text.startswith("\nDevice 0: qset 500, order 4, sz 0\n")
    assert "Device 1: qset 500, order 4, sz 5\n" in text


def test_the_text_can_be_sought_in(files: FilesServer) -> None:
    number = os.open(files.text, os.O_RDONLY)
    try:
        whole = os.read(number, 1 << 16)
        assert os.pread(number, 6, 1) == b"Device"
        assert os.pread(number, 100, len(whole)) == b""
    finally:
        os.close(number)


def test_the_text_is_read_only(files: FilesServer) -> None:
    with refused(errno.EACCES):
        os.open(files.text, os.O_WRONLY)


# --- other users


def test_the_mode_keeps_other_users_out(files: FilesServer) -> None:
    if not is_root():
        pytest.skip("needs root, to be somebody else: type sudo pytest")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            files.text.read_bytes()
            os.open(files.files[0], os.O_RDONLY)
        except PermissionError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
