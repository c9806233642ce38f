"""A cuse.Device as its clients see it: over the fake kernel, and over a real node."""

from __future__ import annotations

import errno
import functools
import logging
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.testing import MAX_REQUEST
from nodes import OpenDevice, RealFile, free_major, opener

NAME = "cusetest"


@pytest.fixture(
    params=[
        pytest.param("fake", marks=pytest.mark.fake),
        pytest.param("real", marks=pytest.mark.real),
    ]
)
def open_device(
    request: pytest.FixtureRequest, cuse_log: list[logging.LogRecord]
) -> Iterator[OpenDevice]:
    """Serves a device; returns a function that opens it: `open_device(device)(os.O_RDWR)`."""
    with opener(request.param) as open_device:
        yield open_device


class Memory(cuse.Device):
    """What one open file wrote last is what it reads."""

    def open(self, file: cuse.File) -> bytearray:
        return bytearray()

    def write(self, file: cuse.File, data: memoryview) -> int:
        file.state += data
        return len(data)

    def read(self, file: cuse.File, size: int) -> bytes:
        data = bytes(file.state[:size])
        del file.state[:size]
        return data


def raises(code: int) -> Any:
    """The client's system call fails with errno `code`."""
    return _Raises(code)


class _Raises:
    def __init__(self, code: int) -> None:
        self.code = code

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert isinstance(error, OSError), f"{errno.errorcode[self.code]} expected, got {error!r}"
        assert error.errno == self.code, error
        return True


def function_device(**functions: Callable[..., Any]) -> cuse.Device:
    return cuse.Device(NAME, **functions)


def test_bytes_written_are_read_back(open_device: OpenDevice) -> None:
    file = open_device(Memory(NAME))()
    assert file.write(b"hello") == 5
    assert file.read(100) == b"hello"
    assert file.read(100) == b""


def test_each_open_file_has_its_own_state(open_device: OpenDevice) -> None:
    open_file = open_device(Memory(NAME))
    one, other = open_file(), open_file()
    one.write(b"one")
    other.write(b"other")
    assert (one.read(10), other.read(10)) == (b"one", b"other")


def test_long_transfers_come_in_requests_of_128_kib(open_device: OpenDevice) -> None:
    sizes: list[int] = []

    def write(file: cuse.File, data: memoryview) -> None:
        sizes.append(len(data))

    def read(file: cuse.File, size: int) -> bytes:
        sizes.append(size)
        return bytes(size)

    file = open_device(function_device(write=write, read=read))()
    assert file.write(bytes(2 * MAX_REQUEST + 5)) == 2 * MAX_REQUEST + 5
    assert len(file.read(2 * MAX_REQUEST)) == 2 * MAX_REQUEST
    assert sum(sizes) == 4 * MAX_REQUEST + 5
    assert max(sizes) == MAX_REQUEST


def test_a_short_answer_ends_the_call(open_device: OpenDevice) -> None:
    file = open_device(
        function_device(write=lambda file, data: 100, read=lambda file, size: b"x" * 100)
    )()
    assert file.write(bytes(3 * MAX_REQUEST)) == 100
    assert file.read(3 * MAX_REQUEST) == b"x" * 100


def test_a_device_without_methods_is_as_a_driver_without_them(open_device: OpenDevice) -> None:
    file = open_device(cuse.Device(NAME))()
    with raises(errno.EINVAL):
        file.read(1)
    with raises(errno.EINVAL):
        file.write(b"x")
    with raises(errno.ENOTTY):
        file.ioctl(0x1234, 0)


def test_open_may_be_refused(open_device: OpenDevice) -> None:
    def open_(file: cuse.File) -> None:
        raise OSError(errno.EBUSY, "in use")

    open_file = open_device(function_device(open=open_))
    with raises(errno.EBUSY):
        open_file()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOSPC, errno.ENXIO, errno.EREMOTEIO])
