"""ioctls that a device declares, and raw ones: typed arguments, pointers, 32-bit clients."""

from __future__ import annotations

import ctypes
import errno
import logging
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import IO, IOR, IOW, IOWR, IoctlReply, IoctlRequest
from cuse_scullv.cuse.testing import BAD, FakeFile, FakeKernel

NAME = "cuseioctl"
Serve = Callable[..., FakeKernel]


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int32), ("y", ctypes.c_int32)]


TRIPLE = struct.Struct("<hhh")

NOTHING = IO("t", 0)
ADD = IO("t", 1)
GET_POINT = IOR("t", 2, Point)
SET_POINT = IOW("t", 3, Point)
SWAP = IOWR("t", 4, Point)
MIRROR = IOWR("t", 5, Point)
GET_INT = IOR("t", 6, ctypes.c_int16)
SET_INT = IOW("t", 6, ctypes.c_int16)
TRIPLES = IOWR("t", 7, TRIPLE)
FORMAT = IOWR("t", 8, "=Q")
BYTES = IOWR("t", 9, 5)
RAW = IOWR("t", 10, 8)
ARRAY = IOR("t", 11, ctypes.c_uint8 * 3)
RESULT = IOR("t", 12, "i")


class Typed(cuse.Device):
    def __init__(self, **settings: Any) -> None:
        super().__init__(NAME, **settings)
        self.point = Point(1, 2)
        self.number = 0
        self.answer: Any = None

    @cuse.ioctl(NOTHING)
    def nothing(self, file: cuse.File, arg: int) -> None:
        pass

    @cuse.ioctl(ADD)
    def add(self, file: cuse.File, arg: int) -> int:
        return arg + 1

    @cuse.ioctl(GET_POINT)
    def get_point(self, file: cuse.File) -> Point:
        return self.point

    @cuse.ioctl(SET_POINT)
    def set_point(self, file: cuse.File, point: Point) -> int:
        self.point = point
        return 7

    @cuse.ioctl(SWAP)
    def swap(self, file: cuse.File, point: Point) -> Point:
        return Point(point.y, point.x)

    @cuse.ioctl(MIRROR)
    def mirror(self, file: cuse.File, point: Point) -> None:
        point.x = -point.x

    @cuse.ioctl(GET_INT)
    def get_int(self, file: cuse.File) -> Any:
        return self.number if self.answer is None else self.answer

    @cuse.ioctl(SET_INT)
    def set_int(self, file: cuse.File, value: int) -> None:
        if value < 0:
            raise OSError(errno.ERANGE, "negative")
        self.number = value

    @cuse.ioctl(TRIPLES)
    def triples(self, file: cuse.File, values: tuple[int, int, int]) -> tuple[int, int, int]:
        a, b, c = values
        return c, b, a

    @cuse.ioctl(FORMAT)
    def format(self, file: cuse.File, value: int) -> int:
        return value + 1

    @cuse.ioctl(BYTES)
    def bytes(self, file: cuse.File, data: bytes) -> bytes:
        return data[::-1]

    @cuse.ioctl(RAW, raw=True)
    def raw(self, file: cuse.File, request: IoctlRequest) -> IoctlReply:
        assert request.cmd == RAW
        return IoctlReply(3, struct.pack("=II", len(request.data), request.compat))

    @cuse.ioctl(ARRAY)
    def array(self, file: cuse.File) -> Any:
        return (ctypes.c_uint8 * 3)(1, 2, 3)

    @cuse.ioctl(RESULT)
    def result(self, file: cuse.File) -> IoctlReply:
        return IoctlReply(5, b"four")


