"""Devices over files: what outlives the server, what is there already, and what cannot be."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client, ioctl
from cuse_scullv.backing import Backing, BackingError, Ground
from cuse_scullv.kernels import running
from cuse_scullv.params import Geometry
from nodes import RealServer, Serve, seek
from shell import CLI, NOBODYS_CLI, out, run
from views import SERVER_S, FilesServer, blocks, is_root, served

MIB = 1 << 20
Q = 65536
mount = pytest.mark.mount


def image(path: Path) -> Path:
    """Data with a hole before, between and behind it."""
    with path.open("wb") as file:
        for at in (Q, 5 * Q + 100):
            file.seek(at)
            file.write(random.Random(at).randbytes(3000))
        file.truncate(9 * Q + 7)
    return path


# --- what was asked for


@pytest.mark.parametrize(
    ("text", "path", "offset", "size"),
    [
        ("/x", "/x", 0, None),
        ("/x:4096", "/x", 4096, None),
        ("/x:4K:1M", "/x", 4096, MIB),
        ("/x:y", "/x:y", 0, None),
        ("/x:y:1K", "/x:y", 1024, None),
        ("/x:1:2:3", "/x:1", 2, 3),
    ],
)
def test_a_map_is_a_file_an_offset_and_a_size(
    text: str, path: str, offset: int, size: int | None
) -> None:
    assert Backing.of_map(text) == Backing("map", path, offset, size)


def test_a_name_that_looks_like_numbers_is_a_name_if_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a:4096"
    path.write_bytes(b"x")
    assert Backing.of_map(str(path)) == Backing("map", str(path))


def test_names_are_of_where_the_server_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Backing.of("image").path == str(tmp_path / "image")


# --- what cannot be


def refusal(*words: str, cli: list[str] = CLI) -> str:
    """What `serve` says, in one line, ending with status 2."""
    done = run(*cli, "serve", "--no-node", "--files", "/nonexistent/never", *words, "--run", "true")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()
    return done.stderr.decode()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "plain").write_bytes(bytes(10_000))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backing", "{}/no/image"], "there is no {}/no"),
        (["--backing", "{}/folder"], "is a directory"),
        (["--backing", "{}/fifo"], "is no regular file"),
        (["--backing", "/dev/null"], "is no regular file"),
        (["--backing", "{}/image", "--devices", "2"], "put a %d into the name"),
        (["--backing", "memfd", "--map", "{}/plain"], "leave out --backing"),
        (["--map", "{}/none"], "there is no {}/none"),
        (["--map", "{}/folder"], "is a directory"),
        (["--map", "{}/fifo"], "is no regular file"),
        (["--map", "{}/empty"], "none to map"),
        (["--map", "{}/plain:10000"], "none to map from 10000 on: type"),
        (["--map", "{}/plain:4096:8K"], "type less, or truncate -s 12288"),
        (["--map", "{}/plain", "--max-bytes", "1M"], "leave out --max-bytes"),
        (["--view", "sideways"], "--view"),
    ],
)
def test_what_cannot_be_is_one_line_and_2(place: Path, words: list[str], said: str) -> None:
    before = sorted(place.iterdir())
    line = refusal(*(word.replace("{}", str(place)) for word in words))
    assert said.replace("{}", str(place)) in line
    assert "type" in line or "put a" in line or "leave out" in line or "there is no" in line
    assert sorted(place.iterdir()) == before


@mount
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "type --backing memfd, or --backing FILE"),
        (["--backing", "{}/image", "--max-bytes", "1M"], "would not keep --max-bytes"),
        (["--map", "{}/plain"], "the devices are no files"),
    ],
)
def test_passthrough_that_cannot_be_is_said(place: Path, words: list[str], said: str) -> None:
    folder = place / "folder"
    words = [word.replace("{}", str(place)) for word in words]
    serve = ["serve", "--no-node", "--files", str(folder), "--view", "passthrough"]
    done = run(*CLI, *serve, *words, "--run", "true")
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert not folder.is_mount()


def test_a_file_that_is_not_ours_to_write_is_refused(place: Path) -> None:
    if not is_root():
        pytest.skip("this takes another user")
    for folder in (place, *place.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and folder.owner() == "root":
            folder.chmod(0o755)
    (place / "plain").chmod(0o644)
    line = refusal("--backing", str(place / "plain"), cli=NOBODYS_CLI)
    assert "not yours to write: chmod it, or serve it by --map" in line


def test_a_file_has_one_server(place: Path) -> None:
    path = str(place / "image")
    first = Ground(Backing.of(path), 1, None)
    store = first.store(0, Geometry(Q, 500))
    with pytest.raises(BackingError, match="served already: stop that server"):
        Ground(Backing.of(path), 1, None).store(0, Geometry(Q, 500))
    store.close()
    Ground(Backing.of(path), 1, None).store(0, Geometry(Q, 500)).close()


def test_parts_of_a_file_have_a_server_each(place: Path) -> None:
    def part(text: str) -> Ground:
        return Ground(Backing.of_map(f"{place}/plain:{text}"), 1, None)

    geometry = Geometry(4096, 500)
    one = part("0:4096").store(0, geometry)
    two = part("4096:4096").store(0, geometry)
    with pytest.raises(BackingError, match="served already"):
        part("4000:200").store(0, geometry)
    one.close()
    two.close()


# --- a file


@mount
@pytest.mark.parametrize("view", ["auto", "direct"])
def test_a_device_outlives_its_server(tmp_path: Path, view: str) -> None:
    backing, files = image(tmp_path / "image"), tmp_path / "files"
    copy = out("sha256sum", str(backing)).split()[0]
    words = ["--backing", str(backing), "--view", view]
    for _ in range(2):
        before = blocks(backing)
        with served(files, *words) as server:
            path = server.files[0]
            assert out("sha256sum", str(path)).split()[0] == copy
            assert path.stat().st_size == 9 * Q + 7
            with path.open("rb") as file:
                edges = [os.lseek(file.fileno(), 0, os.SEEK_DATA)]
                edges += [os.lseek(file.fileno(), edges[0], os.SEEK_HOLE)]
            assert edges == [Q, 2 * Q]
            assert json.loads(out(*CLI, "info", "--json", str(path)))["backing"] == "file"
        assert blocks(backing) == before
    with served(files, *words) as server:
        server.files[0].write_bytes(b"other")
    assert backing.read_bytes() == b"other"
    with served(files, *words) as server:
        with client.open(server.files[0], "r+") as device:
            device.trim()
    assert (backing.stat().st_size, blocks(backing)) == (0, 0)


@mount
def test_the_file_is_an_ordinary_sparse_image(tmp_path: Path) -> None:
    made = image(tmp_path / "made")
    backing, files = tmp_path / "image", tmp_path / "files"
    with served(files, "--backing", str(backing)) as server:
        out(*CLI, "load", str(server.files[0]), str(made))
    out("cmp", str(made), str(backing))
    assert blocks(backing) == blocks(made)
    out("cp", "--sparse=always", str(backing), str(tmp_path / "copy"))
    out("cmp", str(made), str(tmp_path / "copy"))


@mount
def test_what_a_killed_server_was_given_is_there(tmp_path: Path) -> None:
    backing, files = tmp_path / "image", tmp_path / "files"
    files.mkdir()
    server = FilesServer(files, "--backing", str(backing), "--view", "direct")
    data = os.urandom(300_000)
    fd = os.open(server.files[0], os.O_RDWR)
    assert os.write(fd, data) == len(data)
    os.fsync(fd)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(SERVER_S)
    with contextlib.suppress(OSError):
        os.close(fd)
    subprocess.run(["fusermount3", "-u", "-z", str(files)], check=True)
    assert backing.read_bytes() == data


@mount
def test_a_file_that_shrinks_ends_there_and_the_server_serves_on(tmp_path: Path) -> None:
    backing, files = tmp_path / "image", tmp_path / "files"
    backing.write_bytes(b"x" * 10 * Q)
    with served(files, "--backing", str(backing), "--view", "direct") as server:
        fd = os.open(server.files[0], os.O_RDWR)
        assert len(os.pread(fd, 10 * Q, 0)) == 10 * Q
        os.truncate(backing, Q + 5)
        assert os.pread(fd, 10 * Q, 0) == b"x" * (Q + 5)
        assert os.pread(fd, 10, 5 * Q) == b""
        assert os.fstat(fd).st_size == Q + 5
        assert os.pwrite(fd, b"y", 3 * Q) == 1
        assert os.pread(fd, 2 * Q, 2 * Q) == bytes(Q) + b"y"
        os.close(fd)


def test_a_store_whose_file_is_cut_while_it_is_read_lives_on(tmp_path: Path) -> None:
    """Readers of a part that goes and comes: an end or an error, never a signal."""
    ground = Ground(Backing.of(str(tmp_path / "image")), 1, None)
    store = ground.store(0, Geometry(Q, 500))
    other = os.open(tmp_path / "image", os.O_RDWR)
    end = time.monotonic() + 1
    try:
        while time.monotonic() < end:
            store.write(0, b"x" * 4 * Q)
            os.ftruncate(other, 100)
            assert set(store.read(0, 4 * Q)) <= {0, ord("x")}
    finally:
        os.close(other)
        store.close()


@mount
@pytest.mark.parametrize("view", ["auto", "direct"])
def test_a_full_disk_is_enospc_and_nothing_is_lost(tmp_path: Path, view: str) -> None:
    if not is_root():
        pytest.skip("this takes a disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "small", disk], check=True)
    try:
        with served(tmp_path / "files", "--backing", str(disk / "image"), "--view", view) as server:
            fd = os.open(server.files[0], os.O_RDWR)
            data = os.urandom(2 * MIB)
            written = os.write(fd, data)
            assert 0 < written <= MIB
            with pytest.raises(OSError) as caught:
                os.pwrite(fd, data, written)
            assert caught.value.errno == errno.ENOSPC
            assert os.pread(fd, 2 * MIB, 0) == data[:written]
            os.close(fd)
        assert (disk / "image").read_bytes() == data[:written]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_file_system_without_holes_is_told_and_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not is_root():
        pytest.skip("this takes a disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "plain", disk], check=True)  # it has no fallocate(2)
    try:
        store = Ground(Backing.of(str(disk / "image")), 1, None).store(0, Geometry(Q, 500))
        assert "has no holes" in caplog.text
        store.write(0, b"x" * 4 * Q)
        store.punch(Q // 2, 2 * Q)
        expected = b"x" * (Q // 2) + bytes(2 * Q) + b"x" * (3 * Q // 2)
        assert store.read(0, 4 * Q) == expected
        with pytest.raises(OSError) as caught:
            store.allocate(0, 8 * Q)
        assert caught.value.errno == errno.EOPNOTSUPP
        store.trim(Q, 500)
        assert store.read(0, Q) == b""
        store.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# --- memory that is there already


def test_a_mapped_file_is_a_device_that_does_not_grow(tmp_path: Path, serve_map: Serve) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(range(256)) * 64)  # 16 KiB
    served = serve_map(map=f"{path}:100:10000")
    with served.open(os.O_RDWR) as file:
        assert file.read(20_000) == (bytes(range(256)) * 64)[100:10_100]
        assert file.read(1) == b""
        seek(file, 9_990)
        assert file.write(b"0123456789abcdef") == 10
        with pytest.raises(OSError) as caught:
            file.write(b"x")
        assert caught.value.errno == errno.ENOSPC
    expected = bytearray(bytes(range(256)) * 64)
    expected[10_090:10_100] = b"0123456789"
    assert path.read_bytes() == expected


def test_opening_a_map_for_writing_adopts_parameters_and_leaves_the_bytes(
    tmp_path: Path, serve_map: Serve
) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"kept" * 5000)
    served = serve_map(map=str(path))
    with served.open(os.O_RDWR) as file:
        file.ioctl(ioctl.NUMBERS["SCULLV_IOCTQSET"], 7)
        with served.open(os.O_WRONLY) as writer:
            assert writer.write(b"over") == 4
        file.ioctl(ioctl.TRIM)
        state = ioctl.Information.unpack(file.ioctl(ioctl.INFO, bytes(128)).data)
        assert (state.qset, state.size, state.backing) == (7, 20_000, "map")
        assert file.read(12) == b"overkeptkept"
    assert path.read_bytes() == b"over" + b"kept" * 4999


def test_a_map_that_can_only_be_read_is_erofs_to_writers(
    tmp_path: Path, serve_map: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"fixed")
    real_open = os.open

    def read_only(name: object, flags: int, *rest: object, **more: object) -> int:
        if name == path and flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real_open(name, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("cuse_scullv.backing.os.open", read_only)
    served = serve_map(map=str(path))
    with served.open(os.O_RDONLY) as file:
        assert file.read(10) == b"fixed"
    for flags in (os.O_WRONLY, os.O_RDWR):
        with pytest.raises(OSError) as caught:
            served.open(flags)
        assert caught.value.errno == errno.EROFS


@mount
def test_the_view_of_a_map_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"m" * 3 * Q)
    with served(tmp_path / "files", "--map", f"{path}:{Q}:{Q}") as server:
        shown = server.files[0]
        assert shown.read_bytes() == b"m" * Q
        with pytest.raises(OSError) as caught:
            os.truncate(shown, 5)
        assert caught.value.errno == errno.EPERM
        fd = os.open(shown, os.O_RDWR)
        assert os.pwrite(fd, b"n" * 10, Q - 4) == 4
        with pytest.raises(OSError) as caught:
            os.posix_fallocate(fd, 0, 2 * Q)
        assert caught.value.errno == errno.ENOSPC
        with mmap.mmap(fd, Q) as mapped:
            mapped[0:3] = b"abc"
            mapped.flush()
        os.close(fd)
    assert path.read_bytes() == b"m" * Q + b"abc" + b"m" * (Q - 7) + b"n" * 4 + b"m" * Q


# --- the limit


@mount
@pytest.mark.parametrize("view", ["auto", "direct"])
@pytest.mark.timeout(900)
def test_nothing_is_ever_over_the_limit(tmp_path: Path, view: str) -> None:
    """CUSE_SCULLV_FILLS: how often."""
    limit = 64 * MIB
    words = ["--backing", "memfd", "--max-bytes", str(limit), "--view", view]
    with served(tmp_path / "files", *words) as server:
        path = server.files[0]
        for turn in range(int(os.environ.get("CUSE_SCULLV_FILLS", "3"))):
            fill(path, limit, turn)
            assert blocks(path) == limit, turn
            with client.open(path, "r+") as device:
                assert device.info().used == limit
                device.trim()
                assert device.info().used == 0


MAPPER = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 64 << 20) as mapped:
    for at in range(0, len(mapped), 3 * 4096):
        mapped[at] = 109
"""


