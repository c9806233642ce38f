"""Mounting the file view: what can be wrong with the directory, and how the view ends."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv.view import mount
from cuse_scullv.view.mappings import is_mapped_by_somebody
from nodes import SERVER_S
from shell import CLI, NOBODY, NOBODYS_CLI, run
from views import FilesServer, is_root, served, unmount

needs_fuse = pytest.mark.mount


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "files"
    place.mkdir()
    yield place
    unmount(place)


def refusal(directory: Path) -> tuple[int, str]:
    """The errno and the line that `mount.check` refuses the directory with."""
    with pytest.raises(mount.MountError) as error:
        mount.check(directory)
    assert error.value.errno is not None
    assert isinstance(error.value.strerror, str)
    assert "\n" not in error.value.strerror
    return error.value.errno, error.value.strerror


# --- the directory


def test_a_directory_must_be_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == (
        errno.ENOENT,
        f"no directory {tmp_path}/no: type mkdir -p {tmp_path}/no",
    )


def test_it_must_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file")[0] == errno.ENOTDIR
    assert refusal(tmp_path / "file" / "below")[0] == errno.ENOTDIR


def test_it_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    code, message = refusal(tmp_path)
    assert code == errno.ENOTEMPTY
    assert "precious" in message


@needs_fuse
def test_it_must_not_show_another_servers_files(directory: Path) -> None:
    with served(directory, "--max-bytes", "1M") as server:
        code, message = refusal(directory)
        assert (code, str(directory) in message) == (errno.EBUSY, True)
        done = run(*CLI, "serve", "--no-node", "--files", str(directory))
        assert done.returncode != 0
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1, lines
        assert str(directory) in lines[0]
        assert server.files[0].exists()


def test_the_table_of_mounts_is_read_with_its_escapes(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "31 20 0:40 / /mnt/with\\040space rw shared:2 master:1 - fuse.scullv cuse-scullv rw\n"
        "32 31 0:41 / /mnt/with\\040space rw - tmpfs none rw\n"
    )
    assert mount.mounts_on(Path("/mnt/with space"), table) == [
        mount.Mount(31, "0:40", "/mnt/with space", "fuse.scullv"),
        mount.Mount(32, "0:41", "/mnt/with space", "tmpfs"),
    ]
    assert mount.mounts_on(Path("/mnt/with"), table) == []


# --- the end


@needs_fuse
def test_a_stopped_server_leaves_an_empty_directory(directory: Path) -> None:
    with served(directory, "--max-bytes", "1M") as server:
        server.files[0].write_bytes(b"x")
    assert not list(directory.iterdir())


@needs_fuse
def test_a_server_stops_while_files_are_open_and_mapped(directory: Path) -> None:
    server = FilesServer(directory, "--max-bytes", "1M")
    number = os.open(server.files[0], os.O_RDWR)
    os.write(number, bytes(4096))
    mapped = mmap.mmap(number, 4096)
    mapped[0:1] = b"x"
    assert server.stop() == 0, server.errors
    assert not directory.is_mount()
    with pytest.raises(OSError) as error:
        os.pwrite(number, b"y", 0)
    assert error.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    mapped.close()
    with pytest.raises(OSError) as error:
        os.close(number)
    assert error.value.errno == errno.ENOTCONN


@needs_fuse
def test_unmounting_ends_the_server(directory: Path) -> None:
    server = FilesServer(directory, "--max-bytes", "1M")
    subprocess.run(["umount" if is_root() else "fusermount3", str(directory)], check=True)
    assert server.process.wait(SERVER_S) == 1
    server.stop()
    assert b"unmounted" in server.errors


@needs_fuse
def test_files_can_be_served_again_and_again(directory: Path) -> None:
    for _ in range(2):
        with served(directory, "--max-bytes", "1M") as server:
            assert server.files[0].stat().st_size == 0


TOUCHER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.ftruncate(fd, 8192)
mapped = mmap.mmap(fd, 8192)
print("mapped", flush=True)
sys.stdin.readline()
mapped[4096]
"""