@pytest.fixture(params=[False, True], ids=["restricted", "unrestricted"])
def file(request: pytest.FixtureRequest, cuse_device: Serve) -> FakeFile:
    """The same in both modes: what is declared does not depend on it."""
    return cuse_device(Typed(unrestricted=request.param)).open()


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (IO("K", 0), 0x00004B00),
        (IOW("K", 1, "i"), 0x40044B01),
        (IOR("k", 255, ctypes.c_uint64), 0x80086BFF),
        (IOWR(0xEE, 1, 16), 0xC010EE01),
        (IOR("T", 0x30, ctypes.c_uint32), 0x80045430),  # TIOCGPTN
    ],
)
def test_numbers_are_the_kernels(command: int, number: int) -> None:
    assert command == number


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: IO("t", 256), ValueError),
        (lambda: IO(256, 0), ValueError),
        (lambda: IOR("t", 1, 1 << 14), ValueError),
        (lambda: IOR("t", 1, "?!"), struct.error),
        (lambda: IO("tt", 1), TypeError),
        (lambda: IO("", 1), TypeError),
        (lambda: IO(b"t", 1), TypeError),  # type: ignore[arg-type]
        (lambda: IOR("t", 1, int), TypeError),  # type: ignore[arg-type]
        (lambda: cuse.ioctl("t"), TypeError),  # type: ignore[arg-type]
        (lambda: cuse.ioctl(True), TypeError),
        (lambda: cuse.ioctl(1 << 32), ValueError),
        (lambda: cuse.ioctl(-1), ValueError),
        (lambda: cuse.ioctl(0x0705, gives=int), TypeError),  # type: ignore[arg-type]
    ],
)
def test_commands_that_cannot_be_are_refused(
    make: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: IO("SS", 1), "no ioctl magic 'SS': take one letter, or an int of 0 to 255"),
        (lambda: IOR("S", 1, int), "an ioctl's argument is no int: take a ctypes type"),  # type: ignore[arg-type]
        (lambda: cuse.ioctl(IO("S", 1), gives="i"), "takes= and gives= are for plain numbers"),
        (
            lambda: cuse.ioctl(0x40045301, gives="i"),
            "0x40045301 is of IOW and 4 bytes, takes= and gives= are of IOR and 4",
        ),
        (lambda: cuse.ioctl(0x80045301, gives="q"), "of IOR and 4 bytes, .* of IOR and 8"),
        (lambda: cuse.ioctl(1, takes="i", gives="q"), "one argument, of one type"),
    ],
)
def test_what_is_wrong_with_a_command_is_a_sentence(
    make: Callable[[], object], sentence: str
) -> None:
    with pytest.raises(TypeError, match=sentence):
        make()


class Old(cuse.Device):
    """As old headers have it: plain numbers, most of which say nothing."""

    def __init__(self, *, unrestricted: bool = True) -> None:
        super().__init__(NAME, unrestricted=unrestricted)
        self.slave = 0
        self.baud = 9600

    @cuse.ioctl(0x0703)  # I2C_SLAVE
    def set_slave(self, file: cuse.File, arg: int) -> None:
        self.slave = arg

    @cuse.ioctl(0x0705, gives=ctypes.c_ulong)  # I2C_FUNCS
    def funcs(self, file: cuse.File) -> int:
        return 0x0EFF0008

    @cuse.ioctl(0x5402, takes="=I")
    def set_baud(self, file: cuse.File, value: int) -> None:
        self.baud = value

    @cuse.ioctl(0x5455, takes=Point, gives=Point)
    def mirror(self, file: cuse.File, point: Point) -> None:
        point.x = -point.x

    @cuse.ioctl(0x8004540F, gives="=i")  # TIOCGPGRP, had it said so
    def foreground(self, file: cuse.File) -> int:
        return 7

    @cuse.ioctl(0xC0035460)
    def bytes(self, file: cuse.File, data: bytes) -> bytes:
        return data[::-1]

    @cuse.ioctl(0x5470, raw=True)
    def raw(self, file: cuse.File, request: IoctlRequest) -> int:
        return request.cmd


def test_plain_numbers_of_old_headers_are_commands(cuse_device: Serve) -> None:
    device = Old()
    kernel = cuse_device(device)
    file = kernel.open()
    room = kernel.memory.alloc(bytes(8))
    assert file.ioctl(0x0703, 0x50) == (0, b"")
    assert device.slave == 0x50
    assert file.ioctl(0x0705, room).result == 0
    assert kernel.memory.read(room, 8) == struct.pack("@L", 0x0EFF0008)
    assert file.ioctl(0x5402, kernel.memory.alloc(struct.pack("=I", 115200))).result == 0
    assert device.baud == 115200
    point = kernel.memory.alloc(bytes(Point(1, 2)))
    assert file.ioctl(0x5455, point).result == 0
    assert kernel.memory.read(point, 8) == bytes(Point(-1, 2))
    assert file.ioctl(0x8004540F, b"") == (0, struct.pack("=i", 7))
    assert file.ioctl(0xC0035460, b"abc") == (0, b"cba")
    assert file.ioctl(0x5470, 0).result == 0x5470


