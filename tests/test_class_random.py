"""The class random: drivers/char/random.c over the fake kernel, and by dd, rngtest and Python on a
real node."""

from __future__ import annotations

import asyncio
import errno
import os
import random as stdlib
import select
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headers
from cuse_scullv import cuse
from cuse_scullv.classes import random
from cuse_scullv.cuse.testing import BAD, FakeKernel
from nodes import number, pointer, until
from shell import out, run
from test_class_watchdog import refused

NAME = "cuserandom"
Serve = Callable[..., FakeKernel]


class Source(random.Generator):
    """Counts, and notes what it is told."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(NAME, **settings)
        self.mixed = b""
        self.reseeds = 0
        self.is_admin = True

    def bytes(self, n: int) -> Any:
        return (bytes(range(256)) * (n // 256 + 1))[:n]

    def mix(self, data: memoryview) -> Any:
        self.mixed += bytes(data)

    def reseed(self) -> Any:
        self.reseeds += 1

    def permits(self, file: cuse.File, capability: int) -> bool:
        return self.is_admin


class AsyncSource(Source):
    async def bytes(self, n: int) -> Any:
        await asyncio.sleep(0)
        return super().bytes(n)

    async def mix(self, data: memoryview) -> None:
        await asyncio.sleep(0)
        super().mix(data)

    async def reseed(self) -> None:
        super().reseed()


both = pytest.mark.parametrize("kind", [Source, AsyncSource])


def pool(bits: int, data: bytes, size: int | None = None) -> bytes:
    """struct rand_pool_info."""
    return struct.pack("=ii", bits, len(data) if size is None else size) + data


@pytest.mark.parametrize("width", headers.WIDTHS)
def test_numbers_and_layouts_are_the_header_s(width: str) -> None:
    commands = {f"RND{name}": int(value) for name, value in vars(random).items()
                if isinstance(value, cuse.Command)}  # fmt: skip
    ours = commands | {
        "sizeof(struct rand_pool_info)": 8,
        "offsetof(struct rand_pool_info, buf)": 8,
    }
    assert len(commands) == 6
    headers.check(["linux/random.h"], ours, width)


@both
def test_bytes_come_and_go(cuse_device: Serve, kind: type[Source]) -> None:
    source = kind()
    file = cuse_device(source).open()
    assert file.read(5) == b"\0\1\2\3\4"
    assert len(file.read(300_000)) == 300_000
    assert file.write(b"m" * 200_000) == 200_000
    assert source.mixed == b"m" * 200_000
    assert file.poll() == select.POLLIN
    assert number(file.ioctl(random.GETENTCNT, b"")) == 256


@both
def test_readers_wait_for_entropy(cuse_device: Serve, kind: type[Source]) -> None:
    source = kind(entropy=0)
    kernel = cuse_device(source)
    file = kernel.open()
    other = kernel.open(os.O_RDWR | os.O_NONBLOCK)
    assert refused(other.read, 1) == errno.EAGAIN
    assert other.poll() == select.POLLOUT
    assert refused(file.ioctl, random.RESEEDCRNG) == errno.ENODATA
    interrupted = kernel.start(file.read, 2)
    interrupted.interrupt()
    with pytest.raises(InterruptedError):
        interrupted.result()
    waiting, polling = kernel.start(file.read, 2), kernel.start(other.poll, select.POLLIN, 20)
    file.write(b"no entropy is credited for what is only written")
    file.ioctl(random.ADDENTROPY, kernel.memory.alloc(pool(200, b"entropy")))
    assert number(file.ioctl(random.GETENTCNT, b"")) == 200
    assert source.mixed.endswith(b"writtenentropy")
    assert not waiting.wait(0.05)
    file.ioctl(random.ADDTOENTCNT, pointer(1000))
    assert waiting.result() == b"\0\1"
    assert polling.result() == select.POLLIN
    assert number(file.ioctl(random.GETENTCNT, b"")) == 256
    file.ioctl(random.RESEEDCRNG)
    assert source.reseeds == 1
    for command in (random.ZAPENTCNT, random.CLEARPOOL):
        file.ioctl(command)  # which have no effect any more
    assert source.entropy == 256


def test_what_cannot_be_added(cuse_device: Serve) -> None:
    source = Source(entropy=0)
    kernel = cuse_device(source)
    file = kernel.open()
    assert refused(file.ioctl, random.ADDTOENTCNT, pointer(-1)) == errno.EINVAL
    for content, code in (
        (pool(-1, b"x"), errno.EINVAL),
        (pool(1, b"x", size=-1), errno.EFAULT),
        (pool(1, b"x", size=2), errno.EFAULT),  # the client has only one
        (b"short", errno.EFAULT),
    ):
        assert refused(file.ioctl, random.ADDENTROPY, kernel.memory.alloc(content)) == code
    assert refused(file.ioctl, random.ADDENTROPY, BAD) == errno.EFAULT
    assert (source.entropy, source.mixed) == (0, b"")
    for command in (cuse.IOR("R", 2, 8), cuse.IO("R", 9), 0x5401):  # RNDGETPOOL, none, TCGETS
        assert refused(file.ioctl, command) == errno.EINVAL


def test_who_is_no_administrator_gets_eperm(cuse_device: Serve) -> None:
    source = Source(entropy=0)
    source.is_admin = False
    kernel = cuse_device(source)
    file = kernel.open()
    assert number(file.ioctl(random.GETENTCNT, b"")) == 0
    assert refused(file.ioctl, random.ADDTOENTCNT, pointer(1)) == errno.EPERM
    for command in (random.ADDENTROPY, random.ZAPENTCNT, random.CLEARPOOL, random.RESEEDCRNG):
        assert refused(file.ioctl, command) == errno.EPERM


def test_entropy_that_cannot_be_is_a_sentence() -> None:
    with pytest.raises(cuse.DeviceError, match="cannot have 257 bits of entropy: take 0 to 256"):
        Source(entropy=257)


def test_entropy_is_not_taken_away() -> None:
    with pytest.raises(ValueError, match="-1 bits of entropy cannot be credited"):
        Source(entropy=1).credit(-1)


def test_without_bytes_it_is_none() -> None:
    class Silent(random.Generator):
        pass

    with pytest.raises(TypeError, match=r"Silent has no bytes\(\): define `def bytes\(self, n\)`"):
        Silent(NAME)


class Twister(random.Generator):
    def __init__(self) -> None:
        super().__init__(NAME, entropy=0, mode=0o666)
        self.random = stdlib.Random(7)

    def bytes(self, n: int) -> bytes:
        return self.random.randbytes(n)


READER = """
import fcntl, os, random, sys
class Node(random.SystemRandom):
    def getrandbits(self, k):
        return int.from_bytes(file.read((k + 7) // 8)) >> (-k % 8)
with open(sys.argv[1], "r+b", buffering=0) as file:
    fcntl.ioctl(file, 0x40045201, (256).to_bytes(4, sys.byteorder))  # RNDADDTOENTCNT
    node = Node()
    rolls = [node.randint(1, 6) for _ in range(60)]
    print(set(rolls) == {1, 2, 3, 4, 5, 6}, file.write(b"mixed in"))
    os.setuid(65534)
    try:
        fcntl.ioctl(file, 0x5204)  # RNDZAPENTCNT
    except PermissionError as error:
        print(error.errno)
"""


@pytest.mark.real
def test_dd_rngtest_and_python(tmp_path: Path) -> None:
    node, drawn = f"/dev/{NAME}", tmp_path / "drawn"
    dd = ("dd", f"if={node}", f"of={drawn}", "bs=5000", "count=41", "iflag=fullblock")
    with cuse.Channel(Twister()):
        assert os.strerror(errno.EAGAIN).encode() in run(*dd, "iflag=nonblock").stderr
        with subprocess.Popen(dd, stderr=subprocess.DEVNULL) as waiting:
            until(lambda: Path(f"/sys/class/cuse/{NAME}/waiting").read_text() != "0\n")
            assert out(sys.executable, "-c", READER, node) == b"True 8\n1\n"
        assert waiting.returncode == 0
    data = drawn.read_bytes()
    assert len(data) == 41 * 5000
    # 32 bits at first, then blocks of 20,000: of a thousand good ones one may fail, here none.
    tested = run("rngtest", stdin=data).stderr
    assert b"FIPS 140-2 successes: 81" in tested
    assert b"FIPS 140-2 failures: 0" in tested
