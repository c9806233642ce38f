"""The client: a file-like object on a node, and on a file of a file view."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client
from cuse_scullv.params import PAGE_SIZE
from nodes import RealPool, RealServer
from views import served


@pytest.fixture(
    params=[
        pytest.param("node", marks=pytest.mark.real),
        pytest.param("file view", marks=pytest.mark.mount),
    ]
)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty device of order 0, as a node and as a file."""
    if request.param == "node":
        pool: RealPool = request.getfixturevalue("real_pool")
        yield pool.get(order=0).path
        return
    with served(tmp_path, "--order", "0", "--max-bytes", "1G") as server:
        yield server.files[0]


def test_it_is_a_raw_file(path: Path) -> None:
    with client.open(path, "r+") as device:
        assert isinstance(device, io.RawIOBase)
        assert (device.readable(), device.writable(), device.seekable()) == (True, True, True)
        assert device.write(b"hello world") == 11
        assert device.tell() == 11
        assert device.seek(6) == 6
        assert device.read(5) == b"world"
        assert device.read(5) == b""
        assert device.seek(-5, os.SEEK_END) == 6
        assert device.readall() == b"world"
        room = bytearray(3)
        device.seek(0)
        assert device.readinto(room) == 3
        assert room == b"hel"
        assert device.name == path
    assert device.closed
    with pytest.raises(ValueError, match="closed"):
        device.fileno()
    device.close()


def test_it_can_be_buffered(path: Path) -> None:
    with io.BufferedRandom(client.open(path, "r+")) as device:
        for number in range(1000):
            device.write(number.to_bytes(4, "big"))
        device.seek(4 * 500)
        assert device.read(4) == (500).to_bytes(4, "big")
        device.seek(4 * 7)
        device.write(b"seven")
        device.seek(0)
        content = device.read()
    assert len(content) == 4000
    assert content[28:33] == b"seven"
    assert path.read_bytes()[:40] == content[:40]


def test_modes_are_those_of_open(path: Path) -> None:
    with client.open(path, "w") as device:
        assert (device.readable(), device.writable()) == (False, True)
        device.write(b"abc")
    with client.open(path) as device:
        assert (device.readable(), device.writable()) == (True, False)
        assert device.read(9) == b"abc"
    with client.open(path, "ab") as device:
        device.write(b"def")
    with client.open(path, "rb+") as device:
        device.write(b"A")
        assert path.read_bytes() == b"Abcdef"
    with client.open(path, "w+") as device:
        assert device.read(9) == b""
        assert device.info().size == 0


def test_holes_can_be_made_and_found(path: Path) -> None:
    with client.open(path, "r+") as device:
        device.write(b"x" * (8 * PAGE_SIZE))
        device.punch(2 * PAGE_SIZE, 3 * PAGE_SIZE)
        assert device.info().regions == 5
        assert device.seek(0, os.SEEK_HOLE) == 2 * PAGE_SIZE
        assert device.seek(2 * PAGE_SIZE, os.SEEK_DATA) == 5 * PAGE_SIZE
        device.seek(2 * PAGE_SIZE - 1)
        assert device.read(3) == b"x\0\0"


def test_parameters_are_got_set_reset_and_adopted(path: Path) -> None:
    with client.open(path, "r+") as device:
        assert [device.get(name) for name in client.PARAMETERS] == [0, PAGE_SIZE, 500]
        device.set("order", 3)
        device.set("qset", 12)
        assert device.get("quantum") == 8 * PAGE_SIZE
        assert device.info().quantum == PAGE_SIZE
        device.trim()
        state = device.info()
        assert (state.quantum, state.qset) == (8 * PAGE_SIZE, 12)
        device.set("quantum", 1000)
        assert device.get("order") == 0
        device.reset()
        assert [device.get(name) for name in client.PARAMETERS] == [4, 16 * PAGE_SIZE, 500]


