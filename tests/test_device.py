"""What a device does by default: positions, trimming, holes, and the extension ioctls."""

import contextlib
import errno
import os

import pytest

from cuse_scullv import ioctl
from cuse_scullv.cuse.testing import BAD
from cuse_scullv.ioctl import NUMBERS
from cuse_scullv.params import PAGE_SIZE
from nodes import FakeServer, Serve, info, pointer, seek

QUANTUM = PAGE_SIZE  # of order 0


def pattern(length: int, start: int = 0) -> bytes:
    """Bytes that differ from those of any other place nearby."""
    return bytes((start + i * 7 + (start + i) // 251) & 0xFF for i in range(length))


def test_what_was_written_is_read_back(serve: Serve) -> None:
    served = serve()
    data = pattern(3_000_001)
    with served.open() as file:
        assert file.write(data) == len(data)
        assert seek(file, 0) == 0
        assert file.read(len(data) + 1) == data
        assert file.read(1) == b""


@pytest.mark.fake
def test_files_left_open_at_the_end_give_their_memory_back() -> None:
    with contextlib.ExitStack() as stack:
        served = FakeServer(stack)
        served.open().write(pattern(3 * QUANTUM))
        budget = served.devices[0].shared.ground.budget
        assert budget.used > 0
    assert budget.used == 0


@pytest.mark.fake
def test_a_file_that_is_closed_while_the_device_goes_away_is_released_once() -> None:
    with contextlib.ExitStack() as stack:
        served = FakeServer(stack)
        device = served.devices[0]
        files = [served.open() for _ in range(8)]
        files[0].write(pattern(3 * QUANTUM))
        session = device._session
        assert session is not None
        session._closing = True  # where stop() has just begun
        for file in files:
            with contextlib.suppress(OSError):  # its release is refused, which no client sees
                file.close()
        assert session.files == {}
        budget = device.shared.ground.budget
    assert device._opens == 0
    assert budget.used == 0


def test_each_open_file_has_a_position_of_its_own(serve: Serve) -> None:
    served = serve()
    with served.open() as writer, served.open(os.O_RDONLY) as one, served.open() as two:
        writer.write(b"abcdef")
        assert one.read(2) == b"ab"
        assert two.read(3) == b"abc"
        assert one.read(2) == b"cd"
        assert two.write(b"XYZ") == 3
        assert one.read(9) == b"YZ"


def test_opening_for_writing_only_trims(serve: Serve) -> None:
    served = serve()
    with served.open() as file:
        file.write(b"old")
        served.open(os.O_WRONLY).close()
        assert info(file).size == 0
        assert seek(file, 0) == 0
        assert file.read(1) == b""


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_TRUNC])
def test_no_other_open_trims(serve: Serve, flags: int) -> None:
    served = serve()
    with served.open() as file:
        file.write(b"kept")
        served.open(flags).close()
        assert info(file).size == 4


def test_o_append_is_ignored(serve: Serve) -> None:
    served = serve()
    with served.open() as file:
        file.write(b"abc")
    with served.open(os.O_RDWR | os.O_APPEND) as file:
        file.write(b"X")
        seek(file, 0)
        assert file.read(9) == b"Xbc"


