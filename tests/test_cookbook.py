"""docs/cookbook.md: each recipe does what it says, over the fake kernel."""

from __future__ import annotations

import errno
import os
import re
import select
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeFile, FakeKernel

DOC = Path(__file__).parent.parent / "docs/cookbook.md"
TEXT = DOC.read_text(encoding="utf-8")
pytestmark = pytest.mark.fake
Serve = Callable[..., FakeKernel]


@pytest.fixture(scope="module")
def code() -> dict[str, Any]:
    """All code of the page, run in order, as one module."""
    module: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, str(DOC), "exec"), module)
    return module


def whole(file: FakeFile) -> bytes:
    """As cat reads it."""
    return b"".join(iter(lambda: file.read(5), b""))


def raises(code: int) -> Any:
    return pytest.raises(OSError, match=re.escape(f"[Errno {code}]"))


def test_each_recipe_is_listed_and_tested() -> None:
    found = re.findall(r"^## (.*)", TEXT, re.MULTILINE)
    listed = re.findall(r"^- \[(.*)\]\(#", TEXT, re.MULTILINE)
    assert found == listed
    classes = set(re.findall(r"^(?:class|def) (\w+)", TEXT, re.MULTILINE))
    assert len(classes) == len(found)
    here = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in classes if f'code["{name}"]' in here} == classes


def test_text(code: dict[str, Any], cuse_device: Serve) -> None:
    kernel = cuse_device(code["Uptime"]("uptime"))
    assert re.fullmatch(rb"up \d+ s\n", whole(kernel.open()))


def test_switch(code: dict[str, Any], cuse_device: Serve) -> None:
    kernel = cuse_device(code["Switch"]("switch"))
    assert whole(kernel.open()) == b"off\n"
    assert kernel.open().write(b"on\n") == 3
    assert whole(kernel.open()) == b"on\n"
    with raises(errno.EINVAL):
        kernel.open().write(b"perhaps\xff")


def test_lines(code: dict[str, Any], cuse_device: Serve) -> None:
    device = code["Log"]("log")
    kernel = cuse_device(device)
    with kernel.open() as one, kernel.open() as other:
        one.write(b"fi")
        other.write(b"second\nthird\n")
        one.write(b"rst\nno newline")
    assert device.lines == [b"second", b"third", b"first", b"no newline"]


def test_exclusive(code: dict[str, Any], cuse_device: Serve) -> None:
    kernel = cuse_device(code["Exclusive"]("exclusive"))
    for _ in range(2):
        with kernel.open(), raises(errno.EBUSY):
            kernel.open()


def test_in_turn(code: dict[str, Any], cuse_device: Serve) -> None:
    kernel = cuse_device(code["InTurn"]("in-turn"))
    first = kernel.open()
    with raises(errno.EAGAIN):
        kernel.open(os.O_RDWR | os.O_NONBLOCK)
    interrupted, waiting = kernel.start(kernel.open), kernel.start(kernel.open)
    interrupted.interrupt()
    with raises(errno.EINTR):
        interrupted.result()
    assert not waiting.wait(0.05)
    first.close()
    waiting.result().close()


def test_notice(code: dict[str, Any], cuse_device: Serve) -> None:
    kernel = cuse_device(code["Notice"]("notice", 1000))
    kernel.uid = 1000
    kernel.open().write(b"news\n")
    kernel.uid = 1001
    assert whole(kernel.open(os.O_RDONLY)) == b"news\n"
    with raises(errno.EACCES):
        kernel.open(os.O_WRONLY)


def test_broadcast(code: dict[str, Any], cuse_device: Serve) -> None:
    kernel = cuse_device(code["Broadcast"]("broadcast"))
    readers = [kernel.open(os.O_RDONLY) for _ in range(2)]
    call = kernel.start(readers[0].read, 100)
    call.wait_sent()
    kernel.open(os.O_WRONLY).write(b"hello")
    assert call.result() == readers[1].read(100) == b"hello"
    assert readers[1].poll(select.POLLIN) == 0
    readers[1].flags |= os.O_NONBLOCK
    with raises(errno.EAGAIN):
        readers[1].read(1)


@pytest.mark.logs_errors
def test_slow(code: dict[str, Any], cuse_device: Serve) -> None:
    assert cuse_device(code["Slow"]("slow", 0.01)).open().read(99) == b"at last\n"
    device = code["Slow"]("slower", 60)
    device.timeout = 0.5
    with raises(errno.ETIMEDOUT):
        cuse_device(device).open().read(99)


def test_faulty(code: dict[str, Any], cuse_device: Serve) -> None:
    file = cuse_device(code["Faulty"]("faulty", bytes(range(20)), 3)).open()
    assert file.read(20) == bytes(range(7))
    assert file.read(20) == bytes(range(7, 14))
    with raises(errno.EIO):
        file.read(20)
    assert file.read(20) == bytes(range(14, 20))


def test_proxy(code: dict[str, Any], cuse_device: Serve) -> None:
    """Of a device with all that, a pty's far end."""
    near, far = os.openpty()
    device = code["Proxy"]("proxy", os.ttyname(far))
    kernel = cuse_device(device)
    with kernel.open(os.O_RDWR | os.O_NOCTTY) as file:
        assert file.write(b"to it") == 5
        assert os.read(near, 5) == b"to it"
        os.write(near, b"back\n")
        assert file.read(100) == b"back\n"
        ptn = 0x80045430  # TIOCGPTN: _IOR('T', 0x30, unsigned int), which a far end has not
        with raises(errno.ENOTTY):
            file.ioctl(ptn, bytes(4))
        settings = cuse.IOR("T", 0x2A, 44)  # TCGETS2
        got = file.ioctl(settings, bytes(44)).data
        # c_lflag; to c_cflag, glibc 2.42 adds the speed of input
        assert int.from_bytes(got[12:16], "little") == termios.tcgetattr(far)[3] != 0
    assert [entry[0] for entry in device.record] == ["write", "read", "ioctl"]
    os.close(near)
    os.close(far)


def test_button(code: dict[str, Any], cuse_device: Serve) -> None:
    device = code["Button"]("button")
    kernel = cuse_device(device)
    file = kernel.open(os.O_RDONLY)
    with raises(errno.EAGAIN):
        file.read(9)
    call = kernel.start(file.poll, select.POLLIN, 30)
    call.wait_sent()
    device.press()
    assert call.result() == select.POLLIN
    assert file.read(9) == b"1\n"


def test_lamps(code: dict[str, Any], cuse_device: Serve) -> None:
    devices = code["lamps"](2)
    assert [device.name for device in devices] == ["lamps/0", "lamps/1"]
    one, other = map(cuse_device, devices)
    one.open().write(b"on")
    assert (whole(one.open()), whole(other.open())) == (b"on\n", b"off\n")