def fill(path: Path, limit: int, seed: int) -> None:
    """Eight writers, here and there, and a mapping, until nothing more goes in."""
    os.truncate(path, 2 * limit)
    wrote: list[int] = []
    refused: set[int | None] = set()

    def write(number: int) -> None:
        places = random.Random(seed * 8 + number)
        fd = os.open(path, os.O_RDWR)
        order = list(range(number, 2 * limit // Q, 8))
        places.shuffle(order)
        for place in order:
            try:
                wrote.append(os.pwrite(fd, b"w" * Q, place * Q))
            except OSError as error:
                refused.add(error.errno)
        with contextlib.suppress(OSError):  # ENOSPC: a mapping's store that found no room
            os.close(fd)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    # At the limit a store meets no memory: SIGBUS, as in any full tmpfs. So not in this process.
    mapper = subprocess.run([sys.executable, "-c", MAPPER, path], check=False)
    assert mapper.returncode in (0, -signal.SIGBUS)
    for thread in threads:
        thread.join()
    assert refused == {errno.ENOSPC}
    assert all(0 < count <= Q for count in wrote)


def test_who_may_not_mount_has_the_limit_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the page, over two devices, whatever they do."""
    monkeypatch.setattr("cuse_scullv.backing.open_tmpfs", lambda *_args: -errno.EPERM)
    limit = 64 * 4096
    ground = Ground(Backing("memfd"), 2, limit)
    stores = [ground.store(number, Geometry(4000, 10)) for number in (0, 1)]
    places = random.Random(1)
    for _ in range(3000):
        store = places.choice(stores)
        at, length = places.randrange(2 * limit), places.randrange(1, 20_000)
        with contextlib.suppress(OSError):
            kind = places.randrange(8)
            if kind < 5:
                store.write(at, b"x" * length)
            elif kind == 5:
                store.punch(at, length * 4)
            elif kind == 6:
                store.allocate(at, length, keep_size=bool(at % 2))
            else:
                store.resize(at)
        has = sum(store.info().resident for store in stores)
        assert has == ground.used <= limit
    for store in stores:
        store.close()
    assert ground.used == 0


def test_a_file_that_is_larger_than_the_limit_takes_no_more(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 10 * 4096)
    ground = Ground(Backing.of(str(tmp_path / "image")), 1, 4 * 4096)
    store = ground.store(0, Geometry(4096, 10))
    assert ground.used == ground.limit == 4 * 4096
    assert store.write(0, b"y" * 4096) == 4096  # over what is there
    with pytest.raises(OSError) as caught:
        store.write(20 * 4096, b"z")
    assert caught.value.errno == errno.ENOSPC
    store.punch(0, 8 * 4096)
    assert store.write(20 * 4096, b"z") == 1
    store.close()


# --- passthrough


@mount
@pytest.mark.skipif(running() < (6, 9, 0) or not is_root(), reason="needs passthrough, and root")
@pytest.mark.parametrize(
    ("space", "script", "said"),
    [
        (
            ["-m"],
            "mount -t tmpfs none {d}; mkdir {d}/l {d}/u {d}/w {d}/o {d}/v && mount -t overlay none"
            " -o lowerdir={d}/l,upperdir={d}/u,workdir={d}/w {d}/o && exec {serve} {d}/v"
            " --backing {d}/o/file",
            "stacked on others",
        ),
        (
            ["-Urm"],
            "mkdir {d}/v && exec {serve} {d}/v --backing memfd --no-drop",
            "in the first user namespace",
        ),
    ],
)
def test_what_the_kernel_does_not_pass_is_said(
    tmp_path: Path, space: list[str], script: str, said: str
) -> None:
    serve = f"{sys.executable} -m cuse_scullv serve --no-node --view passthrough --files"
    words = ["unshare", *space, "sh", "-c", script.format(d=tmp_path, serve=serve)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr


@pytest.fixture
def passed(tmp_path: Path) -> Iterator[FilesServer]:
    """A view whose files the kernel reads and writes."""
    words = ["--backing", "memfd", "--max-bytes", "64M"]
    with served(tmp_path / "files", *words) as server:
        with client.open(server.files[0]) as device:
            passes = device.info().flags & ioctl.FLAG_PASSTHROUGH
        if not passes:
            assert running() < (6, 9, 0) or not is_root()
            pytest.skip("this takes FUSE_PASSTHROUGH (Linux 6.9) and root")
        yield server


@mount
def test_the_server_is_not_asked_for_what_the_kernel_does(passed: FilesServer) -> None:
    fd = os.open(passed.files[0], os.O_RDWR)
    os.pwrite(fd, b"x", 0)  # the kernel has asked once whether a write takes privileges away
    passed.process.send_signal(signal.SIGSTOP)
    try:
        assert os.pwrite(fd, b"while it sleeps", 0) == 15
        assert os.pread(fd, 100, 0) == b"while it sleeps"
    finally:
        passed.process.send_signal(signal.SIGCONT)
    os.close(fd)


@mount
def test_a_store_through_a_mapping_is_read_at_once(passed: FilesServer) -> None:
    fd = os.open(passed.files[0], os.O_RDWR)
    os.ftruncate(fd, Q)
    with mmap.mmap(fd, Q) as mapped:
        mapped[100:104] = b"seen"
        assert os.pread(fd, 4, 100) == b"seen"
        os.pwrite(fd, b"back", 200)
        assert mapped[200:204] == b"back"
    os.close(fd)


@mount
def test_sizes_times_and_holes_are_right(passed: FilesServer) -> None:
    path = passed.files[0]
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    before = os.fstat(fd).st_mtime_ns
    time.sleep(0.02)
    os.write(fd, b"x" * 10)
    assert os.fstat(fd).st_size == 10
    assert os.fstat(fd).st_mtime_ns > before
    os.utime(path, ns=(5, 5))
    assert path.stat().st_mtime_ns == 5
    os.truncate(path, 3 * Q)
    os.write(fd, b"end")
    assert os.fstat(fd).st_size == 3 * Q + 3
    assert os.lseek(fd, Q, os.SEEK_DATA) == 3 * Q
    assert os.lseek(fd, 0, os.SEEK_HOLE) == Q
    with client.open(path, "r+") as device:
        device.punch(0, Q)
        assert device.info().size == 3 * Q + 3
    assert os.pread(fd, 10, 0) == bytes(10)
    os.close(fd)


@pytest.mark.real
def test_a_node_and_its_file_are_one(tmp_path: Path) -> None:
    """By passthrough where the kernel has it; where not, the pages it has are dropped."""
    files = tmp_path / "files"
    words = ["--backing", "memfd", "--max-bytes", "64M"]
    with served(files, *words, name="scullvone", node=True) as server:
        with client.open(server.path, "r+") as node, server.files[0].open("r+b") as file:
            node.write(b"from the node")
            assert os.pread(file.fileno(), 100, 0) == b"from the node"
            with mmap.mmap(file.fileno(), 13) as mapped:
                mapped[0:4] = b"back"
                mapped.flush()
                node.seek(0)
                assert node.read(100) == b"back the node"
                if node.info().flags & ioctl.FLAG_PASSTHROUGH:
                    mapped[5:8] = b"no "
                    node.seek(0)
                    assert node.read(100) == b"back no  node"
            os.pwrite(file.fileno(), b"!", 3 * Q)
            assert node.seek(0, os.SEEK_END) == 3 * Q + 1
            node.trim()
            assert os.fstat(file.fileno()).st_size == 0


# --- save and load


@mount
@pytest.mark.parametrize("kind", ["anon", "memfd"])
def test_a_device_is_saved_and_loaded_with_its_holes(tmp_path: Path, kind: str) -> None:
    made, saved = image(tmp_path / "made"), tmp_path / "saved"
    with served(tmp_path / "files", "--backing", kind, "--max-bytes", "64M") as server:
        path = str(server.files[0])
        out(*CLI, "load", path, str(made))
        out("cmp", path, str(made))
        out(*CLI, "save", path, str(saved))
        out("cmp", str(saved), str(made))
        assert blocks(saved) < 4 * Q
        # What was there is replaced once the new one is whole.
        out(*CLI, "trim", path)
        out(*CLI, "save", path, str(saved))
        assert saved.stat().st_size == 0
        assert sorted(p.name for p in tmp_path.iterdir()) == ["files", "made", "saved"]


@pytest.mark.real
@pytest.mark.parametrize("ldd3", [True, False])
def test_a_node_is_saved_and_loaded(tmp_path: Path, ldd3: bool) -> None:
    made, saved = image(tmp_path / "made"), tmp_path / "saved"
    server = RealServer("--max-bytes", "64M", *(["--ldd3"] if ldd3 else []), name="scullvsave")
    try:
        out(*CLI, "load", str(server.path), str(made))
        out(*CLI, "save", str(server.path), str(saved))
        out("cmp", str(saved), str(made))
    finally:
        assert server.stop() == 0


@mount
def test_what_cannot_be_saved_or_loaded_is_one_line_and_2(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"x" * 2 * MIB)
    with served(tmp_path / "files", "--max-bytes", "1M") as server:
        path = str(server.files[0])
        for words, said in (
            (["save", path, str(tmp_path / "folder")], "no regular file"),
            (["save", "/no/such", str(tmp_path / "x")], "no such device"),
            (["save", path, str(tmp_path / "none" / "x")], "No such file"),
            (["load", path, str(tmp_path / "none")], "is not there"),
            (["load", path, str(tmp_path / "folder")], "no regular file"),
            (["load", path, str(tmp_path / "large")], "larger --max-bytes"),
        ):
            done = run(*CLI, *words)
            assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
            assert said in done.stderr.decode()
        assert not list(tmp_path.glob(".*"))


# --- locks


def test_a_read_sees_one_write_whole_or_not_at_all_within_a_quantum(tmp_path: Path) -> None:
    ground = Ground(Backing.of(str(tmp_path / "image")), 1, None)
    store = ground.store(0, Geometry(Q, 500))
    store.write(0, b"a" * 2 * Q)
    stop = threading.Event()

    def write() -> None:
        letters = 0
        while not stop.is_set():
            letters += 1
            store.write(0, bytes([ord("a") + letters % 26]) * 2 * Q)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(1500):
            data = store.read(0, 2 * Q)
            assert len(set(data[:Q])) == len(set(data[Q:])) == 1
    finally:
        stop.set()
        writer.join()
        store.close()


@pytest.mark.skipif(sys.byteorder != "little", reason="the lock is packed as for x86-64")
def test_the_lock_is_one_of_the_open_file(tmp_path: Path) -> None:
    ground = Ground(Backing.of(str(tmp_path / "image")), 1, None)
    store = ground.store(0, Geometry(Q, 500))
    with (tmp_path / "image").open("r+b") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    store.close()