def test_a_transfer_crosses_quanta_and_sets(serve: Serve) -> None:
    served = serve(order=0, qset=2)
    data = pattern(9 * QUANTUM)
    with served.open() as file:
        seek(file, QUANTUM // 2)
        assert file.write(data) == len(data)
        seek(file, QUANTUM // 2)
        assert file.read(len(data)) == data
        assert info(file).regions == 10


def test_a_quantum_need_not_be_whole_pages(serve: Serve) -> None:
    served = serve(quantum=4000, qset=3)
    data = pattern(50_000)
    with served.open() as file:
        assert file.write(data) == len(data)
        seek(file, 0)
        assert file.read(len(data)) == data
        state = info(file)
        assert (state.quantum, state.region_bytes, state.regions) == (4000, PAGE_SIZE, 13)


def test_a_hole_reads_as_zeros_and_takes_no_memory(serve: Serve) -> None:
    served = serve(order=0)
    with served.open() as file:
        seek(file, 1 << 40)
        assert file.write(b"x") == 1
        seek(file, 5 * QUANTUM + 1)
        assert file.read(200_000) == bytes(200_000)
        seek(file, (1 << 40) - 3)
        assert file.read(9) == b"\0\0\0x"
        state = info(file)
        assert (state.size, state.regions) == ((1 << 40) + 1, 1)


def test_trimmed_memory_does_not_show_old_bytes(serve: Serve) -> None:
    served = serve(order=0)
    with served.open() as file:
        file.write(b"\xff" * 64 * QUANTUM)
        file.ioctl(ioctl.TRIM)
        for number in range(64):
            seek(file, number * QUANTUM + 100)
            file.write(b"a")
        seek(file, 0)
        expected = (bytes(100) + b"a" + bytes(QUANTUM - 101)) * 64
        assert file.read(64 * QUANTUM) == expected[: 63 * QUANTUM + 101]


def test_a_trim_gives_memory_back_and_adopts_what_is_pending(serve: Serve) -> None:
    served = serve()
    with served.open() as file:
        file.write(pattern(1 << 20))
        file.ioctl(NUMBERS["SCULLV_IOCTORDER"], 1)
        file.ioctl(NUMBERS["SCULLV_IOCTQSET"], 7)
        before = info(file)
        assert (before.order, before.qset, before.size) == (4, 500, 1 << 20)
        assert before.resident_bytes == before.used == 1 << 20
        assert (before.pending_quantum, before.pending_qset) == (2 * PAGE_SIZE, 7)
        file.ioctl(ioctl.TRIM)
        after = info(file)
        assert (after.order, after.qset, after.size) == (1, 7, 0)
        assert after.resident_bytes == after.used == 0


def test_pending_parameters_belong_to_all_devices(serve: Serve) -> None:
    served = serve(devices=2)
    with served.open(dev=0) as first, served.open(dev=1) as second:
        first.write(b"1")
        second.write(b"2")
        first.ioctl(NUMBERS["SCULLV_IOCTORDER"], 2)
        assert second.ioctl(NUMBERS["SCULLV_IOCQORDER"]).result == 2
        second.ioctl(ioctl.TRIM)
        assert (info(first).order, info(first).size) == (4, 1)
        assert (info(second).order, info(second).size) == (2, 0)
        assert (info(first).number, info(second).number, info(first).devices) == (0, 1, 2)


def test_writing_on_after_a_trim_makes_a_hole(serve: Serve) -> None:
    served = serve()
    with served.open() as file:
        file.write(b"abc")
        served.open(os.O_WRONLY).close()
        file.write(b"d")
        seek(file, 0)
        assert file.read(9) == b"\0\0\0d"


def test_seek_knows_every_whence(serve: Serve) -> None:
    served = serve(order=0)
    with served.open() as file:
        file.write(b"x" * 10)
        assert seek(file, -3, os.SEEK_END) == 7
        assert seek(file, 2, os.SEEK_CUR) == 9
        assert seek(file, 4) == 4
        seek(file, 4 * QUANTUM)
        file.write(b"y")
        assert seek(file, 0, os.SEEK_HOLE) == QUANTUM
        assert seek(file, QUANTUM, os.SEEK_DATA) == 4 * QUANTUM


@pytest.mark.parametrize(
    ("offset", "whence", "expected"),
    [
        (-1, os.SEEK_SET, errno.EINVAL),
        (-11, os.SEEK_END, errno.EINVAL),
        (0, 9, errno.EINVAL),
        (2**63 - 1, os.SEEK_CUR, errno.EINVAL),
        (10, os.SEEK_DATA, errno.ENXIO),
        (10, os.SEEK_HOLE, errno.ENXIO),
    ],
)
def test_a_bad_seek_moves_nothing(serve: Serve, offset: int, whence: int, expected: int) -> None:
    served = serve()
    with served.open() as file:
        file.write(b"x" * 10)
        with pytest.raises(OSError) as caught:
            seek(file, offset, whence)
        assert caught.value.errno == expected
        assert seek(file, 0, os.SEEK_CUR) == 10


def test_a_punched_hole_gives_whole_quanta_back(serve: Serve) -> None:
    served = serve(order=0)
    data = pattern(8 * QUANTUM)
    with served.open() as file:
        file.write(data)
        file.ioctl(ioctl.PUNCH, ioctl.pack_range(QUANTUM - 10, 3 * QUANTUM + 20))
        state = info(file)
        assert (state.size, state.regions) == (len(data), 5)
        seek(file, 0)
        start, end = QUANTUM - 10, 4 * QUANTUM + 10
        assert file.read(len(data)) == data[:start] + bytes(end - start) + data[end:]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 0, errno.EINVAL), (2**63 - 2, 2, errno.EFBIG), (2**64 - 1, 1, errno.EFBIG)],
)
def test_a_bad_punch_changes_nothing(serve: Serve, offset: int, length: int, expected: int) -> None:
    served = serve()
    with served.open() as file:
        file.write(b"x" * 10)
        with pytest.raises(OSError) as caught:
            file.ioctl(ioctl.PUNCH, ioctl.pack_range(offset, length))
        assert caught.value.errno == expected
        seek(file, 0)
        assert file.read(99) == b"x" * 10


