"""Starting and ending devices: names, nodes, threads, and why it cannot be done here."""

from __future__ import annotations

import errno
import logging
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv._native import lib
from cuse_scullv.cuse import channel as channel_module
from cuse_scullv.cuse import host, testing
from cuse_scullv.cuse.host import Status, availability, explain
from cuse_scullv.cuse.node import Node
from cuse_scullv.cuse.testing import FakeKernel
from cuse_scullv.cuse.workers import parse_placement

NAME = "cusechannel"


def device(**settings: Any) -> cuse.Device:
    return cuse.Device(NAME, read=lambda file, size: b"x", **settings)


# --- channels -----------------------------------------------------------------------------------


def test_the_kernel_is_told_what_the_device_is() -> None:
    settings = {"major": 240, "minor": 3, "unrestricted": True}
    with testing.serve(device(**settings)) as kernel:
        info = kernel.init()
    assert (info.name, info.major, info.minor, info.unrestricted) == (NAME, 240, 3, True)
    assert (info.max_read, info.max_write) == (testing.MAX_REQUEST, testing.MAX_REQUEST)


def test_closing_twice_is_closing_once() -> None:
    with FakeKernel() as kernel:
        channel = cuse.Channel(device(), fd=kernel.server_fd)
        channel.start()
        channel.wait_ready()
        assert "serving" in repr(channel)
        channel.close()
        channel.close()
        assert "closed" in repr(channel)


def test_a_channel_is_started_once() -> None:
    with FakeKernel() as kernel:
        with cuse.Channel(device(), fd=kernel.server_fd) as channel:
            with pytest.raises(cuse.DeviceError, match="started already"):
                channel.start()


def test_a_kernel_that_goes_away_ends_the_channel() -> None:
    ended: list[int] = []
    with FakeKernel() as kernel:
        channel = cuse.Channel(device(), fd=kernel.server_fd, on_end=lambda: ended.append(1))
        with channel:
            kernel.open()
            kernel.abort()
            channel_ended(channel)
    assert ended == [1]


def channel_ended(channel: cuse.Channel) -> None:
    assert channel._ended.wait(60)
    assert channel.ended


def test_a_kernel_that_does_not_answer_is_a_timeout() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        channel = cuse.Channel(device(), fd=theirs.detach())
        channel.start()
        with pytest.raises(cuse.DeviceError, match=f"has not taken /dev/{NAME}") as caught:
            channel.wait_ready(0.05)
        assert caught.value.errno == errno.ETIMEDOUT
        channel.close()


def test_a_kernel_that_is_gone_at_once_is_an_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with pytest.raises(cuse.DeviceError, match="ended") as caught:
        cuse.Channel(device(), fd=theirs.detach()).__enter__()
    assert caught.value.errno == errno.ENODEV


def test_no_descriptor_and_no_thread_is_left() -> None:
    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(
            list(Path("/proc/self/task").iterdir())
        )

    with testing.serve(device()) as kernel:  # the loop thread and such stay
        kernel.open().read(1)
    before = count()
    for _ in range(20):
        with testing.serve(device(timeout=30)) as kernel:
            kernel.open().read(1)
    fds, threads = count()
    assert fds == before[0]
    assert threads <= before[1] + 3  # a pool's last threads end a little later


def test_many_devices_are_served_by_one_process() -> None:
    with ExitStack() as stack:
        kernels = [stack.enter_context(testing.serve(device())) for _ in range(20)]
        for kernel in kernels:
            assert kernel.open().read(1) == b"x"


def test_a_name_is_served_once_by_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "_names", {NAME})
    with pytest.raises(cuse.DeviceError, match="this process serves a device") as caught:
        cuse.Channel(device()).start()
    assert caught.value.errno == errno.EEXIST
    assert channel_module._names == {NAME}


# --- why not ------------------------------------------------------------------------------------


