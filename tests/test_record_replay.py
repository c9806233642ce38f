"""cuse-scullv replay: a log is the device, and says where a client leaves it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeFile, FakeKernel
from cuse_scullv.recording import log
from cuse_scullv.recording.recorded import RecordedProxy
from cuse_scullv.recording.replay import Replay
from shell import inside
from terminals import FIONREAD, TCFLSH, TCGETS, TIOCGWINSZ, gets, terminal

Serve = Callable[..., FakeKernel]

LONG = 60.0
PATH = Path("/the/log")
RDWR = '"op": "open", "flags": "O_RDWR"'


class Script:
    """A log as it is written by hand: each line (start, end, file, the rest)."""

    def __init__(self, tmp_path: Path, *lines: tuple[float, float, int, str]) -> None:
        self.path = tmp_path / "log"
        text = [log.header("/dev/real", "")]
        for start, end, file, rest in lines:
            text.append(f'{{"time": {start}, "took": {end - start}, "file": {file}, {rest}}}')
        self.path.write_text("\n".join([*text, log.END, ""]))

    def device(self, **options: Any) -> Replay:
        return Replay("replay", self.path, log.load(self.path), **options)


def write(data: str) -> str:
    return f'"op": "write", "data": "{data}"'


def read(data: str, size: int = 10) -> str:
    return f'"op": "read", "size": {size}, "data": "{data}"'


def poll(events: str) -> str:
    return f'"op": "poll", "events": "{events}"'


SIMPLE = ((0, 0, 1, RDWR), (1, 1, 1, write("one")), (2, 2, 1, read("two")))


def test_what_was_recorded_is_answered(cuse_device: Serve, tmp_path: Path) -> None:
    file = cuse_device(
        Script(
            tmp_path,
            *SIMPLE,
            (3, 3, 1, '"op": "read", "size": 10, "error": "EAGAIN"'),
            (4, 4, 1, '"op": "write", "data": "part", "count": 2'),
            (5, 5, 1, '"op": "ioctl", "command": "0x540b", "arg": 2'),
            (6, 6, 1, '"op": "ioctl", "command": "0x541b", "out": {"hex": "07 00 00 00"}'),
            (7, 7, 1, '"op": "ioctl", "command": "0x4b02", "arg": 9, "result": 5'),
            (8, 8, 1, '"op": "ioctl", "command": "0x5399", "error": "ENOTTY"'),
            (9, 9, 2, '"op": "open", "flags": "O_RDWR", "error": "EBUSY"'),
        ).device()
    ).open()
    assert file.write(b"one") == 3
    assert file.read(10) == b"two"
    with pytest.raises(BlockingIOError):
        file.read(10)
    assert file.write(b"part") == 2
    file.ioctl(TCFLSH, 2)
    assert gets(file, FIONREAD, 4) == b"\7\0\0\0"
    assert file.ioctl(0x4B02, 9).result == 5
    with pytest.raises(OSError) as caught:
        file.ioctl(0x5399, id(file))
    assert caught.value.errno == errno.ENOTTY
    with pytest.raises(OSError) as busy:
        file.kernel.open()  # type: ignore[attr-defined]
    assert busy.value.errno == errno.EBUSY


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("call", "where", "expected", "came"),
    [
        (lambda file: file.write(b"other"), ":3", write("one"), write("other")),
        (lambda file: file.read(10), ":3", write("one"), '"op": "read", "size": 10'),
        (lambda file: file.ioctl(TCFLSH, 0), ":3", write("one"), '"command": "0x540b"'),
        (lambda file: file.kernel.open(), "", "expected no more", RDWR),
    ],
)
def test_a_divergence_says_where_and_the_next_is_still_the_next(
    cuse_device: Serve,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    call: Callable[[FakeFile], object],
    where: str,
    expected: str,
    came: str,
) -> None:
    script = Script(tmp_path, *SIMPLE)
    device = script.device()
    file = cuse_device(device).open()
    with pytest.raises(OSError) as caught:
        call(file)
    assert caught.value.errno == errno.EIO
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"{script.path}{where}: expected ")
    assert expected in message
    assert came in message.partition("came")[2]
    assert message.endswith("; the client gets EIO")
    assert (file.write(b"one"), file.read(10), device.divergences) == (3, b"two", 1)


@pytest.mark.logs_errors
def test_files_are_told_apart_by_their_opens(cuse_device: Serve, tmp_path: Path) -> None:
    reader = '"op": "open", "flags": "O_RDONLY|O_NONBLOCK"'
    kernel = cuse_device(
        Script(
            tmp_path,
            (0, 0, 1, RDWR),
            (1, 1, 2, reader),
            (2, 2, 1, write("to one")),
            (3, 3, 2, read("of two")),
        ).device()
    )
    with pytest.raises(OSError):
        kernel.open(os.O_RDONLY | os.O_NONBLOCK)  # not the first
    one = kernel.open()
    two = kernel.open(os.O_RDONLY | os.O_NONBLOCK)
    assert two.read(10) == b"of two"  # there is no order between files
    assert one.write(b"to one") == 6


CONCURRENT = (
    (0, 0, 1, RDWR),
    (1, 5, 1, read("echo")),
    (2, 3, 1, write("echo")),
    (6, 6, 1, write("end")),
)


@pytest.mark.parametrize("reader_first", [True, False])
def test_calls_under_way_together_may_come_in_either_order(
    cuse_device: Serve, tmp_path: Path, reader_first: bool
) -> None:
    kernel = cuse_device(Script(tmp_path, *CONCURRENT).device())
    file = kernel.open()
    if reader_first:
        call = kernel.start(file.read, 10)
        assert not call.wait(0.05)  # it was answered after the write
        assert file.write(b"echo") == 4
    else:
        assert file.write(b"echo") == 4
        call = kernel.start(file.read, 10)
    assert call.result() == b"echo"
    assert file.write(b"end") == 3


@pytest.mark.logs_errors
def test_others_may_not(cuse_device: Serve, tmp_path: Path) -> None:
    file = cuse_device(Script(tmp_path, *CONCURRENT).device()).open()
    with pytest.raises(OSError):
        file.write(b"end")


@pytest.mark.logs_errors
def test_any_order_takes_each_once(
    cuse_device: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (*SIMPLE, (3, 3, 1, read("three")), (4, 4, 2, RDWR), (5, 5, 2, write("four")))
    kernel = cuse_device(Script(tmp_path, *lines).device(any_order=True))
    file, other = kernel.open(), kernel.open()
    assert file.write(b"four") == 4
    assert other.read(10) == b"two"
    assert file.read(10) == b"three"
    assert other.write(b"one") == 3
    with pytest.raises(OSError):
        file.write(b"one")
    assert "expected no more, came" in caplog.text
    assert file.poll() == select.POLLIN | select.POLLOUT


def test_an_interrupted_call_waits_for_the_signal(cuse_device: Serve, tmp_path: Path) -> None:
    broken = '"op": "read", "size": 10, "error": "EINTR"'
    kernel = cuse_device(
        Script(
            tmp_path,
            (0, 0, 1, RDWR),
            (1, 2, 1, broken),  # made again at once: a signal that the program did not see
            (2, 3, 1, read("data")),
            (4, 5, 1, broken),
            (6, 6, 1, write("then")),
        ).device()
    )
    file = kernel.open()
    assert file.read(10) == b"data"
    call = kernel.start(file.read, 10)
    assert not call.wait(0.05)
    call.interrupt()
    with pytest.raises(InterruptedError):
        call.result()
    assert file.write(b"then") == 4


@pytest.mark.logs_errors
def test_the_command_plays_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Script(tmp_path, *POLLED).path

    def serve(device: Replay, daemon: bool, filters: object) -> None:
        with FakeKernel() as kernel, cuse.Channel(device, fd=kernel.server_fd):
            kernel.init()
            file = kernel.open()
            begun = time.monotonic()
            with contextlib.suppress(OSError):
                file.write(b"end")  # not the first
            assert file.read(10) == b"data"
            took.append(time.monotonic() - begun)

    took: list[float] = []
    monkeypatch.setattr(cuse, "serve", serve)
    words = ["replay", str(path), "--name=x"]
    for options, status in [(["--any-order"], 0), (["--speed=2"], 1), ([], 1)]:
        assert inside(*words, *options).returncode == status
    assert took[1] >= 0.1  # half of what the read took


# --- poll and time --------------------------------------------------------------------------------

POLLED = (
    (0, 0, 1, RDWR),
    (1.0, 1.0, 1, poll("POLLOUT")),
    (1.3, 1.3, 1, poll("POLLIN|POLLOUT")),
    (1.4, 1.6, 1, read("data")),
    (1.7, 1.7, 1, poll("POLLOUT")),
    (2.0, 2.0, 1, write("end")),
    (2.1, 2.1, 1, poll("POLLIN|POLLHUP")),
)


def test_poll_is_what_was_so_before_the_next_request(cuse_device: Serve, tmp_path: Path) -> None:
    file = cuse_device(Script(tmp_path, *POLLED).device()).open()
    for _ in range(3):  # however often
        assert file.poll() == select.POLLIN | select.POLLOUT
    assert file.read(10) == b"data"
    assert file.poll() == select.POLLOUT
    file.write(b"end")
    assert file.poll() == select.POLLIN | select.POLLHUP


def test_a_poller_is_woken_when_the_log_goes_on(cuse_device: Serve, tmp_path: Path) -> None:
    lines = (POLLED[0], POLLED[1], (1.2, 1.2, 1, write("x")), *POLLED[2:])
    kernel = cuse_device(Script(tmp_path, *lines).device())
    file = kernel.open()
    call = kernel.start(file.poll, select.POLLIN, LONG)
    assert not call.wait(0.05)
    file.write(b"x")
    assert call.result() == select.POLLIN


def test_a_file_that_was_never_polled_is_ready(cuse_device: Serve, tmp_path: Path) -> None:
    file = cuse_device(Script(tmp_path, *SIMPLE).device()).open()
    assert file.poll() == select.POLLIN | select.POLLOUT


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (4.0, 0.25)])
def test_times_are_kept(cuse_device: Serve, tmp_path: Path, speed: float, factor: float) -> None:
    kernel = cuse_device(Script(tmp_path, *POLLED).device(speed=speed))
    file = kernel.open()
    begun = time.monotonic()
    assert file.poll(select.POLLIN, LONG) == select.POLLIN  # 1.3 s after the open
    polled = time.monotonic()
    assert polled - begun >= 1.29 * factor
    assert file.read(10) == b"data"  # took 0.2 s
    assert time.monotonic() - polled >= 0.2 * factor
    assert time.monotonic() - begun < LONG / 2


def test_without_speed_no_time_passes(cuse_device: Serve, tmp_path: Path) -> None:
    script = Script(tmp_path, (0, 1000, 1, RDWR), (1000, 9000, 1, read("data")))
    kernel = cuse_device(script.device())
    begun = time.monotonic()
    assert kernel.open().read(10) == b"data"
    assert time.monotonic() - begun < LONG


def test_a_slow_answer_ends_with_its_client(cuse_device: Serve, tmp_path: Path) -> None:
    script = Script(tmp_path, SIMPLE[0], (1, 1000, 1, read("late")), (1001, 1001, 1, write("next")))
    kernel = cuse_device(script.device(speed=1.0))
    file = kernel.open()
    call = kernel.start(file.read, 10)
    assert not call.wait(0.05)
    call.interrupt()
    with pytest.raises(InterruptedError):
        call.result()
    assert file.write(b"next") == 4


# --- a client, recorded and replayed --------------------------------------------------------------


@contextlib.contextmanager
def recorded(path: Path) -> Iterator[FakeKernel]:
    """A proxy before a terminal whose far end answers each line in capitals."""
    with terminal() as line:
        answering = threading.Thread(target=answer, args=(line.master,), daemon=True)
        answering.start()
        proxy = RecordedProxy("proxy", line.path, path)
        with FakeKernel() as kernel, cuse.Channel(proxy, fd=kernel.server_fd):
            kernel.init()
            yield kernel
        os.write(line.slave, b"end\n")
        answering.join(LONG)


def answer(master: int) -> None:
    while (line := os.read(master, 100)) != b"end\n":
        time.sleep(0.02)
        os.write(master, line.upper())


def converse(kernel: FakeKernel) -> list[object]:
    """What a client hears: one that reads blocked, polls, and asks for settings."""
    file = kernel.open()
    heard: list[object] = [gets(file, TCGETS, 36), gets(file, TIOCGWINSZ, 8)]
    for number in range(5):
        reading = kernel.start(file.read, 100)
        assert not reading.wait(0.05)  # it is under way
        heard += [file.write(b"blocked %d\n" % number), reading.result()]
    other = kernel.open(os.O_RDWR | os.O_NONBLOCK)
    for number in range(5):
        heard.append(other.write(b"polled %d\n" % number))
        heard += [other.poll(select.POLLIN, LONG), other.read(100)]
    with pytest.raises(BlockingIOError):
        other.read(1)
    other.close()
    file.close()
    return heard


@pytest.mark.parametrize("options", [{}, {"speed": 1.0}], ids=["fast", "in-time"])
def test_a_client_hears_the_same_again(
    cuse_device: Serve, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "log"
    with recorded(path) as kernel:
        heard = converse(kernel)
    assert b"BLOCKED 4\n" in heard
    replay = Replay("replay", path, log.load(path), **options)
    begun = time.monotonic()
    assert converse(cuse_device(replay)) == heard
    if options:
        assert time.monotonic() - begun >= 5 * 0.05 + 10 * 0.01
    assert replay.divergences == 0
