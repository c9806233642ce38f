"""What the kernel does with a CUSE node. The documentation warns of these; the day one of them
changes, a test here fails, and we want to know."""

import errno
import fcntl
import mmap
import os
import select
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cuse_scullv import cuse
from cuse_scullv.kernels import running
from nodes import RealFile, RealServer, info, seek
from rawchannel import RawChannel

pytestmark = pytest.mark.real


@pytest.fixture
def file(node: RealServer) -> RealFile:
    with RealFile(node.path, os.O_RDWR) as opened:
        opened.write(b"0123456789")
        seek(opened, 0)
        yield opened


def test_the_node_is_a_character_device(node: RealServer) -> None:
    assert stat.S_ISCHR(node.path.stat().st_mode)


@pytest.mark.parametrize("whence", [os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
def test_lseek_says_0_and_does_nothing(file: RealFile, whence: int) -> None:
    assert os.lseek(file.fd, 7, whence) == 0
    assert file.read(3) == b"012"


def test_the_offsets_of_pread_and_pwrite_are_dropped(file: RealFile) -> None:
    assert os.pread(file.fd, 2, 5) == b"01"
    assert os.pwrite(file.fd, b"XY", 8) == 2
    seek(file, 0)
    assert file.read(10) == b"01XY456789"


def test_a_node_cannot_be_mapped(file: RealFile) -> None:
    with pytest.raises(OSError) as caught:
        mmap.mmap(file.fd, 4096)
    assert caught.value.errno == errno.ENODEV


def test_a_node_may_be_in_a_folder() -> None:
    """As /dev/input/event9 is (lib/kobject.c: kobject_set_name_vargs, drivers/base/devtmpfs.c)."""
    folder = Path("/dev/cusefolder")
    for name in ("cusefolder/one", "cusefolder/more/two"):
        with cuse.Channel(cuse.Device(name, mode=0o604)) as channel:
            assert channel.path == Path("/dev") / name
            assert stat.S_IMODE(channel.path.stat().st_mode) == 0o604
            assert (Path("/sys/class/cuse") / name.replace("/", "!")).is_dir()
            os.close(os.open(channel.path, os.O_RDWR))
            with pytest.raises(cuse.DeviceError) as caught:
                cuse.Channel(cuse.Device(name)).start()
            assert caught.value.errno == errno.EEXIST
        assert not channel.path.exists()
        assert not folder.exists()


@pytest.mark.parametrize("size", [1, 300_000])
def test_the_thread_that_waits_says_how_much_it_is(size: int) -> None:
    """So transfers = "whole" can be: but not in user-mode-linux, which has no such file."""
    seen: list[tuple[int, bool]] = []

    def write(file: cuse.File, data: memoryview) -> None:
        seen.append((len(data), file.whole))

    device = cuse.Device("cusefact", write=write)
    device.transfers = "whole"
    with cuse.Channel(device) as channel:
        assert channel.path is not None
        with channel.path.open("wb", 0) as file:
            assert file.write(bytes(size)) == size
    says = Path("/proc/self/syscall").exists()
    assert says == ("amd64" in os.uname().release)
    assert seen == [(size, True)] if says else not any(whole for _, whole in seen)


def test_fsync_is_einval(file: RealFile) -> None:
    with pytest.raises(OSError) as caught:
        os.fsync(file.fd)
    assert caught.value.errno == errno.EINVAL


def test_a_node_cannot_be_truncated(file: RealFile) -> None:
    with pytest.raises(OSError) as caught:
        os.ftruncate(file.fd, 0)
    assert caught.value.errno == errno.EINVAL
    assert info(file).size == 10


def test_vectors_are_one_stream(file: RealFile) -> None:
    one, two = bytearray(3), bytearray(4)
    assert os.readv(file.fd, [one, two]) == 7
    assert bytes(one + two) == b"0123456"
    assert os.writev(file.fd, [b"ab", b"c"]) == 3
    seek(file, 0)
    assert file.read(10) == b"0123456abc"


def test_nothing_is_spliced_from_or_to_a_node(file: RealFile) -> None:
    inlet, outlet = os.pipe()
    other = os.memfd_create("other")
    os.write(outlet, b"data")
    os.pwrite(other, b"data", 0)
    calls = [
        lambda: os.splice(file.fd, outlet, 4),
        lambda: os.splice(inlet, file.fd, 4),
        lambda: os.sendfile(other, file.fd, None, 4),
        lambda: os.sendfile(file.fd, other, 0, 4),
        lambda: os.copy_file_range(file.fd, other, 4),
        lambda: os.copy_file_range(other, file.fd, 4, 0),
    ]
    try:
        for call in calls:
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EINVAL
    finally:
        for fd in (inlet, outlet, other):
            os.close(fd)
    assert file.read(10) == b"0123456789"


def test_a_node_has_no_direct_io_to_ask_for(node: RealServer) -> None:
    with pytest.raises(OSError) as caught:
        os.open(node.path, os.O_RDONLY | os.O_DIRECT)
    assert caught.value.errno == errno.EINVAL


def test_appending_trims_as_any_opening_for_writing_only(file: RealFile, node: RealServer) -> None:
    os.close(os.open(node.path, os.O_WRONLY | os.O_APPEND))
    assert info(file).size == 0


class Parts(cuse.Device):
    """Remembers how the kernel cut a write."""

    def __init__(self) -> None:
        super().__init__(f"parts{os.getpid()}")
        self.sizes: list[int] = []

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.sizes.append(len(data))


@pytest.mark.parametrize(("within_page", "first"), [(0, 32 * 4096), (100, 32 * 4096 - 100)])
def test_a_long_write_is_cut_into_parts_of_32_pages(within_page: int, first: int) -> None:
    device = Parts()
    size = 300_000
    with cuse.Channel(device), mmap.mmap(-1, 1 << 20) as memory:
        fd = os.open(f"/dev/{device.name}", os.O_WRONLY)
        assert os.write(fd, memoryview(memory)[within_page : within_page + size]) == size
        os.close(fd)
    assert device.sizes[0] == first
    assert sum(device.sizes) == size
    assert max(device.sizes) <= 32 * 4096


LINES = b"".join(b"%05d\n" % number for number in range(20_000))
SKIPPED = 60_000
# What each prints of a file is the line at SKIPPED; of a node it is something else, with status 0.
SKIPPERS = [
    ["dd", "bs=1", f"skip={SKIPPED}", "count=5", "status=none", "if={}"],
    ["od", "-A", "n", "-a", "-j", f"{SKIPPED}", "-N", "5", "{}"],
    ["hexdump", "-s", f"{SKIPPED}", "-n", "5", "-c", "{}"],
    ["xxd", "-s", f"{SKIPPED}", "-l", "5", "{}"],
    ["tail", "-c", f"+{SKIPPED + 1}", "{}"],
    [sys.executable, "-c", f"f = open('{{}}', 'rb'); f.seek({SKIPPED}); print(f.read(5))"],
]


@pytest.mark.parametrize("command", SKIPPERS, ids=["dd", "od", "hexdump", "xxd", "tail", "python"])
def test_programs_that_seek_show_the_wrong_bytes_and_no_error(
    node: RealServer, tmp_path: Path, command: list[str]
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    plain = tmp_path / "plain"
    shown = []
    for path in (plain, node.path):
        path.write_bytes(LINES)
        words = [word.replace("{}", str(path)) for word in command]
        done = subprocess.run(words, capture_output=True, timeout=60, check=True)
        assert done.stderr == b""
        shown.append(done.stdout)
    assert shown[0] != shown[1]


@pytest.mark.parametrize(("words", "status"), [(["cmp"], 0), (["cmp", "-i", f"{SKIPPED}"], 1)])
def test_cmp_is_right_but_where_it_skips(
    node: RealServer, tmp_path: Path, words: list[str], status: int
) -> None:
    plain = tmp_path / "plain"
    for path in (plain, node.path):
        path.write_bytes(LINES)
    done = subprocess.run([*words, plain, node.path], capture_output=True, check=False)
    assert done.returncode == status, done.stdout


def test_tail_reads_lines_to_the_end_and_bytes_as_coreutils_pleases(node: RealServer) -> None:
    """From some release on (9.7 does it, 9.1 does not), `tail -c` seeks to its bytes."""
    Path(node.path).write_bytes(LINES)
    shown = {}
    for letter, last in (("n", "3"), ("c", "18")):
        words = ["tail", f"-{letter}", last, node.path]
        shown[letter] = subprocess.run(words, capture_output=True, check=True).stdout
    assert shown["n"] == LINES[-18:]
    assert shown["c"] in (LINES[-18:], LINES[:18])


def test_python_writes_where_it_stands_not_where_it_seeks(file: RealFile, node: RealServer) -> None:
    with Path(node.path).open("r+b") as opened:
        opened.seek(8)
        opened.write(b"XY")
    assert file.read(10) == b"XY23456789"


# --- what docs/kernels.md says of each kernel, on a channel of its own ----------------------------

RESEND = 7  # enum fuse_notify_code
CLONE = 0x8004E500  # FUSE_DEV_IOC_CLONE
BACKING_OPEN = 0x4010E501  # FUSE_DEV_IOC_BACKING_OPEN


@pytest.fixture
def channel() -> Iterator[RawChannel]:
    with RawChannel("rawscullv") as made:
        yield made


def refused(call: Callable[[], object]) -> int:
    """The errno; 0: it was not refused."""
    try:
        call()
    except OSError as error:
        return int(error.errno or 0)
    return 0


def test_requests_can_be_had_again_from_6_9_on(channel: RawChannel) -> None:
    is_known = running() >= (6, 9, 0)
    assert refused(lambda: channel.answer(0, error=RESEND)) == (0 if is_known else errno.EINVAL)


@pytest.mark.parametrize("command", [CLONE, BACKING_OPEN])
def test_a_channel_has_no_ioctls(channel: RawChannel, command: int) -> None:
    assert refused(lambda: fcntl.ioctl(channel.fd, command, bytes(16))) == errno.ENOTTY


def test_an_answer_to_nobody_is_enoent(channel: RawChannel) -> None:
    assert refused(lambda: channel.answer(1 << 40)) == errno.ENOENT


def test_a_read_that_is_too_short_for_any_request_is_einval_before_7_2(
    channel: RawChannel,
) -> None:
    os.set_blocking(channel.fd, False)
    is_taken = running() >= (7, 2, 0)
    assert refused(lambda: os.read(channel.fd, 8192)) == (
        errno.EAGAIN if is_taken else errno.EINVAL
    )


def test_a_channel_is_ready_only_while_a_request_waits(channel: RawChannel) -> None:
    poll = select.poll()
    poll.register(channel.fd, select.POLLIN | select.POLLOUT)
    assert poll.poll(0) == [(channel.fd, select.POLLOUT)]