def root(tmp_path: Path, *, loaded: bool = False, module: bool = False) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/misc").write_text("203 cuse\n" if loaded else "229 fuse\n")
    modules = tmp_path / "lib/modules" / platform.release()
    modules.mkdir(parents=True)
    text = "kernel/fs/fuse/cuse.ko.xz: kernel/fs/fuse/fuse.ko.xz\n" if module else ""
    (modules / "modules.dep").write_text("kernel/fs/fuse/fuse.ko.xz:\n" + text)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "loaded", "module", "status", "fix"),
    [
        (errno.ENOENT, False, True, Status.NOT_LOADED, "modprobe cuse"),
        (errno.ENODEV, False, True, Status.NOT_LOADED, "modprobe cuse"),
        (errno.ENOENT, False, False, Status.NO_MODULE, "install the module"),
        (errno.ENOENT, True, False, Status.NO_NODE, "mknod -m 600 /dev/cuse c 10 203"),
        (errno.EACCES, True, True, Status.NOT_PERMITTED, "setfacl -m u:"),
        (errno.EPERM, True, True, Status.DENIED, "--device /dev/cuse"),
        (errno.EIO, True, True, Status.BROKEN, "dmesg"),
    ],
)
def test_what_is_missing_is_told_apart(
    tmp_path: Path, code: int, loaded: bool, module: bool, status: Status, fix: str
) -> None:
    found = explain(code, root(tmp_path, loaded=loaded, module=module))
    assert not found.ok
    assert found.status is status
    assert fix in found.fix
    error = found.error()
    assert error.errno == code
    assert found.reason in str(error)
    assert fix in str(error)
    assert "\n" not in str(error)


def test_availability_opens_the_node(tmp_path: Path) -> None:
    folder = root(tmp_path, module=True)
    assert availability(folder).status is Status.NOT_LOADED
    (folder / "dev").mkdir()
    (folder / "dev/cuse").touch()
    assert availability(folder).ok


def test_a_device_cannot_be_served_without_cuse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "DEV_CUSE", tmp_path / "cuse")
    with pytest.raises(cuse.DeviceError, match=": ") as caught:
        cuse.Channel(device()).start()
    assert caught.value.errno == errno.ENOENT


# --- nodes --------------------------------------------------------------------------------------


class FakeDev:
    """A /dev that is no devtmpfs, and a /sys/class/cuse."""

    def __init__(self, folder: Path) -> None:
        self.dev, self.sys = folder / "dev", folder / "sys"
        self.dev.mkdir()
        self.sys.mkdir()

    def register(self, number: int = os.makedev(1, 3), name: str = NAME) -> None:
        (self.sys / name).mkdir()
        (self.sys / name / "dev").write_text(f"{os.major(number)}:{os.minor(number)}\n")

    def node(self, **settings: Any) -> Node:
        return Node(device(**settings), self.dev, self.sys)

    def node_in(self, folder: str) -> Node:
        return Node(cuse.Device(f"{folder}/{NAME}"), self.dev, self.sys)


@pytest.fixture
def fake_dev(tmp_path: Path) -> FakeDev:
    return FakeDev(tmp_path)


needs_mknod = pytest.mark.skipif(os.geteuid() != 0, reason="mknod needs root")


@needs_mknod
def test_a_node_is_made_where_the_kernel_makes_none(fake_dev: FakeDev) -> None:
    node = fake_dev.node(mode=0o640, owner=12, group="34")
    node.check_free()
    fake_dev.register()
    node.appear(10)
    found = node.path.lstat()
    assert stat.S_ISCHR(found.st_mode)
    assert found.st_rdev == os.makedev(1, 3)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 12, 34)
    node.remove()
    assert not node.path.exists()
    node.remove()