def test_a_pointer_of_which_the_number_says_nothing_needs_an_unrestricted_device() -> None:
    with pytest.raises(
        cuse.DeviceError, match=r"Old\.funcs\(\) .* 0x705 .* unrestricted=True"
    ) as e:
        cuse.Channel(Old(unrestricted=False))
    assert e.value.errno == errno.EINVAL


def test_a_plain_number_is_what_io_makes() -> None:
    assert cuse.IO(7, 3) == 0x0703


def test_a_command_is_declared_once() -> None:
    with pytest.raises(TypeError, match=r"IO\(0x7400\) is declared by one\(\) and by other\(\)"):

        class Twice(cuse.Device):
            @cuse.ioctl(NOTHING)
            def one(self, file: cuse.File, arg: int) -> None: ...

            @cuse.ioctl(NOTHING)
            def other(self, file: cuse.File, arg: int) -> None: ...


def test_values_pass_by_value(file: FakeFile) -> None:
    assert file.ioctl(NOTHING, 5) == (0, b"")
    assert file.ioctl(ADD, 41) == (42, b"")


def test_structures_are_unpacked_and_packed(file: FakeFile) -> None:
    assert file.ioctl(GET_POINT, b"") == (0, bytes(Point(1, 2)))
    assert file.ioctl(SET_POINT, bytes(Point(3, 4))) == (7, b"")
    assert file.ioctl(GET_POINT, b"") == (0, bytes(Point(3, 4)))
    assert file.ioctl(SWAP, bytes(Point(5, 6))) == (0, bytes(Point(6, 5)))
    assert file.ioctl(MIRROR, bytes(Point(5, 6))) == (0, bytes(Point(-5, 6)))
    assert file.ioctl(ARRAY, b"") == (0, b"\1\2\3")


def test_simple_types_are_ints(file: FakeFile) -> None:
    assert file.ioctl(SET_INT, b"\x39\x05") == (0, b"")
    assert file.ioctl(GET_INT, b"") == (0, b"\x39\x05")
    with pytest.raises(OSError) as caught:
        file.ioctl(SET_INT, b"\xff\xff")
    assert caught.value.errno == errno.ERANGE


def test_struct_formats_are_tuples_or_their_only_item(file: FakeFile) -> None:
    assert file.ioctl(TRIPLES, TRIPLE.pack(1, 2, 3)) == (0, TRIPLE.pack(3, 2, 1))
    assert file.ioctl(FORMAT, struct.pack("=Q", 1 << 40)) == (0, struct.pack("=Q", (1 << 40) + 1))


def test_raw_bytes_and_raw_requests(file: FakeFile) -> None:
    assert file.ioctl(BYTES, b"abcde") == (0, b"edcba")
    assert file.ioctl(RESULT, b"") == (5, b"four")


def test_a_raw_request_has_the_data(cuse_device: Serve) -> None:
    file = cuse_device(Typed()).open()
    assert file.ioctl(RAW, bytes(8)) == (3, struct.pack("=II", 8, 0))


def test_32_bit_clients_are_seen(cuse_device: Serve) -> None:
    file = cuse_device(Typed()).open()
    assert file.ioctl(RAW, bytes(8), compat=True) == (3, struct.pack("=II", 8, 1))


@pytest.mark.parametrize("command", [0x1234, IOW("t", 2, Point), IOWR("t", 4, 9), 0xFFFFFFFF])
def test_commands_that_no_method_declares_are_enotty(file: FakeFile, command: int) -> None:
    with pytest.raises(OSError) as caught:
        file.ioctl(command, bytes(1 << 14))
    assert caught.value.errno == errno.ENOTTY


@pytest.mark.parametrize("command", [GET_POINT, SET_POINT, SWAP])
@pytest.mark.parametrize("pointer", [BAD, None, 4096])
def test_a_bad_pointer_is_efault(file: FakeFile, command: int, pointer: Any) -> None:
    with pytest.raises(OSError) as caught:
        file.ioctl(command, pointer)
    assert caught.value.errno == errno.EFAULT


