"""What the book's real modules returned, operation by operation, is what `--ldd3` returns."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

import book
from cuse_scullv.cuse.testing import BAD, FakeFile
from cuse_scullv.ioctl import NUMBERS
from cuse_scullv.params import PAGE_SIZE
from nodes import RealServer, Serve, seek
from oracle import DATA, Opener, load, nodes, play_all

RECORDED_PAGE_SIZE = 4096
# The recording, the preset that is its module, and how many scripts it has.
RECORDINGS = [
    ("scull", "scull", 60),
    ("scullc", "scullc", 60),
    ("scullp", "scullp", 40),
    ("scullv", "scullv", 160),
    ("scullv-seek", "scullv", 50),
]

pytestmark = pytest.mark.skipif(
    PAGE_SIZE != RECORDED_PAGE_SIZE, reason="the recordings are of pages of 4 KiB"
)


class FakeNodeFile:
    """An open file of the fake kernel, in the shape that the scripts are played on."""

    def __init__(self, file: FakeFile) -> None:
        self._file = file
        self.read = file.read
        self.close = file.close

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def read_bad(self, length: int) -> int:
        if self._file.flags & os.O_ACCMODE == os.O_WRONLY:
            return len(self._file.read(length))  # EBADF comes first
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def write_bad(self, length: int) -> int:
        return self._file.write(BAD)

    def ioctl_pointer(self, cmd: int, data: bytearray) -> int:
        memory = self._file.kernel.memory
        address = memory.alloc(bytes(data))
        result = self._file.ioctl(cmd, address).result
        data[:] = memory.read(address, len(data))
        return result

    def ioctl_value(self, cmd: int, arg: int) -> int:
        return self._file.ioctl(cmd, arg).result


def opener_of(served: Any) -> Opener:
    """Opens what `serve` serves, on a real node or on a fake kernel."""
    if isinstance(served, RealServer):
        return nodes(*map(str, served.paths))
    return lambda index, flags: FakeNodeFile(served.open(flags, index))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("name", "preset", "scripts"), RECORDINGS, ids=[name for name, _, _ in RECORDINGS]
)
def test_every_recorded_script_gives_the_recorded_results(
    name: str, preset: str, scripts: int, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The scripts were recorded by root; the fake kernel's client may be anybody.
    monkeypatch.setattr("cuse_scullv.device.has_sys_admin", lambda _pid: True)
    served = serve(devices=2, ldd3=True, preset=preset)
    played, differences = play_all(load(DATA / f"{name}.jsonl.gz"), opener_of(served))
    assert "\n".join(map(str, differences)) == ""
    assert played == scripts


@pytest.mark.parametrize(
    ("name", "preset", "scripts"), RECORDINGS, ids=[name for name, _, _ in RECORDINGS]
)
def test_the_model_of_the_book_gives_the_recorded_results(
    name: str, preset: str, scripts: int
) -> None:
    played, differences = play_all(load(DATA / f"{name}.jsonl.gz"), book.opener(preset))
    assert "\n".join(map(str, differences)) == ""
    assert played == scripts


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("preset", "seeks"), [(name, name.endswith("v")) for name in book.KINDS] + [("scullv", False)]
)
def test_further_scripts_give_what_the_model_says(
    preset: str, seeks: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUSE_SCULLV_SCRIPTS: how many of each."""
    monkeypatch.setattr("cuse_scullv.device.has_sys_admin", lambda _pid: True)
    served = serve(devices=2, ldd3=True, preset=preset)
    count = int(os.environ.get("CUSE_SCULLV_SCRIPTS", "40"))
    scripts = book.scripts(preset, first_seed=1_000_000, count=count, seeks=seeks)
    played, differences = play_all(scripts, opener_of(served))
    assert "\n".join(map(str, differences)) == ""
    assert played == count


def test_a_differing_operation_is_reported_with_seed_place_and_both_results(serve: Serve) -> None:
    script = next(load(DATA / "scullv.jsonl.gz"))
    place = next(i for i, op in enumerate(script["ops"]) if op["op"] == "write")
    script["results"][place] = {"ret": 12345678}
    opener = opener_of(serve(devices=2, ldd3=True))
    _, differences = play_all([script], opener)
    assert [(d.seed, d.position) for d in differences] == [(script["seed"], place)]
    text = str(differences[0])
    assert f"seed {script['seed']} op {place}: " in text
    assert "12345678" in text


@pytest.mark.parametrize("order", [5, 6, 7])
def test_a_transfer_of_several_requests_ends_at_its_quantums_end_too(
    serve: Serve, order: int
) -> None:
    """The kernel cuts a system call into requests of 128 KiB, and goes on after a full one."""
    quantum = PAGE_SIZE << order
    data = os.urandom(3 * quantum)
    served = serve(devices=2, ldd3=True)
    with served.open(os.O_RDWR) as file:
        file.ioctl(NUMBERS["SCULLV_IOCTORDER"], order)
        served.open(os.O_WRONLY).close()
        assert file.write(data[: 2 * quantum + 5]) == quantum
        assert file.write(data[quantum:]) == quantum
        assert file.write(data[2 * quantum :]) == quantum
        seek(file, 0)
        assert file.read(3 * quantum) == data[:quantum]
        assert file.read(quantum) == data[quantum : 2 * quantum]
        seek(file, quantum - 5)
        assert file.read(3 * quantum) == data[quantum - 5 : quantum]
        assert file.read(3 * quantum) == data[quantum : 2 * quantum]


def test_a_position_that_overflows_is_refused_as_the_books_llseek_does(serve: Serve) -> None:
    with serve(devices=2, ldd3=True).open(os.O_RDWR) as file:
        seek(file, 2**63 - 1)
        for offset, whence in [(1, os.SEEK_CUR), (-1, os.SEEK_SET), (0, 9)]:
            with pytest.raises(OSError) as caught:
                seek(file, offset, whence)
            assert caught.value.errno == errno.EINVAL
        assert seek(file, 0, os.SEEK_CUR) == 2**63 - 1
