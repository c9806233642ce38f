"""The store through its Python face: what the C tests cannot see from below."""

from __future__ import annotations

import array
import errno
import gc
import os
import threading
import time
from pathlib import Path

import pytest

from cuse_scullv._errors import check
from cuse_scullv._native import lib
from cuse_scullv.store import Budget, Store

MIB = 1 << 20
Q = 4096


def failing(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == code)


@pytest.fixture
def store() -> Store:
    return Store(Budget(MIB), Q, 10)


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_was_written_is_read(store: Store) -> None:
    assert store.write(10, b"hello") == 5
    assert store.read(0, 100) == bytes(10) + b"hello"
    assert store.read(12, 2) == b"ll"
    assert store.read(15, 1) == b""
    assert store.read(0, 0) == b""


def test_any_buffer_can_be_written(store: Store) -> None:
    numbers = array.array("I", range(100))
    assert store.write(0, numbers) == 400
    assert store.write(400, memoryview(numbers)) == 400
    assert store.write(800, bytearray(b"end")) == 3
    assert store.read(0, 1000) == numbers.tobytes() * 2 + b"end"


def test_info_tells_what_is_there(store: Store) -> None:
    store.write(3 * Q, b"x")
    info = store.info()
    assert (info.size, info.quantum, info.region_bytes, info.qset) == (3 * Q + 1, Q, Q, 10)
    assert info.regions == 1
    assert 0 < info.index_bytes < 2 * Q
    assert Store(Budget(MIB), 4000, 10).info().region_bytes == Q


def test_changes_are_counted(store: Store) -> None:
    assert store.info().changes == 0
    before = store.info()
    for change in (
        lambda: store.write(0, b"x"),
        lambda: store.resize(100),
        lambda: store.punch(0, 10),
        lambda: store.trim(Q, 10),
    ):
        change()
        after = store.info()
        assert after.changes > before.changes
        before = after
    store.read(0, 10)
    assert store.info() == before


def test_only_what_makes_it_shorter_counts_as_a_cut(store: Store) -> None:
    store.write(0, bytes(10))
    store.resize(20)
    store.punch(0, 10)
    assert store.info().cuts == 0
    store.resize(5)
    assert store.info().cuts == 1
    store.trim(Q, 10)
    assert store.info().cuts == 2


def test_the_limit_is_shared_and_enospc_comes_after_a_short_write() -> None:
    budget = Budget(3 * Q)
    one, two = Store(budget, Q, 1), Store(budget, Q, 1)
    assert one.write(0, bytes(2 * Q)) == 2 * Q
    assert two.write(5, bytes(2 * Q)) == Q - 5
    with failing(errno.ENOSPC):
        two.write(Q, b"x")
    assert budget.used == 3 * Q == budget.max_bytes
    one.close()
    assert budget.used == Q
    assert two.write(Q, b"x") == 1


def test_a_geometry_that_cannot_be_is_einval(store: Store) -> None:
    store.write(0, b"kept")
    for quantum, qset in ((0, 1), (1, 0), (64 * MIB + 1, 1)):
        with failing(errno.EINVAL):
            Store(Budget(MIB), quantum, qset)
        with failing(errno.EINVAL):
            store.trim(quantum, qset)
    assert store.read(0, 10) == b"kept"


def test_positions_past_the_largest_offset_are_efbig(store: Store) -> None:
    largest = 2**63 - 1
    with failing(errno.EFBIG):
        store.write(largest, b"x")
    with failing(errno.EFBIG):
        store.resize(largest + 1)
    with failing(errno.EFBIG):
        store.allocate(largest, 1)
    assert store.write(largest - 1, b"xy") == 1
    assert store.info().size == largest
    with pytest.raises(OverflowError):
        store.punch(-1, 1)


def test_allocation_is_all_or_nothing(store: Store) -> None:
    store.allocate(Q, 2 * Q, keep_size=True)
    assert (store.info().regions, store.info().size) == (2, 0)
    before = store.info()
    with failing(errno.ENOSPC):
        store.allocate(0, MIB + 1)
    assert store.info() == before
    store.allocate(0, MIB)
    assert (store.info().regions, store.info().size) == (256, MIB)


def test_data_and_holes_are_found(store: Store) -> None:
    store.write(2 * Q, b"x")
    store.resize(4 * Q)
    assert store.seek_data(0) == 2 * Q
    assert store.seek_hole(2 * Q) == 3 * Q
    assert store.seek_hole(0) == 0
    with failing(errno.ENXIO):
        store.seek_data(3 * Q)
    with failing(errno.ENXIO):
        store.seek_hole(4 * Q)


def test_quanta_are_listed_in_order(store: Store) -> None:
    for number in (7, 1, 2**40):
        store.write(number * Q, b"x")
    assert list(store.quanta()) == [(1, Q), (7, 0), (2**40, 2 * Q)]
    assert store.next_quantum(8) == (2**40, 2 * Q)
    assert store.next_quantum(2**40 + 1) is None


def test_a_trim_gives_memory_back_to_the_system() -> None:
    store = Store(Budget(128 * MIB), 65536, 500)
    block = os.urandom(MIB)
    for at in range(64):
        store.write(at * MIB, block)
    full = resident()
    store.trim(65536, 500)
    # For a second or two all stays warm, 8 MiB for longer; the rest is slack for Python itself.
    deadline = time.monotonic() + 60
    while resident() >= full - 50 * MIB and time.monotonic() < deadline:
        time.sleep(0.05)
    assert resident() < full - 50 * MIB


def test_an_open_handle_keeps_a_closed_store_alive(store: Store) -> None:
    store.write(0, b"x")
    handle = lib.handle_new(store.pointer, False)
    store.close()
    gc.collect()
    assert lib.handle_seek(handle, 0, os.SEEK_END) == 1
    lib.handle_free(handle)


def test_threads_write_side_by_side(store: Store) -> None:
    def write(number: int) -> None:
        for turn in range(50):
            store.write(number * 3000, bytes([number + 1]) * 3000)
            assert store.read(number * 3000, 3000) == bytes([number + 1]) * 3000, turn

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(0, MIB) == b"".join(bytes([n + 1]) * 3000 for n in range(8))


def test_a_negative_result_becomes_an_oserror_with_its_errno() -> None:
    assert check(7) == 7
    with failing(errno.ENOSPC) as raised:
        check(-errno.ENOSPC, "/dev/scullv")
    assert raised.value.filename == "/dev/scullv"
