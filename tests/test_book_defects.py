"""The defects of the book's module that are not inherited, by the book's rules and by ours.

docs/ldd3.md tells them in the same order."""

from __future__ import annotations

import errno
import mmap
import os
import struct

import pytest

from cuse_scullv.cuse.testing import BAD
from cuse_scullv.ioctl import NUMBERS
from nodes import RealPool, Serve, Served, info, number, pointer, seek


@pytest.fixture(scope="module", params=[True, False], ids=["ldd3", "default"])
def ldd3(request: pytest.FixtureRequest) -> bool:
    """By both rules. Of the module, so that each real server is started once."""
    return bool(request.param)


def adopt(served: Served, order: int, qset: int) -> None:
    """Trims the device to this geometry."""
    with served.open(os.O_RDWR) as file:
        file.ioctl(NUMBERS["SCULLV_IOCTORDER"], order)
        file.ioctl(NUMBERS["SCULLV_IOCTQSET"], qset)
    served.open(os.O_WRONLY).close()


@pytest.mark.parametrize("order", [0, 4])
def test_writing_goes_on_past_the_first_list_item(serve: Serve, order: int, ldd3: bool) -> None:
    served = serve(ldd3=ldd3)
    adopt(served, order, 500)
    quantum = 4096 << order
    item = quantum * 500
    with served.open(os.O_RDWR) as file:
        for position in (item - quantum, item, item + quantum, 3 * item):
            data = struct.pack("<Q", position) * (quantum // 8)
            seek(file, position)
            assert file.write(data) == quantum
            seek(file, position)
            assert file.read(quantum) == data
        assert info(file).size == 3 * item + quantum
        state = info(file)
        # Of a memfd the kernel may have made zeros of what is next to a write.
        loose = state.backing == "memfd" and not ldd3
        assert state.regions == 4 or (loose and 4 < state.regions <= 8)


@pytest.mark.parametrize("name", ["SORDER", "XORDER", "SQSET", "XQSET"])
def test_a_bad_pointer_changes_no_parameter(serve: Serve, name: str, ldd3: bool) -> None:
    served = serve(ldd3=ldd3)
    with served.open(os.O_RDWR) as file:
        with pytest.raises(OSError) as caught:
            file.ioctl(NUMBERS[f"SCULLV_IOC{name}"], BAD)
        assert caught.value.errno == errno.EFAULT
        assert number(file.ioctl(NUMBERS["SCULLV_IOCGORDER"], pointer(-7))) == 4
        assert number(file.ioctl(NUMBERS["SCULLV_IOCGQSET"], pointer(-7))) == 500
        served.open(os.O_WRONLY).close()
        assert file.write(b"still there") == 11


@pytest.mark.parametrize(
    ("name", "value"), [("TQSET", 0), ("TQSET", -1), ("TORDER", -1), ("TORDER", 64)]
)
def test_values_that_no_device_can_have_are_refused(
    serve: Serve, name: str, value: int, ldd3: bool
) -> None:
    served = serve(ldd3=ldd3)
    with served.open(os.O_RDWR) as file:
        with pytest.raises(OSError) as caught:
            file.ioctl(NUMBERS[f"SCULLV_IOC{name}"], value)
        assert caught.value.errno == errno.EINVAL
        served.open(os.O_WRONLY).close()
        assert file.write(b"still there") == 11
        assert (info(file).order, info(file).qset) == (4, 500)


@pytest.mark.real
def test_the_node_maps_no_wrong_pages_because_it_maps_none(real_pool: RealPool, ldd3: bool) -> None:
    with real_pool.get(ldd3=ldd3).open(os.O_RDWR) as file:
        file.write(b"x")
        with pytest.raises(OSError) as caught:
            mmap.mmap(file.fd, mmap.PAGESIZE)
        assert caught.value.errno == errno.ENODEV


def test_a_far_position_costs_no_walk_of_the_sets_before_it(serve_far: Serve, ldd3: bool) -> None:
    """2^50 sets lie before this one: a list of them fits no machine and no time limit."""
    served = serve_far(ldd3=ldd3)
    adopt(served, 0, 1)
    with served.open(os.O_RDWR) as file:
        seek(file, 1 << 62)
        assert file.write(b"far") == 3
        seek(file, 1 << 62)
        assert file.read(3) == b"far"
        assert info(file).regions == 1
        assert info(file).index_bytes < 1 << 16


def test_scullc_transfers_and_its_quantum_can_be_raised(serve: Serve, ldd3: bool) -> None:
    """scullc's module is a BUG at its first transfer, and past the end of a slab object once its
    quantum is raised."""
    served = serve(ldd3=ldd3, preset="scullc")
    data = os.urandom(5 * 4000)
    with served.open(os.O_RDWR) as file:
        assert file.write(data[:4000]) == 4000
        assert number(file.ioctl(NUMBERS["SCULLV_IOCGORDER"], pointer(-7))) == 4000
        file.ioctl(NUMBERS["SCULLV_IOCTORDER"], 5 * 4000)
        served.open(os.O_WRONLY).close()
        seek(file, 0)
        for _ in range(3):
            assert file.write(data) == len(data)
        seek(file, 0)
        for _ in range(3):
            assert file.read(len(data)) == data
        assert info(file).quantum == 5 * 4000