def test_bad_pointers_are_efault_and_move_nothing(serve: Serve) -> None:
    served = serve()
    with served.open() as file:
        for action in (
            lambda: file.write(BAD),
            lambda: file.ioctl(ioctl.SEEK, BAD),
            lambda: file.ioctl(NUMBERS["SCULLV_IOCSORDER"], BAD),
        ):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno == errno.EFAULT
        state = info(file)
        assert (state.size, state.pending_quantum) == (0, 16 * PAGE_SIZE)
        assert seek(file, 0, os.SEEK_CUR) == 0


def test_the_access_mode_is_kept(serve: Serve) -> None:
    served = serve()
    with served.open(os.O_RDONLY) as file, pytest.raises(OSError) as caught:
        file.write(b"x")
    assert caught.value.errno == errno.EBADF
    with served.open(os.O_WRONLY) as file, pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EBADF


def test_opens_are_counted(serve: Serve) -> None:
    served = serve()
    with served.open() as one:
        assert info(one).opens == 1
        with served.open(os.O_RDONLY):
            assert info(one).opens == 2
        assert info(one).opens == 1


def test_the_text_is_scullvmem_s(serve: Serve) -> None:
    served = serve(order=0, qset=2)
    with served.open() as file:
        seek(file, 5 * QUANTUM)
        file.write(b"x")
        pieces = [ioctl.unpack_text(file.ioctl(ioctl.TEXT, ioctl.pack_text(0)).data)]
        lines = pieces[0].decode().splitlines()
        assert lines[1] == f"Device 0: qset 2, order 0, sz {5 * QUANTUM + 1}"
        assert lines[2:4] == [
            "  item at 0x0, qset at (null)",
            f"  item at {2 * QUANTUM:#x}, qset at (null)",
        ]
        end = ioctl.pack_text(len(pieces[0]))
        assert ioctl.unpack_text(file.ioctl(ioctl.TEXT, end).data) == b""


def test_a_long_text_comes_in_pieces_that_fit(serve: Serve) -> None:
    served = serve(order=0, qset=100)
    with served.open() as file:
        file.write(bytes(100 * QUANTUM))
        text = b""
        while piece := ioctl.unpack_text(file.ioctl(ioctl.TEXT, ioctl.pack_text(len(text))).data):
            text += piece
            # Growing meanwhile must not shift what was begun.
            file.write(bytes(QUANTUM))
        assert len(text) > ioctl.TEXT_MAX
        assert text.count(b"\n") == 3 + 100
        assert b"  99:" in text.splitlines()[-1]


CHANGES = [
    (ioctl.TRIM, 0),
    (ioctl.PUNCH, ioctl.pack_range(0, 1)),
    (NUMBERS["SCULLV_IOCRESET"], 0),
    (NUMBERS["SCULLV_IOCTORDER"], 3),
    (NUMBERS["SCULLV_IOCSORDER"], pointer(3)),
    (NUMBERS["SCULL_IOCHQSET"], 3),
    (NUMBERS["SCULL_IOCXQUANTUM"], pointer(4096)),
]


@pytest.mark.parametrize(("cmd", "arg"), CHANGES)
def test_a_reader_without_privilege_changes_nothing(
    serve_fake: Serve, cmd: int, arg: int | bytes
) -> None:
    served = serve_fake()
    assert isinstance(served, FakeServer)
    served.kernels[0].pid = 0  # as of a caller that the server cannot see
    with served.open() as writer, served.open(os.O_RDONLY) as reader:
        writer.write(b"kept")
        with pytest.raises(OSError) as caught:
            reader.ioctl(cmd, arg)
        assert caught.value.errno == errno.EPERM
        state = info(reader)
        assert (state.size, state.pending_quantum, state.pending_qset) == (4, 16 * PAGE_SIZE, 500)
        writer.ioctl(cmd, arg)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has CAP_SYS_ADMIN")
def test_an_administrator_changes_through_a_file_open_for_reading(serve: Serve) -> None:
    served = serve()
    with served.open(os.O_RDONLY) as file:
        file.ioctl(NUMBERS["SCULLV_IOCTORDER"], 3)
        file.ioctl(ioctl.TRIM)
        assert info(file).order == 3
