"""Several clients at once: every byte goes to one of them, and none sees half a change."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import FAKE, REAL, SMP, serving
from cuse_scullv import ioctl
from cuse_scullv.ioctl import NUMBERS
from cuse_scullv.params import PAGE_SIZE
from nodes import RealFile, RealServer, Serve, info, number, pointer, seek

RECORD = 8


@pytest.fixture(params=[FAKE, REAL, SMP])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    yield from serving(request)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(0)` … `work(count - 1)` return, begun at the same time."""
    start = threading.Barrier(count)

    def begin(index: int) -> Any:
        start.wait(60)
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def records(first: int, count: int) -> bytes:
    return b"".join(value.to_bytes(RECORD, "little") for value in range(first, first + count))


def values(data: bytes) -> list[int]:
    return [
        int.from_bytes(data[start : start + RECORD], "little")
        for start in range(0, len(data), RECORD)
    ]


def test_readers_of_one_open_file_take_disjoint_ranges(serve: Serve) -> None:
    served = serve()
    total = 6_000
    with served.open() as file:
        file.write(records(0, total))
        seek(file, 0)

        def read_all(index: int) -> list[int]:
            mine: list[int] = []
            while piece := file.read(RECORD * (1 + index)):
                mine += values(piece)
            return mine

        taken = [value for mine in together(4, read_all) for value in mine]
        assert sorted(taken) == list(range(total))


def test_writers_of_one_open_file_take_disjoint_ranges(serve: Serve) -> None:
    served = serve(order=0)
    each = 200
    with served.open() as file:

        def write_all(index: int) -> None:
            for value in range(each):
                file.write(records(index * each + value, 1))

        together(4, write_all)
        seek(file, 0)
        assert sorted(values(file.read(5 * each * RECORD))) == list(range(4 * each))


def test_writers_of_one_device_do_not_disturb_one_another(serve: Serve) -> None:
    served = serve(order=0, qset=3)
    span = 16 * PAGE_SIZE + 100  # so that neighbours share quanta

    def write_mine(index: int) -> None:
        with served.open() as file:
            seek(file, index * span)
            for start in range(0, span, 1000):
                size = min(1000, span - start)
                assert file.write(bytes([index + 1]) * size) == size

    together(4, write_mine)
    with served.open() as file:
        assert file.read(5 * span) == b"".join(bytes([n + 1]) * span for n in range(4))


def test_a_reader_sees_each_quantum_written_whole(serve: Serve) -> None:
    """Full-quantum writes replace quanta: a read shows one of them, never a mix."""
    served = serve(order=0)
    done = threading.Event()
    with served.open() as writer, served.open(os.O_RDONLY) as reader:
        writer.write(bytes(PAGE_SIZE))

        def write_on(_: int) -> None:
            try:
                for value in range(300):
                    seek(writer, 0)
                    writer.write(bytes([value & 0xFF]) * PAGE_SIZE)
            finally:
                done.set()

        def read_on(_: int) -> None:
            while not done.is_set():
                seek(reader, 0)
                assert len(set(reader.read(PAGE_SIZE))) == 1

        together(2, lambda index: (write_on, read_on)[index](index))


def test_trimming_beneath_readers_and_writers_shows_no_old_bytes(serve: Serve) -> None:
    served = serve(order=0)
    rounds = 150

    def work(index: int) -> None:
        with served.open() as file:
            for _ in range(rounds):
                if index == 0:
                    file.ioctl(ioctl.TRIM)
                    continue
                seek(file, index * PAGE_SIZE)
                file.write(bytes([index]) * 3000)
                seek(file, index * PAGE_SIZE)
                assert set(file.read(PAGE_SIZE)) <= {0, index}

    together(3, work)


def test_exchanges_are_atomic(serve: Serve) -> None:
    """Each value that was put in comes out exactly once: none is lost, none seen twice."""
    served = serve()
    each = 200
    exchange, shift = NUMBERS["SCULLV_IOCXQSET"], NUMBERS["SCULLV_IOCHQSET"]
    with served.open() as file:
        first = file.ioctl(NUMBERS["SCULLV_IOCQQSET"]).result

        def swap(index: int) -> list[int]:
            mine = range(1000 + index * each, 1000 + (index + 1) * each)
            if index % 2:
                return [file.ioctl(shift, value).result for value in mine]
            return [number(file.ioctl(exchange, pointer(value))) for value in mine]

        out = [value for mine in together(4, swap) for value in mine]
        out.append(file.ioctl(NUMBERS["SCULLV_IOCQQSET"]).result)
        assert sorted(out) == [first, *range(1000, 1000 + 4 * each)]


@pytest.mark.real
def test_dup_and_fork_share_the_position(node: RealServer) -> None:
    with RealFile(node.path, os.O_RDWR) as file:
        file.write(b"abcdefgh")
        seek(file, 0)
        copy = os.dup(file.fd)
        try:
            assert os.read(copy, 2) == b"ab"
            assert file.read(2) == b"cd"
        finally:
            os.close(copy)
        child = os.fork()
        if child == 0:
            os._exit(0 if os.read(file.fd, 2) == b"ef" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert file.read(2) == b"gh"
        assert info(file).opens == 1
