"""What a plain user can do to nodes, to the file view and to who serves them, by their modes
(docs/security.md)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cuse_scullv import client, ioctl
from nodes import RealServer
from views import FilesServer, unmount

SOMEBODY = 65534
NUMBERS = ioctl.NUMBERS
_libc = ctypes.CDLL(None, use_errno=True)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


def as_somebody(attempts: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Runs each in a process of a plain user: "ok", or the name of its errno."""
    results, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            outcome = {name: outcome_of(attempt) for name, attempt in attempts.items()}
            os.write(told, json.dumps(outcome).encode())
        except BaseException:  # noqa: BLE001 - it must not come back as pytest
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(results) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return dict(json.loads(said))


def outcome_of(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def opened(path: Path, flags: int, then: Callable[[int], object] = lambda fd: None) -> None:
    fd = os.open(path, flags)
    try:
        then(fd)
    finally:
        os.close(fd)


def command(name: str, value: int = 0) -> Callable[[int], object]:
    """An ioctl: of those that take a number by pointer, or in place of one."""
    number = NUMBERS[name]
    room = bytearray(value.to_bytes(4, "little").ljust(number >> 16 & 0x3FFF, b"\0"))
    return lambda fd: fcntl.ioctl(fd, number, room if room and number >> 30 else value)


def on(path: Path) -> dict[str, Callable[[], object]]:
    """What can be tried with a node or a file."""
    return {
        "open to read": lambda: opened(path, os.O_RDONLY),
        "open to write": lambda: opened(path, os.O_RDWR),
        "read": lambda: opened(path, os.O_RDONLY, lambda fd: os.read(fd, 10)),
        "write": lambda: opened(path, os.O_RDWR, lambda fd: os.write(fd, b"x")),
        "write what is open to read": lambda: opened(
            path, os.O_RDONLY, lambda fd: os.write(fd, b"x")
        ),
        "information": lambda: opened(path, os.O_RDONLY, command("SCULLV_IOC_INFO")),
        "a parameter": lambda: opened(path, os.O_RDWR, command("SCULLV_IOCSORDER", 1)),
        "a parameter of what is open to read": lambda: opened(
            path, os.O_RDONLY, command("SCULLV_IOCSORDER", 1)
        ),
        "trim": lambda: opened(path, os.O_RDWR, command("SCULLV_IOC_TRIM")),
        "trim what is open to read": lambda: opened(path, os.O_RDONLY, command("SCULLV_IOC_TRIM")),
        "reset what is open to read": lambda: opened(path, os.O_RDONLY, command("SCULLV_IOCRESET")),
        "an unknown ioctl": lambda: opened(
            path, os.O_RDONLY, lambda fd: fcntl.ioctl(fd, 0x1234, 0)
        ),
        "chmod": lambda: path.chmod(0o666),
        "chown": lambda: os.chown(path, SOMEBODY, SOMEBODY),
    }


ALL = frozenset(on(Path()))
NOT_BY_MODE = {"chmod", "chown", "an unknown ioctl"}
READING = {"open to read", "read", "information"}
TO_READ_ONLY = {name for name in ALL if name.endswith("open to read")} - {"open to read"}
WRITING = ALL - READING - TO_READ_ONLY - NOT_BY_MODE


def expected(mode: int) -> dict[str, str]:
    """By the bits for others."""
    reads, writes = mode & 4, mode & 2
    result = dict.fromkeys(ALL, "EACCES")
    if reads:
        result |= dict.fromkeys(READING, "ok")
        result |= dict.fromkeys(TO_READ_ONLY, "EPERM")
        result |= {"write what is open to read": "EBADF", "an unknown ioctl": "ENOTTY"}
    if reads and writes:
        result |= dict.fromkeys(WRITING, "ok")
    return result | {"chmod": "EPERM", "chown": "EPERM"}


@pytest.mark.real
@pytest.mark.parametrize("mode", ["0660", "0664", "0666"])
def test_a_node_by_its_mode(mode: str) -> None:
    server = RealServer("--mode", mode, "--max-bytes", "16M")
    try:
        assert as_somebody(on(server.path)) == expected(int(mode, 8))
    finally:
        assert server.stop() == 0


@pytest.fixture
def view() -> Iterator[Path]:
    """Another user gets there: pytest's own folders are 0700, and each session sees to that."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "view"
        folder.mkdir()
        yield folder
        unmount(folder)


@pytest.mark.mount
@pytest.mark.parametrize("mode", ["0660", "0664", "0666"])
@pytest.mark.parametrize("how", ["direct", "auto"])
def test_a_file_by_its_mode(view: Path, mode: str, how: str) -> None:
    options = ["--mode", mode, "--max-bytes", "16M", "--backing", "memfd", "--view", how]
    server = FilesServer(view, *options)
    try:
        assert as_somebody(on(server.files[0])) == expected(int(mode, 8))
    finally:
        assert server.stop() == 0


@pytest.mark.mount
def test_the_folder_of_a_view_stays_as_it_is(view: Path) -> None:
    server = FilesServer(view, "--mode", "0666", "--max-bytes", "16M")
    name = view / "two\nlines"
    file = server.files[0]
    try:
        outcome = as_somebody(
            {
                "make": lambda: opened(name, os.O_CREAT | os.O_WRONLY),
                "make a folder": name.mkdir,
                "make a node": lambda: os.mknod(name),
                "link": lambda: os.link(file, name),
                "link to it": lambda: name.symlink_to(file),
                "rename": lambda: file.rename(name),
                "unlink": file.unlink,
                "look up": name.stat,
                "list": lambda: list(view.iterdir()),
                "set an attribute": lambda: os.setxattr(file, "user.a", b"b"),
                "set a time": lambda: os.utime(file, (1, 1)),
                "set it to now": lambda: os.utime(file),
                "truncate": lambda: os.truncate(file, 0),
            }
        )
        assert outcome.pop("set an attribute") in ("ENOTSUP", "EOPNOTSUPP")
        assert outcome == {
            "make": "EACCES",
            "make a folder": "EACCES",
            "make a node": "EACCES",
            "link": outcome["link"],
            "link to it": "EACCES",
            "rename": "EACCES",
            "unlink": "EACCES",
            "look up": "ENOENT",
            "list": "ok",
            "set a time": "EPERM",
            "set it to now": "ok",
            "truncate": "ok",
        }
        assert outcome["link"] in ("EPERM", "EACCES")
        assert sorted(file.name for file in view.iterdir()) == ["scullv", "scullvmem"]
    finally:
        assert server.stop() == 0


def named(name: bytes, attempt: Callable[[], object]) -> Callable[[], object]:
    """The same by a process of that name (prctl(2): PR_SET_NAME)."""

    def run() -> object:
        _libc.prctl(15, name, 0, 0, 0)
        return attempt()

    return run


@pytest.mark.mount
def test_the_name_of_a_process_gives_it_no_privilege(view: Path) -> None:
    server = FilesServer(view, "--mode", "0666", "--max-bytes", "16M")
    try:
        trim = on(server.files[0])["trim what is open to read"]
        names = [b"a) R 1 (", b"CapEff: ffffff", b"\nCapEff: 200000", b"", b"\xff\xfe"]
        # What str.splitlines takes for the end of a line
        names += [end + b"CapEff: 200000" for end in (b"\r", b"\v", b"\f", b"\x1c", b"\x1e")]
        names += [b"\xc2\x85CapEff: ffffff"]
        outcome = as_somebody({repr(name): named(name, trim) for name in names})
        assert outcome == dict.fromkeys(map(repr, names), "EPERM")
    finally:
        assert server.stop() == 0


@pytest.mark.mount
@pytest.mark.parametrize("arguments", [(), ("--recover",)])
def test_who_serves_is_left_alone(view: Path, arguments: tuple[str, ...]) -> None:
    """By a user that is not the worker's."""
    server = FilesServer(view, "--max-bytes", "16M", "--user", "daemon", *arguments)
    try:
        pids = {"keeper": server.process.pid, "worker": server.worker}
        attempts: dict[str, Callable[[], object]] = {}
        for who, pid in pids.items():
            attempts |= {
                f"kill the {who}": lambda pid=pid: os.kill(pid, signal.SIGKILL),
                f"files of the {who}": lambda pid=pid: list(Path(f"/proc/{pid}/fd").iterdir()),
                f"memory of the {who}": lambda pid=pid: opened(
                    Path(f"/proc/{pid}/mem"), os.O_RDONLY
                ),
                f"trace the {who}": lambda pid=pid: trace(pid),
            }
        outcome = as_somebody(attempts)
        assert set(outcome.values()) <= {"EPERM", "EACCES"}, outcome
        with client.open(server.files[0], "r+") as device:
            device.write(b"still here")
    finally:
        assert server.stop() == 0


def trace(pid: int) -> None:
    if _libc.ptrace(0x4206, pid, 0, 0):  # PTRACE_SEIZE
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@pytest.mark.real
def test_the_ways_to_end_a_device_are_roots() -> None:
    server = RealServer("--mode", "0666", "--max-bytes", "16M")
    try:
        control = Path("/sys/class/cuse") / server.name
        outcome = as_somebody(
            {
                "abort": lambda: opened(control / "abort", os.O_WRONLY),
                "unlink the node": server.path.unlink,
                "open /dev/cuse": lambda: opened(Path("/dev/cuse"), os.O_RDWR),
            }
        )
        assert outcome == dict.fromkeys(outcome, "EACCES")
        assert server.path.exists()
    finally:
        assert server.stop() == 0