def test_the_client_gets_the_errno_that_a_method_raised(open_device: OpenDevice, code: int) -> None:
    def fail(*args: object) -> None:
        raise OSError(code, "so")

    file = open_device(function_device(read=fail, write=fail, ioctl=fail))()
    for call in (lambda: file.read(1), lambda: file.write(b"x"), lambda: file.ioctl(1, 0)):
        with raises(code):
            call()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BlockingIOError(), errno.EAGAIN),
        (TimeoutError("late"), errno.ETIMEDOUT),
        (PermissionError("no"), errno.EACCES),
        (BrokenPipeError(), errno.EPIPE),
        (FileNotFoundError(), errno.ENOENT),
    ],
)
def test_errors_whose_class_says_it_all_need_no_errno(
    open_device: OpenDevice, error: OSError, code: int
) -> None:
    def read(file: cuse.File, size: int) -> bytes:
        raise error

    file = open_device(function_device(read=read))()
    with raises(code):
        file.read(1)


FAULTS: dict[str, Callable[..., Any]] = {
    "raises ValueError": lambda *args: int("x"),
    "raises SystemExit": lambda *args: exec("raise SystemExit(3)"),
    "raises KeyboardInterrupt": lambda *args: exec("raise KeyboardInterrupt"),
    "raises an OSError without errno": lambda *args: exec("raise OSError('what')"),
    "raises an errno of 0": lambda *args: exec("raise OSError(0, 'what')"),
    "raises an errno of 512": lambda *args: exec("raise OSError(512, 'ERESTARTSYS')"),
    "returns a string": lambda *args: "text",
    "returns a float": lambda *args: 1.5,
    "returns a list": lambda *args: [1],
}


@pytest.mark.logs_errors
@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
@pytest.mark.parametrize("method", ["read", "write", "ioctl"])
def test_a_fault_is_eio_and_the_log_names_the_method(
    open_device: OpenDevice,
    cuse_log: list[logging.LogRecord],
    method: str,
    fault: Callable[..., Any],
) -> None:
    file = open_device(function_device(**{method: fault}))()
    with raises(errno.EIO):
        {"read": lambda: file.read(1), "write": lambda: file.write(b"x")}.get(
            method, lambda: file.ioctl(1, 0)
        )()
    (record,) = cuse_log
    assert f"{NAME}: {method}()" in record.getMessage()
    with raises(errno.EIO):  # the server lives on
        {"read": lambda: file.read(1), "write": lambda: file.write(b"x")}.get(
            method, lambda: file.ioctl(1, 0)
        )()


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("functions", "call", "said"),
    [
        ({"read": lambda f, n: b"x" * (n + 1)}, "read", "returned 11 bytes to a read of 10"),
        ({"read": lambda f, n: None}, "read", "returned None, not bytes"),
        ({"readinto": lambda f, b: 11}, "read", "readinto() raised"),
        ({"readinto": lambda f, b: None}, "read", "readinto() raised"),
        ({"write": lambda f, d: 4}, "write", "returned 4 to a write of 3 bytes"),
        ({"write": lambda f, d: -1}, "write", "returned -1 to a write of 3 bytes"),
        ({"ioctl": lambda f, r: -5}, "ioctl", "returned -5"),
        ({"ioctl": lambda f, r: 2**31}, "ioctl", "returned 2147483648"),
        ({"ioctl": lambda f, r: cuse.IoctlReply(0, b"x")}, "ioctl", "1 bytes where 0 fit"),
        ({"ioctl": lambda f, r: cuse.IoctlReply("0")}, "ioctl", "IoctlReply"),  # type: ignore[arg-type]
        ({"ioctl": lambda f, r: cuse.IoctlReply(0, "x")}, "ioctl", "IoctlReply"),  # type: ignore[arg-type]
    ],
)
def test_what_the_kernel_would_refuse_is_eio(
    open_device: OpenDevice,
    cuse_log: list[logging.LogRecord],
    functions: dict[str, Callable[..., Any]],
    call: str,
    said: str,
) -> None:
    file = open_device(function_device(**functions))()
    with raises(errno.EIO):
        {
            "read": lambda: file.read(10),
            "write": lambda: file.write(b"abc"),
            "ioctl": lambda: file.ioctl(1, 0),
        }[call]()
    (record,) = cuse_log
    assert said in record.getMessage()