@needs_mknod
def test_a_node_that_somebody_else_made_is_used_and_left(fake_dev: FakeDev) -> None:
    node = fake_dev.node()
    fake_dev.register()
    os.mknod(node.path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    node.appear(10)
    node.remove()
    assert stat.S_IMODE(node.path.lstat().st_mode) == 0o660


@needs_mknod
def test_a_node_that_was_replaced_is_left(fake_dev: FakeDev) -> None:
    node = fake_dev.node()
    fake_dev.register()
    node.appear(10)
    node.path.unlink()
    node.path.write_text("mine")
    node.remove()
    assert node.path.read_text() == "mine"


@needs_mknod
def test_folders_are_made_and_taken_away_with_the_node(fake_dev: FakeDev) -> None:
    (fake_dev.dev / "there").mkdir()
    node = fake_dev.node_in("there/a/b")
    node.check_free()
    fake_dev.register(name=f"there!a!b!{NAME}")
    node.appear(10)
    assert stat.S_ISCHR((fake_dev.dev / "there/a/b" / NAME).lstat().st_mode)
    node.remove()
    assert list(fake_dev.dev.iterdir()) == [fake_dev.dev / "there"]
    assert not list((fake_dev.dev / "there").iterdir())


def test_a_folder_is_taken_away_where_the_node_cannot_be_made(
    fake_dev: FakeDev, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", deny)
    node = fake_dev.node_in("new/er")
    fake_dev.register(name=f"new!er!{NAME}")
    with pytest.raises(cuse.DeviceError, match="cannot be made"):
        node.appear(10)
    node.remove()
    assert not list(fake_dev.dev.iterdir())


@needs_mknod
def test_a_folder_that_others_use_by_now_is_left(fake_dev: FakeDev) -> None:
    node = fake_dev.node_in("new")
    fake_dev.register(name=f"new!{NAME}")
    node.appear(10)
    (fake_dev.dev / "new" / "theirs").touch()
    node.remove()
    assert list((fake_dev.dev / "new").iterdir()) == [fake_dev.dev / "new" / "theirs"]


@pytest.mark.parametrize("folder", ["null", "null/deeper"])
def test_a_folder_that_is_a_file_is_said(fake_dev: FakeDev, folder: str) -> None:
    (fake_dev.dev / "null").touch()
    with pytest.raises(cuse.DeviceError, match=r"dev/null is no folder: take another") as caught:
        fake_dev.node_in(folder).check_free()
    assert caught.value.errno == errno.ENOTDIR


def test_a_folder_that_is_a_file_system_of_its_own_is_said() -> None:
    with pytest.raises(cuse.DeviceError, match=r"/dev/pts is a file system of its own") as caught:
        cuse.Channel(cuse.Device("pts/9999")).start()
    assert caught.value.errno == errno.EXDEV


def test_a_node_in_a_folder_that_another_server_has_is_taken(fake_dev: FakeDev) -> None:
    fake_dev.register(name=f"a!{NAME}")
    with pytest.raises(cuse.DeviceError, match=f"stop {fake_dev.dev}/a/{NAME}'") as caught:
        fake_dev.node_in("a").check_free()
    assert caught.value.errno == errno.EEXIST


def test_a_name_that_a_file_has_is_taken(fake_dev: FakeDev) -> None:
    node = fake_dev.node()
    node.path.symlink_to("nowhere")
    with pytest.raises(cuse.DeviceError, match="rm ") as caught:
        node.check_free()
    assert caught.value.errno == errno.EEXIST


def test_a_name_that_another_server_has_is_taken(fake_dev: FakeDev) -> None:
    fake_dev.register()
    with pytest.raises(cuse.DeviceError, match="another server has") as caught:
        fake_dev.node().check_free()
    assert caught.value.errno == errno.EEXIST


def test_a_node_that_does_not_appear_is_a_timeout(fake_dev: FakeDev) -> None:
    with pytest.raises(cuse.DeviceError, match=r"has not appeared within 0\.02 s") as caught:
        fake_dev.node().appear(0.02)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"owner": "nobody-of-that-name"}, "no user 'nobody-of-that-name'"),
        ({"group": "no-such-group"}, "no group 'no-such-group'"),
        ({"owner": -2}, "no uid -2"),
        ({"group": 1 << 32}, "no gid 4294967296"),
    ],
)
def test_owners_that_are_not_are_refused_before_anything_is_made(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(cuse.DeviceError, match=said) as caught:
        cuse.Channel(device(**settings)).start()
    assert caught.value.errno == errno.EINVAL


# --- workers ------------------------------------------------------------------------------------


def test_placements() -> None:
    cpu = min(os.sched_getaffinity(0))
    assert parse_placement("none") == (lib.PLACEMENT_NONE, [])
    assert parse_placement("follow") == (lib.PLACEMENT_FOLLOW, [])
    assert parse_placement(f"{cpu},{cpu}-{cpu}") == (lib.PLACEMENT_LIST, [cpu])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "type follow, none, or CPUs as 0,2-3"),
        ("near", "type follow, none, or CPUs as 0,2-3"),
        ("0,", "type follow, none, or CPUs as 0,2-3"),
        ("-1", "type follow, none, or CPUs as 0,2-3"),
        ("3-2", "3-2 runs backwards"),
        ("99999", "no CPU 99999 for this process; it has "),
    ],
)
def test_placements_that_cannot_be_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        cuse.Workers(placement=text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"threads": 64}, {"callers": 0}, {"callers": 1025}, {"spin_us": -1}]
)
def test_numbers_of_workers_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        cuse.Workers(**wrong)