def test_values_that_no_device_can_have_are_valueerror(path: Path) -> None:
    with client.open(path, "r+") as device:
        for name, value in (("order", 99), ("qset", 0), ("quantum", -1), ("size", 1)):
            with pytest.raises(ValueError, match=name):
                device.set(name, value)
        with pytest.raises(ValueError, match="size"):
            device.get("size")
        with pytest.raises(ValueError, match="punch"):
            device.punch(0, 0)
        assert device.get("order") == 0


def test_the_text_is_whole(path: Path) -> None:
    with client.open(path, "r+") as device:
        device.write(bytes(300 * PAGE_SIZE))
        lines = device.text().splitlines()
        assert lines[1] == f"Device 0: qset 500, order 0, sz {300 * PAGE_SIZE}"
        assert len(lines) == 3 + 300


def test_seeking_nowhere_is_an_error(path: Path) -> None:
    with client.open(path, "r+") as device:
        with pytest.raises(OSError) as caught:
            device.seek(-1)
        assert caught.value.errno == errno.EINVAL
        assert device.tell() == 0


@pytest.mark.real
def test_a_node_cannot_be_truncated(node: RealServer) -> None:
    with client.open(node.path, "r+") as device:
        device.write(b"abc")
        with pytest.raises(io.UnsupportedOperation, match="trim"):
            device.truncate(0)
        assert device.info().size == 3


@pytest.mark.mount
def test_a_file_of_a_view_can_be_truncated(tmp_path: Path) -> None:
    with (
        served(tmp_path, "--max-bytes", "1G") as server,
        client.open(server.files[0], "r+") as device,
    ):
        device.write(b"abcdef")
        assert device.truncate(2) == 2
        device.seek(0)
        assert device.read(9) == b"ab"
        assert device.truncate() == 2


@pytest.mark.real
def test_by_the_book_s_rules_parameters_go_by_the_family_that_answers(real_pool: RealPool) -> None:
    with client.open(real_pool.get(ldd3=True).path, "r+") as device:
        device.set("quantum", 2 * PAGE_SIZE)
        assert device.get("order") == 1
        with pytest.raises(ValueError, match="power of two"):
            device.set("quantum", 5000)
        device.reset()
        assert device.get("order") == 4
    with client.open(real_pool.get(ldd3=True, preset="scull").path, "r+") as device:
        device.set("order", 1)
        device.set("qset", 3)
        assert (device.get("quantum"), device.get("qset")) == (2 * PAGE_SIZE, 3)
        device.reset()
        assert device.get("quantum") == 4000


def test_what_is_no_scullv_device_is_enotty(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), tmp_path / "file"):
        if path.parent == tmp_path:
            path.touch()
        with client.open(path, "r+") as device, pytest.raises(OSError) as caught:
            device.info()
        assert caught.value.errno == errno.ENOTTY
        assert caught.value.filename == path


def test_a_bad_mode_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    for mode in ("", "rt", "x", "rw", "bb", "U"):
        with pytest.raises(ValueError, match="mode"):
            client.open("/dev/null", mode)
    with pytest.raises(FileNotFoundError):
        client.open(tmp_path / "nothing", "w")


def test_a_plain_file_works_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with client.open(path, "r+") as file:
        assert file.seek(4) == 4
        assert file.read(2) == b"45"
        assert file.truncate(5) == 5


@pytest.mark.real
@pytest.mark.parametrize("ldd3", [True, False])
def test_scullcs_quantum_is_set_whatever_it_is_called(real_pool: RealPool, ldd3: bool) -> None:
    server = real_pool.get(ldd3=ldd3, preset="scullc")
    with client.open(server.paths[0], "r+") as device:
        for parameter, value, quantum in [("quantum", 100, 100), ("order", 1, 8192)]:
            device.set(parameter, value)
            assert device.get("quantum") == quantum
        device.set("qset", 7)
        assert device.get("qset") == 7
        device.reset()
        assert (device.get("quantum"), device.get("qset")) == (4000, 500)
