"""docs/cuse.md: its code works, and it speaks of every public name."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import testing

DOC = Path(__file__).parent.parent / "docs/cuse.md"
TEXT = DOC.read_text(encoding="utf-8")
REFERENCE = TEXT.partition("\n## Reference\n")[2].partition("\n## ")[0]


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All the code of the page, run in order, as one module."""
    served: list[cuse.Device] = []
    monkeypatch.setattr(cuse, "serve", lambda *devices: served.extend(devices))
    module: dict[str, Any] = {"served": served}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, str(DOC), "exec"), module)
    return module


def test_the_tutorial_is_as_short_as_it_says() -> None:
    block = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize(
    "name",
    [
        "test_upper",
        "test_a_reader_waits_and_can_be_interrupted",
        "test_nested_pointers",
    ],
)
def test_the_tests_of_the_page_pass(
    code: dict[str, Any], cuse_device: Callable[..., testing.FakeKernel], name: str
) -> None:
    code[name](cuse_device)


def test_the_devices_of_the_page_work(
    code: dict[str, Any], cuse_device: Callable[..., testing.FakeKernel]
) -> None:
    assert [device.name for device in code["served"]] == ["upper"]
    code["test_a_bad_range_is_einval"](cuse_device, 1, 0)
    file = cuse_device(code["Sensor"]("sensor")).open()
    exchange = cuse.IOWR("S", 3, "=i")
    assert file.ioctl(exchange, (7).to_bytes(4, "little")).data == (1).to_bytes(4, "little")
    bus = cuse_device(code["bus"])
    room = bus.memory.alloc(bytes(8))
    assert bus.open().ioctl(0x0705, room).result == 0
    assert bus.memory.read(room, 8) == (0x0EFF0008).to_bytes(8, "little")
    jobs = cuse_device(code["Jobserver"]("jobs", 1))
    one, other = jobs.open(), jobs.open(os.O_RDWR | os.O_NONBLOCK)
    assert one.read(1) == b"+"
    assert other.poll(1) == 0
    one.close()  # without giving it back
    assert other.poll(1) == 1
    assert other.read(1) == b"+"
    shared = cuse_device(code["SharedTokens"]("shared", 1))
    file, other = shared.open(), shared.open(os.O_RDWR | os.O_NONBLOCK)
    with subprocess.Popen(["sleep", "600"]) as holder:
        try:
            file.pid = holder.pid
            assert file.read(1) == b"+"
            assert other.poll(1) == 0
        finally:
            holder.kill()
    assert other.poll(1, 60) == 1  # though `file` is open
    assert other.read(1) == b"+"
    ticker = cuse_device(code["Ticker"]("ticker")).open()
    assert ticker.read(9).endswith(b"\n")
    file = cuse_device(code["PolledMailbox"]("mailbox")).open()
    file.write(b"message")
    assert file.poll() == 5
    assert file.read(3) == b"mes"
    file = cuse_device(code["Firmware"]("firmware")).open()
    image = bytes(300_000)
    assert file.write(image + zlib.crc32(image).to_bytes(4, "little")) == 300_004
    with pytest.raises(OSError) as caught:
        file.write(image + b"none")
    assert caught.value.errno == errno.EBADMSG
    assert file.read(1 << 20) == image
    kernel = cuse_device(code["Histogram"]("histogram"))
    text = kernel.memory.alloc(b"b" * 1_000_000)
    head = text.to_bytes(8, "little") + (1_000_000).to_bytes(8, "little")
    room = kernel.memory.alloc(head + bytes(8 * 256))
    assert kernel.open().ioctl(cuse.IO("H", 1), room).result == 0
    counts = memoryview(kernel.memory.read(room + 16, 8 * 256)).cast("Q")
    assert [counts[ord(letter)] for letter in "abc"] == [0, 1_000_000, 0]


def test_the_report_of_the_page_is_one(
    code: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with testing.FakeKernel() as kernel:
        with cuse.Channel(code["Sensor"]("sensor"), fd=kernel.server_fd) as channel:
            file = kernel.open()
            file.ioctl(cuse.IO("S", 0), 0)
            code["report"](channel)
    open_, ioctl, command = capsys.readouterr().out.splitlines()
    assert open_.startswith("open: 1, 0 errors, 0 bytes, ")
    assert ioctl.startswith("ioctl: 1, ")
    assert command.startswith("0x5300: 1, ")


@pytest.mark.real
def test_the_tutorial_does_what_the_page_shows(tmp_path: Path) -> None:
    program = tmp_path / "upper.py"
    program.write_text(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0])
    (command, answer) = re.findall(r"\$ (exec 3<>.*)\n(.*)\n", TEXT)[0]
    with subprocess.Popen([sys.executable, program]) as server:
        try:
            while not Path("/dev/upper").exists():
                assert server.poll() is None
                time.sleep(0.01)
            run = ["sh", "-c", f"until : <> /dev/upper; do :; done 2>/dev/null; {command}"]
            done = subprocess.run(run, capture_output=True, text=True, timeout=90, check=True)
        finally:
            server.terminate()
    assert server.returncode == 0
    assert done.stdout.strip() == answer == "HELLO"


@pytest.mark.parametrize("name", cuse.__all__)
def test_the_reference_has_every_public_name(name: str) -> None:
    assert re.search(rf"`[^`]*\b{name}\b", REFERENCE), f"{name} is not in the reference"


@pytest.mark.parametrize(
    "kind",
    [
        cuse.Device,
        cuse.File,
        cuse.IoctlRequest,
        cuse.IoctlReply,
        cuse.Condition,
        cuse.Queue,
        cuse.RemoteMemory,
        cuse.Semaphore,
        cuse.Channel,
        cuse.Workers,
        cuse.Availability,
        cuse.Caller,
        cuse.Client,
        cuse.Ending,
        cuse.Statistics,
        cuse.Operation,
        testing.FakeKernel,
        testing.FakeFile,
    ],
)
def test_the_reference_has_every_public_member(kind: type) -> None:
    members = [name for name in vars(kind) if not name.startswith("_")]
    hints = getattr(kind, "__annotations__", {})
    skipped = {"ins", "outs", "kernel", "closed", "device", "workers", "requests", "options"}
    missing = [
        name
        for name in {*members, *hints} - skipped
        if not name.startswith("_") and not re.search(rf"\b{name}\b", REFERENCE)
    ]
    assert not missing


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [
        f"{kind}.{name}" if name else kind
        for kind in cuse.__all__
        for name in ("", *getattr(getattr(cuse, kind), "__dict__", {}))
        if callable(member := getattr(getattr(cuse, kind), name) if name else getattr(cuse, kind))
        and not name.startswith("_")
        and not getattr(member, "__doc__", None)
    ]
    assert not undocumented