def test_workers_reach_the_channel() -> None:
    workers = cuse.Workers(threads=3, placement="none", spin_us=5, callers=7)
    options = workers.options()
    assert (options.threads, options.callers, options.spin_us) == (3, 7, 5)
    assert options.placement == lib.PLACEMENT_NONE
    assert cuse.Workers().options().spin_us == -1
    with testing.serve(device(), workers) as kernel:
        assert kernel.open().read(1) == b"x"


# --- serve --------------------------------------------------------------------------------------


def test_serve_needs_the_main_thread() -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            cuse.serve(device())
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert "main thread" in str(errors[0])


PROGRAM = f"""
import sys
from cuse_scullv import cuse
device = cuse.Device({NAME!r}, read=lambda file, size: b"served")
cuse.serve(device, on_ready=lambda: print("ready", flush=True))
print("ended")
"""


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_with_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        path = Path(f"/dev/{NAME}")
        with path.open("rb", buffering=0) as file:
            assert file.read(10) == b"served"
            program.send_signal(number)  # with a file open
            assert program.stdout.read() == b"ended\n"
            assert program.wait(60) == 0
        assert not path.exists()


@pytest.mark.real
def test_serve_ends_when_the_kernel_ends_the_device() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        Path(f"/sys/class/cuse/{NAME}/abort").write_text("1")
        _, errors = program.communicate(timeout=60)
    assert program.returncode == 1
    assert b"was ended by the kernel" in errors


LEFT_OPEN = """
import threading
from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeKernel

class Device(cuse.Device):
    def read(self, file, size):
        reading.set()
        cuse.sleep(3600)

    def release(self, file):
        print("released")

reading = threading.Event()
kernel = FakeKernel()
cuse.Channel(Device("left"), fd=kernel.server_fd).start()
kernel.start(kernel.open().read, 1)
reading.wait()
print("end")
"""


def test_a_program_that_closes_nothing_ends_well() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, timeout=90, check=True
    )
    assert (run.stdout, run.stderr) == ("end\nreleased\n", "")


# --- the plugin ---------------------------------------------------------------------------------

pytest_plugins = ["pytester"]

FAULTY = """
import pytest
from cuse_scullv import cuse

def fault(cuse_device):
    file = cuse_device(cuse.Device("bad", read=lambda file, size: 1 // 0)).open()
    with pytest.raises(OSError):
        file.read(1)

def test_unmarked(cuse_device):
    fault(cuse_device)

@pytest.mark.logs_errors
def test_marked(cuse_device):
    fault(cuse_device)

def test_fine(cuse_device):
    assert cuse_device(cuse.Device("good", read=lambda file, size: b"x")).open().read(1) == b"x"
"""


def test_a_fault_in_the_log_fails_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAULTY)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*the log of cuse_scullv has:*", "*bad: read() raised*"])


def test_faults_are_seen_however_logging_is_set_up(
    cuse_device: Callable[..., FakeKernel], cuse_log: list[logging.LogRecord]
) -> None:
    cuse_device(device()).open().read(1)
    assert cuse_log == []


def test_a_device_may_end_while_its_last_answer_is_under_way() -> None:
    """The client goes on as soon as it has the answer, the thread that gave it a little later."""

    class Quick(cuse.Device):
        async def release(self, file: cuse.File) -> None:
            return None

    for _ in range(100):
        with testing.serve(Quick("quick")) as kernel:
            kernel.open(os.O_RDWR).close()
