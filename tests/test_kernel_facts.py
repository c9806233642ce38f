"""What the kernel does with a CUSE node. The documentation warns of these; the day one of them
changes, a test here fails, and we want to know."""

import errno
import mmap
import os
import stat

import pytest

from nodes import RealFile, RealServer, info, seek

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
