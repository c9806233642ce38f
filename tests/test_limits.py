"""The memory limit, and the end of positions."""

import errno
import os

import pytest

from cuse_scullv import ioctl
from cuse_scullv.params import PAGE_SIZE
from nodes import Serve, info, seek

QUANTUM = PAGE_SIZE
LIMIT = 16 * QUANTUM
LAST = 2**63 - 1


def test_a_write_is_short_at_the_limit_and_then_fails(serve: Serve) -> None:
    served = serve(order=0, max_bytes=LIMIT)
    with served.open() as file:
        assert file.write(b"x" * (LIMIT + 5)) == LIMIT
        with pytest.raises(OSError) as caught:
            file.write(b"x")
        assert caught.value.errno == errno.ENOSPC
        state = info(file)
        assert (state.size, state.used, state.limit) == (LIMIT, LIMIT, LIMIT)
        seek(file, 0)
        assert file.read(LIMIT + 1) == b"x" * LIMIT


def test_what_is_there_can_be_overwritten_at_the_limit(serve: Serve) -> None:
    served = serve(order=0, max_bytes=LIMIT)
    with served.open() as file:
        file.write(b"x" * LIMIT)
        seek(file, 0)
        assert file.write(b"y" * LIMIT) == LIMIT
        seek(file, 0)
        assert file.read(LIMIT) == b"y" * LIMIT


def test_a_short_write_keeps_what_it_wrote_of_the_last_quantum(serve: Serve) -> None:
    served = serve(order=0, max_bytes=2 * QUANTUM)
    with served.open() as file:
        seek(file, QUANTUM // 2)
        assert file.write(b"x" * (4 * QUANTUM)) == 2 * QUANTUM - QUANTUM // 2
        assert seek(file, 0, os.SEEK_CUR) == 2 * QUANTUM


def test_a_failed_write_moves_nothing(serve: Serve) -> None:
    served = serve(order=0, max_bytes=QUANTUM)
    with served.open() as file:
        file.write(b"x")
        seek(file, 1 << 30)
        with pytest.raises(OSError) as caught:
            file.write(b"y")
        assert caught.value.errno == errno.ENOSPC
        assert seek(file, 0, os.SEEK_CUR) == 1 << 30
        assert info(file).size == 1


def test_devices_share_the_limit_and_a_trim_frees_it(serve: Serve) -> None:
    served = serve(devices=2, order=0, max_bytes=LIMIT)
    with served.open(dev=0) as first, served.open(dev=1) as second:
        assert first.write(b"x" * LIMIT) == LIMIT
        with pytest.raises(OSError) as caught:
            second.write(b"y")
        assert caught.value.errno == errno.ENOSPC
        first.ioctl(ioctl.TRIM)
        assert second.write(b"y" * LIMIT) == LIMIT


def test_punching_frees_memory_under_the_limit(serve: Serve) -> None:
    served = serve(order=0, max_bytes=LIMIT)
    with served.open() as file:
        file.write(b"x" * LIMIT)
        file.ioctl(ioctl.PUNCH, ioctl.pack_range(0, 2 * QUANTUM))
        assert file.write(b"y" * LIMIT) == 2 * QUANTUM


def test_sparse_positions_do_not_outgrow_the_limit(serve_far: Serve) -> None:
    """One byte in each of many far places: what finds them is memory too."""
    served = serve_far(order=0, max_bytes=LIMIT)
    with served.open() as file:

        def spread() -> None:
            for number in range(LIMIT // QUANTUM + 1):
                seek(file, number << 45)
                file.write(b"x")

        with pytest.raises(OSError) as caught:
            spread()
        assert caught.value.errno == errno.ENOSPC
        assert info(file).used <= LIMIT


def test_by_the_book_s_rules_the_limit_is_enomem(serve: Serve) -> None:
    served = serve(order=0, ldd3=True, max_bytes=2 * QUANTUM)
    with served.open() as file:
        assert file.write(b"x" * (3 * QUANTUM)) == QUANTUM
        assert file.write(b"x" * (3 * QUANTUM)) == QUANTUM
        with pytest.raises(OSError) as caught:
            file.write(b"x")
        assert caught.value.errno == errno.ENOMEM


def test_no_byte_lies_past_the_last_position(serve_far: Serve) -> None:
    served = serve_far(order=0)
    with served.open() as file:
        assert seek(file, LAST - 2) == LAST - 2
        assert file.write(b"abc") == 2
        with pytest.raises(OSError) as caught:
            file.write(b"d")
        assert caught.value.errno == errno.EFBIG
        assert info(file).size == LAST
        seek(file, LAST - 2)
        assert file.read(9) == b"ab"
        assert file.read(9) == b""