@needs_fuse
def test_killing_a_server_is_sigbus_for_who_has_its_files_mapped(directory: Path) -> None:
    """And what it leaves behind is recognised and cleaned by the next."""
    server = FilesServer(directory, "--max-bytes", "1M")
    client = subprocess.Popen(
        [sys.executable, "-c", TOUCHER, str(server.files[0])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LD_PRELOAD": ""},  # a sanitizer would handle the signal
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"mapped\n"
    server.process.kill()
    server.process.wait(SERVER_S)
    server.stop()
    client.communicate(b"\n", SERVER_S)
    assert client.returncode == -signal.SIGBUS
    with pytest.raises(OSError) as error:
        directory.stat()
    assert error.value.errno == errno.ENOTCONN
    again = FilesServer(directory, "--max-bytes", "1M")
    again.files[0].write_bytes(b"alive")
    assert again.files[0].read_bytes() == b"alive"
    assert again.stop() == 0
    assert b"unmounted" in again.errors


@needs_fuse
def test_a_command_that_cannot_run_leaves_no_mount(directory: Path) -> None:
    done = run(*CLI, "serve", "--no-node", "--files", str(directory), "--run", "/no/such/command")
    assert done.returncode == 127
    assert not directory.is_mount()


@needs_fuse
def test_many_devices_have_many_files(directory: Path) -> None:
    with served(directory, "--devices", "100", "--max-bytes", "8M") as server:
        assert len(server.names()) == 101
        for number, path in enumerate(server.files):
            path.write_bytes(b"%d" % number)
        assert [int(path.read_bytes()) for path in server.files] == list(range(100))


# --- without root

# In mounts of its own, where everybody may open /dev/fuse.
IN_PRIVATE = """
set -e
if ! [ -e /etc/mtab ]; then # fusermount3 wants it, and a minimal Debian has none
    cp -a /etc "$NODE.etc"
    ln -s /proc/self/mounts "$NODE.etc/mtab"
    mount --bind "$NODE.etc" /etc
fi
mknod "$NODE" c 10 229
chmod 666 "$NODE"
mount --bind "$NODE" /dev/fuse
status=0
"$@" || status=$?
if mountpoint -q "$D"; then exit 99; fi
exit $status
"""
USE = """
set -e
stat -c "%U %a" "$D/scullv"
echo hello > "$D/scullv"
cat "$D/scullv"
grep -q "^Device 0: " "$D/scullvmem"
"""


@needs_fuse
def test_an_ordinary_user_serves_by_fusermount3(directory: Path, tmp_path: Path) -> None:
    if not is_root():
        pytest.skip("all other tests are this one: they do not run as root")
    os.chown(directory, NOBODY, NOBODY)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    serve = ["serve", "--no-node", "--files", str(directory), "--max-bytes", "1M"]
    words = [*NOBODYS_CLI, *serve, "--run", "sh", "-c", USE]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", IN_PRIVATE, "sh", *words],
        env={**os.environ, "D": str(directory), "NODE": str(tmp_path / "fuse")},
        capture_output=True,
        timeout=SERVER_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.splitlines() == [b"nobody 660", b"hello"]
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()  # that it serves


# The only way to unmount goes while the view is mounted; then it is served again.
LOSE_HELPER = """
set -e
mknod "$NODE" c 10 229
chmod 666 "$NODE"
mount --bind "$NODE" /dev/fuse
ln -s "$(command -v fusermount3)" "$BIN/fusermount3"
status=0
PATH=$BIN "$@" --run /bin/rm "$BIN/fusermount3" || status=$?
echo "$status"
grep -qF " $D " /proc/self/mounts && echo mounted
PATH=$BIN "$@" --run /bin/true || echo $?
"""


@needs_fuse
def test_a_mount_that_stays_is_told_and_no_other_is(directory: Path, tmp_path: Path) -> None:
    if not is_root():
        pytest.skip("this takes mounts of its own")
    os.chown(directory, NOBODY, NOBODY)
    programs = tmp_path / "bin"
    programs.mkdir()
    os.chown(programs, NOBODY, NOBODY)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    serve = ["serve", "--no-node", "--files", str(directory), "--max-bytes", "1M"]
    words = [*NOBODYS_CLI, *serve]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", LOSE_HELPER, "sh", *words],
        env={
            **os.environ,
            "BIN": str(programs),
            "D": str(directory),
            "NODE": str(tmp_path / "fuse"),
        },
        capture_output=True,
        timeout=SERVER_S,
        check=False,
    )
    assert done.stdout.split() == [b"1", b"mounted", b"2"], done.stderr.decode()
    lines = done.stderr.decode().splitlines()
    assert lines[-2:] == [
        f"cuse-scullv: {directory} stays mounted (no fusermount3 on PATH): type umount -l"
        f" {directory} as root",
        f"cuse-scullv: {directory} is still mounted by a server that died: type umount -l"
        f" {directory} as root",
    ]
    assert not any("unmounted" in line for line in lines)


def test_an_ordinary_user_needs_fusermount3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(mount.MountError) as error:
        mount.mount(tmp_path)
    assert error.value.errno == errno.ENOENT
    assert "fusermount3" in str(error.value.strerror)


# --- who has a file mapped


def test_mappings_are_found_by_device_and_inode(tmp_path: Path) -> None:
    for pid, text in {
        "1": "",
        "22": "7f00-7f10 rw-s 00000000 00:2f 3                          /mnt/a b/scullv\n",
        "self": "no process",
    }.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "maps").write_text(text)
    (tmp_path / "33").mkdir()  # has ended
    assert is_mapped_by_somebody("0:47", 3, tmp_path)
    assert not is_mapped_by_somebody("0:47", 4, tmp_path)
    assert not is_mapped_by_somebody("0:48", 3, tmp_path)


def test_a_mapping_of_this_process_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(bytes(4096))
    found = path.stat()
    device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
    assert not is_mapped_by_somebody(device, found.st_ino)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert is_mapped_by_somebody(device, found.st_ino)