def test_in_restricted_mode_a_bad_pointer_does_not_reach_the_device(cuse_device: Serve) -> None:
    device = Typed()
    kernel = cuse_device(device)
    file = kernel.open()
    before = kernel.requests
    with pytest.raises(OSError):
        file.ioctl(SET_POINT, BAD)
    assert kernel.requests == before
    assert device.point.x == 1


@pytest.mark.logs_errors
@pytest.mark.parametrize("answer", [1 << 15, -(1 << 15) - 1, "x", 1.5, Point(1, 2), (1, 2)])
def test_a_value_that_does_not_fit_is_eio(
    cuse_device: Serve, cuse_log: list[logging.LogRecord], answer: object
) -> None:
    device = Typed()
    device.answer = answer
    file = cuse_device(device).open()
    with pytest.raises(OSError) as caught:
        file.ioctl(GET_INT, b"")
    assert caught.value.errno == errno.EIO
    assert "get_int() raised" in cuse_log[0].getMessage()


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("type", "value"),
    [(Point, (1, 2)), (Point, None), ("=hh", 1), ("=hh", (1, 2, 3)), (5, b"four"), (5, "fiver")],
)
def test_values_of_the_wrong_type_are_eio(cuse_device: Serve, type: Any, value: object) -> None:
    class Device(cuse.Device):
        @cuse.ioctl(IOR("t", 1, type))
        def get(self, file: cuse.File) -> object:
            return value

    file = cuse_device(Device(NAME)).open()
    with pytest.raises(OSError) as caught:
        file.ioctl(IOR("t", 1, type), b"")
    assert caught.value.errno == errno.EIO


def test_a_subclass_adds_commands_and_replaces_methods(cuse_device: Serve) -> None:
    class More(Typed):
        def add(self, file: cuse.File, arg: int) -> int:
            return arg + 100

        @cuse.ioctl(IO("u", 1))
        def more(self, file: cuse.File, arg: int) -> int:
            return 1

    file = cuse_device(More()).open()
    assert file.ioctl(ADD, 1).result == 101
    assert file.ioctl(IO("u", 1)).result == 1
    assert file.ioctl(GET_POINT, b"").data == bytes(Point(1, 2))


def test_raw_and_declared_ioctls_go_together(cuse_device: Serve) -> None:
    class Both(Typed):
        def ioctl(self, file: cuse.File, request: IoctlRequest) -> Any:
            if request.cmd == 0x1234:
                return 99
            return super().ioctl(file, request)

    file = cuse_device(Both()).open()
    assert file.ioctl(0x1234).result == 99
    assert file.ioctl(ADD, 1).result == 2


# --- unrestricted ---------------------------------------------------------------------------------


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_uint64), ("len", ctypes.c_uint64)]


GATHER = IO("g", 1)  # by its number it has no memory: all is the device's to say
UPPER = IO("g", 2)


class Gather(cuse.Device):
    """Follows pointers: an ioctl whose argument is an address of (address, length) of text."""

    def __init__(self) -> None:
        super().__init__(NAME, unrestricted=True)
        self.runs = 0
        self.seen = b""

    @cuse.ioctl(GATHER, raw=True)
    def gather(self, file: cuse.File, request: IoctlRequest) -> int:
        self.runs += 1
        area = Iovec.from_buffer_copy(request.fetch(request.arg, 16))
        self.seen = request.fetch(area.base, area.len)
        return len(self.seen)

    @cuse.ioctl(UPPER, raw=True)
    def upper(self, file: cuse.File, request: IoctlRequest) -> IoctlReply:
        area = Iovec.from_buffer_copy(request.fetch(request.arg, 16))
        text = request.fetch(area.base, area.len)
        request.reserve(area.base, area.len)
        request.reserve(request.arg + 8, 8)
        return IoctlReply(1, text.upper() + struct.pack("=Q", 77))


def nested(kernel: FakeKernel, text: bytes) -> tuple[int, int]:
    """A text in the client's memory: the addresses of its Iovec and of itself."""
    base = kernel.memory.alloc(text)
    return kernel.memory.alloc(bytes(Iovec(base, len(text)))), base