@pytest.mark.logs_errors
def test_a_fault_in_open_is_eio(open_device: OpenDevice, cuse_log: list[logging.LogRecord]) -> None:
    open_file = open_device(function_device(open=lambda file: 1 // 0))
    with raises(errno.EIO):
        open_file()
    assert "open() raised" in cuse_log[0].getMessage()


@pytest.mark.logs_errors
def test_enosys_from_open_does_not_stop_the_kernel_asking(open_device: OpenDevice) -> None:
    asked: list[int] = []

    def open_(file: cuse.File) -> None:
        asked.append(1)
        raise OSError(errno.ENOSYS, "no")

    open_file = open_device(function_device(open=open_))
    for _ in range(2):
        with raises(errno.EIO):
            open_file()
    assert len(asked) == 2


@pytest.mark.logs_errors
def test_a_fault_in_release_is_logged(
    open_device: OpenDevice, cuse_log: list[logging.LogRecord]
) -> None:
    file = open_device(function_device(release=lambda file: 1 // 0))()
    file.close()
    assert cuse_log[0].getMessage() == f"{NAME}: release() raised; no client hears of it"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_an_answer_to_read(
    open_device: OpenDevice, kind: Callable[[bytes], Any]
) -> None:
    file = open_device(function_device(read=lambda file, size: kind(b"buffer")))()
    assert file.read(10) == b"buffer"


def test_readinto_fills_the_answer_in_place(open_device: OpenDevice) -> None:
    def readinto(file: cuse.File, buffer: memoryview) -> int:
        buffer[:3] = b"abc"
        return 3

    file = open_device(function_device(readinto=readinto))()
    assert file.read(10) == b"abc"
    assert file.read(2 * MAX_REQUEST) == b"abc"


@pytest.mark.logs_errors
def test_readinto_gets_room_for_no_more_than_was_asked_for(open_device: OpenDevice) -> None:
    def readinto(file: cuse.File, buffer: memoryview) -> int:
        buffer[:3] = b"abc"
        return 3

    file = open_device(function_device(readinto=readinto))()
    with raises(errno.EIO):
        file.read(2)


def test_written_data_may_be_kept(open_device: OpenDevice) -> None:
    kept: list[memoryview] = []
    file = open_device(function_device(write=lambda file, data: kept.append(data)))()
    for index in range(50):
        file.write(bytes([index]) * 4096)
    assert [bytes(data) for data in kept] == [bytes([index]) * 4096 for index in range(50)]


def test_the_flags_of_open_are_seen(open_device: OpenDevice) -> None:
    seen: list[tuple[bool, bool, bool]] = []

    def open_(file: cuse.File) -> None:
        seen.append((file.readable, file.writable, file.nonblocking))

    open_file = open_device(function_device(open=open_))
    open_file(os.O_RDONLY)
    open_file(os.O_WRONLY | os.O_NONBLOCK)
    open_file(os.O_RDWR)
    assert seen == [(True, False, False), (False, True, True), (True, True, False)]


def test_release_comes_once_for_each_open(open_device: OpenDevice) -> None:
    released: list[object] = []
    open_file = open_device(
        function_device(
            open=lambda file: object(), release=lambda file: released.append(file.state)
        )
    )
    one, other = open_file(), open_file()
    one.close()
    assert len(released) == 1
    other.close()
    assert len(set(map(id, released))) == 2


def test_the_caller_is_known(open_device: OpenDevice) -> None:
    callers: list[cuse.Caller] = []

    def note(file: cuse.File, *rest: object) -> bytes:
        callers.append(file.caller)
        return b""

    file = open_device(function_device(open=note, read=note))()
    file.read(1)
    me = cuse.Caller(threading.get_native_id(), os.getuid(), os.getgid())
    assert callers == [me, me]


def test_a_partial_of_an_async_function_is_awaited(open_device: OpenDevice) -> None:
    async def read(word: bytes, file: cuse.File, size: int) -> bytes:
        return word

    async def open_(state: int, file: cuse.File) -> int:
        return state

    partial = functools.partial
    device = function_device(
        read=lambda file, size: partial(read, b"word")(file, size),
        open=lambda file: partial(open_, 7)(file),
    )
    file = open_device(device)()
    assert file.read(10) == b"word"


def test_several_files_are_served_at_once(open_device: OpenDevice) -> None:
    together = threading.Barrier(4)

    def read(file: cuse.File, size: int) -> bytes:
        together.wait(60)
        return b"x"

    open_file = open_device(function_device(read=read))
    files = [open_file() for _ in range(4)]
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda file=file: got.append(file.read(1))) for file in files
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [b"x"] * 4


def test_more_blocked_calls_than_callers_are_served_in_turn(
    cuse_device: Callable[..., testing.FakeKernel],
) -> None:
    gate = threading.Event()
    running: list[int] = []

    def read(file: cuse.File, size: int) -> bytes:
        running.append(1)
        gate.wait(60)
        return b"x"

    kernel = cuse_device(function_device(read=read), cuse.Workers(callers=2))
    file = kernel.open()
    calls = [kernel.start(file.read, 1) for _ in range(6)]
    for call in calls:
        call.wait_sent()
    gate.set()
    assert [call.result() for call in calls] == [b"x"] * 6


def test_a_device_without_poll_is_always_ready(open_device: OpenDevice) -> None:
    file = open_device(Memory(NAME))()
    if isinstance(file, RealFile):
        poller = select.poll()
        poller.register(file.fd, select.POLLIN | select.POLLOUT)
        ((_, events),) = poller.poll(0)
    else:
        events = file.poll(select.POLLIN | select.POLLOUT)
    assert events == select.POLLIN | select.POLLOUT


def test_files_left_open_are_released_at_the_end() -> None:
    released: list[tuple[object, int]] = []
    device = function_device(
        open=lambda file: "state",
        release=lambda file: released.append((file.state, file.caller.pid)),
    )
    with testing.serve(device) as kernel:
        kernel.open()
        kernel.open().close()
        assert len(released) == 1
    assert released[1:] == [("state", 0)]


def test_async_release_is_awaited_at_the_end() -> None:
    released: list[object] = []

    class Device(cuse.Device):
        async def release(self, file: cuse.File) -> None:
            released.append(file.caller)

    with testing.serve(Device(NAME)) as kernel:
        kernel.open()
    assert released == [cuse.Caller(0, 0, 0)]


def test_the_caller_is_known_in_handlers_only(
    cuse_device: Callable[..., testing.FakeKernel],
) -> None:
    files: list[cuse.File] = []
    cuse_device(function_device(open=files.append)).open()
    with pytest.raises(RuntimeError, match="while a handler of this file runs"):
        _ = files[0].caller


def test_the_caller_is_that_of_the_request_on_any_thread(
    cuse_device: Callable[..., testing.FakeKernel],
) -> None:
    together = threading.Barrier(2)

    def read(file: cuse.File, size: int) -> bytes:
        together.wait(60)
        return str(file.caller).encode()

    kernel = cuse_device(function_device(read=read))
    file = kernel.open()

    def read_as(uid: int) -> bytes:
        mine = testing.FakeFile(kernel, os.O_RDWR)  # a dup: the same open file
        mine._fh, mine.pid, mine.uid, mine.gid = file._fh, uid + 1, uid, uid + 2
        return mine.read(100)

    calls = [kernel.start(read_as, uid) for uid in (1000, 2000)]
    assert [call.result() for call in calls] == [
        b"Caller(pid=1001, uid=1000, gid=1002)",
        b"Caller(pid=2001, uid=2000, gid=2002)",
    ]


def test_o_nonblock_may_change_while_the_file_is_open(
    cuse_device: Callable[..., testing.FakeKernel],
) -> None:
    def read(file: cuse.File, size: int) -> bytes:
        return b"not" if file.nonblocking else b"may block"

    file = cuse_device(function_device(read=read)).open(os.O_RDONLY)
    assert file.read(100) == b"may block"
    file.flags |= os.O_NONBLOCK
    assert file.read(100) == b"not"


def test_an_unheard_of_method_is_refused() -> None:
    with pytest.raises(TypeError, match="no method 'reed'"):
        cuse.Device(NAME, reed=lambda file, size: b"")


BAD_NAMES = ["", ".", "..", "/dev/a", "a b", "-a", "x" * 64, "a\n", "a=b", "é", "a\0", 5]
BAD_FOLDERS = ["a//b", "a/../b", "a/", "a!b", "a/-b", "a/" * 32 + "a"]


@pytest.mark.parametrize("name", [*BAD_NAMES, *BAD_FOLDERS])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(cuse.DeviceError, match="no name for a device") as caught:
        cuse.Device(name)
    assert caught.value.errno == errno.EINVAL
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"major": -1},
        {"major": 4096},
        {"minor": 1 << 20},
        {"mode": 0o1000},
        {"mode": -1},
        {"timeout": 0},
        {"timeout": -1.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(cuse.DeviceError, match="take") as caught:
        cuse.Device(NAME, **wrong)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.real
def test_the_node_has_its_owner_and_mode_and_goes_with_the_device() -> None:
    device = Memory(NAME, mode=0o604, owner="nobody", group=12345)
    with cuse.Channel(device) as channel:
        assert channel.path == Path("/dev") / NAME
        found = channel.path.stat()
        assert (found.st_mode & 0o777, found.st_gid) == (0o604, 12345)
        assert found.st_uid == __import__("pwd").getpwnam("nobody").pw_uid
    assert not Path(f"/dev/{NAME}").exists()


@pytest.mark.real
def test_the_number_of_the_node_may_be_chosen() -> None:
    major = free_major()
    with cuse.Channel(Memory(NAME, major=major, minor=77)):
        number = Path(f"/dev/{NAME}").stat().st_rdev
    assert (os.major(number), os.minor(number)) == (major, 77)


@pytest.mark.real
def test_a_name_that_is_taken_is_refused() -> None:
    with cuse.Channel(Memory(NAME)):
        with pytest.raises(cuse.DeviceError, match="already: take another name") as caught:
            cuse.Channel(Memory(NAME)).start()
        assert caught.value.errno == errno.EEXIST
    with pytest.raises(cuse.DeviceError, match="exists already") as caught:
        cuse.Channel(Memory("null")).start()
    assert caught.value.errno == errno.EEXIST


@pytest.mark.real
def test_a_number_that_is_taken_is_refused() -> None:
    major = free_major()
    with cuse.Channel(Memory(NAME, major=major)):
        with pytest.raises(cuse.DeviceError, match=f"{major}:0; take others") as caught:
            cuse.Channel(Memory(NAME + "2", major=major)).__enter__()
        assert caught.value.errno == errno.EEXIST
    with cuse.Channel(Memory(NAME + "2", major=major)):  # nothing of the failure is left
        pass


@pytest.mark.real
def test_a_device_that_the_kernel_ends_tells() -> None:
    ended = threading.Event()
    with cuse.Channel(Memory(NAME), on_end=ended.set) as channel:
        with RealFile(Path(f"/dev/{NAME}"), os.O_RDWR) as file:
            Path(f"/sys/class/cuse/{NAME}/abort").write_text("1")
            assert ended.wait(60)
            assert channel.ended
            with raises(errno.ENOTCONN):
                file.read(1)


@pytest.mark.real
def test_several_devices_are_served_by_one_process() -> None:
    with ExitStack() as stack:
        for index in range(5):
            stack.enter_context(cuse.Channel(Memory(f"{NAME}{index}")))
        for index in range(5):
            with RealFile(Path(f"/dev/{NAME}{index}"), os.O_RDWR) as file:
                file.write(b"%d" % index)
                assert file.read(10) == b"%d" % index


def test_files_are_told_apart_and_can_be_keys(open_device: OpenDevice) -> None:
    seen: dict[cuse.File, int] = {}

    def read(file: cuse.File, size: int) -> bytes:
        seen[file] = seen.get(file, 0) + 1
        return b""

    open_file = open_device(function_device(read=read))
    one, other = open_file(), open_file()
    one.read(1), one.read(1), other.read(1)
    assert sorted(seen.values()) == [1, 2]


def test_written_data_are_bytes_that_may_be_kept(open_device: OpenDevice) -> None:
    kept: list[memoryview] = []
    file = open_device(function_device(write=lambda file, data: kept.append(data)))()
    file.write(b"one")
    file.write(b"two")
    assert kept == [b"one", b"two"]
    assert kept[0].readonly
    assert kept[0].format == "B"


@pytest.mark.logs_errors
@pytest.mark.parametrize("fault", [lambda file: 1 // 0, lambda file: "ready"])
def test_a_fault_in_poll_is_pollerr_and_said_so(
    open_device: OpenDevice, cuse_log: list[logging.LogRecord], fault: Callable[..., Any]
) -> None:
    file = open_device(function_device(poll=fault))()
    assert poll_now(file) & select.POLLERR
    assert "poll() " in cuse_log[0].getMessage()
    assert cuse_log[0].getMessage().endswith("; who polls gets POLLERR")


def poll_now(file: Any) -> int:
    """The events that poll(2) gives at once."""
    if not isinstance(file, RealFile):
        return int(file.poll(timeout=0))
    poller = select.poll()
    poller.register(file.fd, select.POLLIN | select.POLLOUT)
    return dict(poller.poll(0)).get(file.fd, 0)