def test_a_request_of_a_family_of_commands() -> None:
    request = IoctlRequest(IOWR("t", 3, 77), 0)
    assert (request.size, request.unsized) == (77, IOWR("t", 3, 0))


class Swap(cuse.Device):
    """An array of Iovecs, whose texts change places with the next one's, all told at once."""

    runs = 0

    @cuse.ioctl(UPPER, raw=True)
    def swap(self, file: cuse.File, request: IoctlRequest) -> IoctlReply:
        self.runs += 1
        areas = list(struct.iter_unpack("=QQ", request.fetch(request.arg, 64)))
        texts = request.exchange(areas, reversed(areas))
        return IoctlReply(0, b"".join(texts))


@pytest.mark.parametrize("compat", [False, True], ids=["64-bit", "32-bit"])
def test_areas_that_are_known_at_once_cost_one_round(cuse_device: Serve, compat: bool) -> None:
    device = Swap(NAME, unrestricted=True)
    kernel = cuse_device(device)
    memory = kernel.memory
    texts = [memory.alloc(text, compat=compat) for text in (b"abc", b"", b"", b"xyz")]
    table = b"".join(
        struct.pack("=QQ", text, size) for text, size in zip(texts, (3, 0, 0, 3), strict=True)
    )
    at = memory.alloc(table, compat=compat)
    assert (at + 64 <= 1 << 32) == compat
    assert kernel.open().ioctl(UPPER, at, compat=compat).result == 0
    assert (memory.read(texts[0], 3), memory.read(texts[3], 3)) == (b"xyz", b"abc")
    assert device.runs == 3  # the table, all texts, and through
    if not compat:
        with pytest.raises(OSError) as caught:  # no 32-bit program has memory there
            kernel.open().ioctl(UPPER, at, compat=True)
        assert caught.value.errno == errno.EIO


def test_nested_pointers_are_followed(cuse_device: Serve) -> None:
    device = Gather()
    kernel = cuse_device(device)
    address, _ = nested(kernel, b"some text")
    assert kernel.open().ioctl(GATHER, address) == (9, b"")
    assert device.seen == b"some text"
    assert device.runs == 3  # each fetch that the kernel had not been told of ends a run


def test_nested_pointers_are_written_through(cuse_device: Serve) -> None:
    kernel = cuse_device(Gather())
    address, base = nested(kernel, b"some text")
    assert kernel.open().ioctl(UPPER, address).result == 1
    assert kernel.memory.read(base, 9) == b"SOME TEXT"
    assert kernel.memory.read(address, 16) == bytes(Iovec(base, 77))


def test_an_area_of_no_bytes_needs_no_memory(cuse_device: Serve) -> None:
    kernel = cuse_device(Gather())
    address = kernel.memory.alloc(bytes(Iovec(0, 0)))
    assert kernel.open().ioctl(GATHER, address).result == 0


def test_a_bad_nested_pointer_is_efault(cuse_device: Serve) -> None:
    kernel = cuse_device(Gather())
    address = kernel.memory.alloc(bytes(Iovec(4096, 8)))
    with pytest.raises(OSError) as caught:
        kernel.open().ioctl(GATHER, address)
    assert caught.value.errno == errno.EFAULT


def test_more_memory_than_the_kernel_copies_is_enomem(cuse_device: Serve) -> None:
    kernel = cuse_device(Gather())
    address, _ = nested(kernel, bytes(200_000))
    with pytest.raises(OSError) as caught:
        kernel.open().ioctl(GATHER, address)
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.logs_errors
def test_too_many_areas_are_eio(cuse_device: Serve, cuse_log: list[logging.LogRecord]) -> None:
    def ioctl(file: cuse.File, request: IoctlRequest) -> int:
        request.ins.extend((request.arg, 1) for _ in range(256))
        request.fetch(request.arg, 1)
        return 0

    kernel = cuse_device(cuse.Device(NAME, ioctl=ioctl, unrestricted=True))
    with pytest.raises(OSError) as caught:
        kernel.open().ioctl(1, kernel.memory.alloc(8))
    assert caught.value.errno == errno.EIO
    assert "more than 256 areas" in cuse_log[0].getMessage()


@pytest.mark.logs_errors
@pytest.mark.parametrize("address", [-1, 1 << 64])
def test_areas_that_cannot_be_are_eio(cuse_device: Serve, address: int) -> None:
    def ioctl(file: cuse.File, request: IoctlRequest) -> int:
        request.fetch(address, 1)
        return 0

    with pytest.raises(OSError) as caught:
        cuse_device(cuse.Device(NAME, ioctl=ioctl, unrestricted=True)).open().ioctl(1, 0)
    assert caught.value.errno == errno.EIO


@pytest.mark.logs_errors
def test_a_restricted_device_cannot_fetch(
    cuse_device: Serve, cuse_log: list[logging.LogRecord]
) -> None:
    def ioctl(file: cuse.File, request: IoctlRequest) -> bytes:
        return request.fetch(request.arg, 8)

    with pytest.raises(OSError) as caught:
        cuse_device(cuse.Device(NAME, ioctl=ioctl)).open().ioctl(1, 4096)
    assert caught.value.errno == errno.EIO
    assert "RuntimeError" in logging.Formatter().format(cuse_log[0])


CLIENT = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

struct iovec64 { uint64_t base, len; };

int main(int argc, char **argv)
{
    int fd = open(argv[1], O_RDWR), both[2] = {3, 4};
    uint32_t raw[2] = {0, 0};
    char text[] = "some text";
    struct iovec64 area = {(uintptr_t)text, sizeof(text) - 1};

    int result;

    (void)argc;
    printf("%d ", ioctl(fd, _IO('t', 1), 41));
    result = ioctl(fd, _IOWR('t', 4, both), both);
    printf("%d %d,%d ", result, both[0], both[1]);
    result = ioctl(fd, _IOWR('t', 10, raw), raw);
    printf("%d %u,%u ", result, raw[0], raw[1]);
    printf("%d ", ioctl(fd, _IOW('t', 3, both), (void *)16) < 0 ? errno : 0);
    printf("%d ", ioctl(fd, _IO('t', 99), 0) < 0 ? errno : 0);
    result = ioctl(fd, _IO('g', 2), &area);
    printf("%d %s %d\n", result, text, (int)area.len);
    return 0;
}
"""


class TypedAndGather(Typed):
    """Both kinds of ioctl on one node."""

    upper = Gather.upper

    @cuse.ioctl(RAW, raw=True)
    def raw(self, file: cuse.File, request: IoctlRequest) -> IoctlReply:
        if not request.unrestricted:
            return super().raw(file, request)
        data = request.fetch(request.arg, 8)
        request.reserve(request.arg, 8)
        return IoctlReply(3, struct.pack("=II", len(data), request.compat))


@pytest.mark.real
@pytest.mark.parametrize("bits", [64, pytest.param(32, marks=pytest.mark.smp)])
@pytest.mark.parametrize("unrestricted", [False, True])
def test_a_client_in_c(tmp_path: Path, bits: int, unrestricted: bool) -> None:
    source, program = tmp_path / "client.c", tmp_path / "client"
    source.write_text(CLIENT)
    assert shutil.which("gcc")
    subprocess.run(["gcc", f"-m{bits}", "-o", program, source], check=True)
    with cuse.Channel(TypedAndGather(unrestricted=unrestricted)) as channel:
        assert channel.path is not None
        run = subprocess.run(
            [program, channel.path], capture_output=True, text=True, check=True, timeout=60
        )
    compat = int(bits == 32)
    last = "1 SOME TEXT 77" if unrestricted else "-1 some text 9"
    assert run.stdout.strip() == f"42 0 4,3 3 8,{compat} 14 25 {last}"


@pytest.mark.logs_errors
def test_a_fault_names_the_method_that_declares_the_command(
    cuse_device: Serve, cuse_log: list[logging.LogRecord]
) -> None:
    class Faulty(cuse.Device):
        @cuse.ioctl(ADD)
        def add(self, file: cuse.File, arg: int) -> int:
            return 1 // arg

    file = cuse_device(Faulty(NAME)).open()
    with pytest.raises(OSError):
        file.ioctl(ADD, 0)
    assert cuse_log[0].getMessage() == f"{NAME}: add() raised; the client gets EIO"
