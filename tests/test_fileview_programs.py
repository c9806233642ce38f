"""Programs that know nothing of us, on files of the file view."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shell import out, sh
from views import BACKINGS, FilesServer, backing, blocks, memory_of, served

pytestmark = [pytest.mark.mount, pytest.mark.timeout(600)]

FSX = Path(__file__).with_name("fsx.py")
QUANTUM = 65536


@pytest.fixture(scope="module", params=BACKINGS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilesServer]:
    folder = tmp_path_factory.mktemp("view")
    words = ["--devices", "2", *backing(request.param, folder)]
    if request.param != "file":
        words += ["--max-bytes", "128M"]
    with served(folder / "files", *words) as files:
        yield files


@pytest.fixture
def files(server: FilesServer) -> FilesServer:
    server.empty()
    return server


@pytest.fixture
def path(files: FilesServer) -> Path:
    return files.files[0]


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: type tools/setup")


@pytest.mark.parametrize("engine", ["psync", "libaio", "io_uring", "mmap"])
def test_fio_reads_back_what_it_wrote_at_random(path: Path, engine: str, tmp_path: Path) -> None:
    need("fio")
    done = sh(
        """
        fio --name=verify --filename="$FILE" --ioengine="$ENGINE" --rw=randrw --bsrange=512-128k \
            --size=8m --io_size=12m --verify=crc32c --verify_fatal=1 --iodepth=8 --numjobs=1 \
            --randrepeat=1 --fallocate=keep --output="$OUT/fio" --aux-path="$OUT" || {
            status=$?; cat "$OUT/fio"; exit $status; }
        """,
        FILE=str(path),
        ENGINE=engine,
        OUT=str(tmp_path),
    )
    assert b"err=" not in done
    report = (tmp_path / "fio").read_text()
    assert "err= 0" in report, report


def test_fio_with_several_jobs_on_one_file(path: Path, tmp_path: Path) -> None:
    need("fio")
    sh(
        """
        fio --name=verify --filename="$FILE" --ioengine=psync --rw=randwrite --bs=4k --size=2m \
            --offset_increment=2m --numjobs=4 --thread --verify=crc32c --verify_fatal=1 \
            --output="$OUT/fio" --aux-path="$OUT"
        """,
        FILE=str(path),
        OUT=str(tmp_path),
    )
    assert path.stat().st_size == 8 << 20


def test_cmp_finds_the_byte_that_differs(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(bytes(range(256)) * 4096)
    path.write_bytes(copy.read_bytes())
    sh('cmp "$A" "$B"', A=str(path), B=str(copy))
    with path.open("r+b") as file:
        file.seek(99_999)
        file.write(b"\xff")
    assert b"byte 100000" in sh('cmp "$A" "$B" || test $? = 1', A=str(path), B=str(copy))


def test_dd_skips_and_seeks(path: Path) -> None:
    path.write_bytes(b"".join(b"%07d\n" % n for n in range(1000)))
    assert out("dd", f"if={path}", "bs=8", "skip=500", "count=2", "status=none") == (
        b"0000500\n0000501\n"
    )
    sh('printf "changed\n" | dd of="$FILE" bs=8 seek=500 conv=notrunc status=none', FILE=str(path))
    lines = path.read_bytes().splitlines()
    assert (len(lines), lines[499], lines[500], lines[501]) == (
        1000,
        b"0000499",
        b"changed",
        b"0000501",
    )


def test_dd_without_notrunc_cuts(path: Path) -> None:
    path.write_bytes(b"x" * 10_000)
    sh('printf ab | dd of="$FILE" bs=1 seek=4 status=none', FILE=str(path))
    assert path.read_bytes() == b"xxxxab"


def test_dd_by_o_direct(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 8192)
    sh(
        """
        dd if="$SOURCE" of="$FILE" bs=1M oflag=direct status=none
        dd if="$FILE" of="$SOURCE.2" bs=64k iflag=direct status=none
        cmp "$SOURCE" "$SOURCE.2"
        """,
        FILE=str(path),
        SOURCE=str(source),
    )


def test_cp_keeps_holes_both_ways(files: FilesServer, tmp_path: Path) -> None:
    first, second = files.files
    with first.open("r+b") as file:
        file.seek(40 * QUANTUM)
        file.write(b"x" * QUANTUM)
        file.truncate(80 * QUANTUM)
    out("cp", "--sparse=auto", str(first), str(tmp_path / "copy"))
    assert blocks(tmp_path / "copy") <= 2 * QUANTUM
    # Not --sparse=always, whose holes a file with contents would have to be punched for.
    out("cp", "--sparse=auto", str(tmp_path / "copy"), str(second))
    sh('cmp "$A" "$B"', A=str(first), B=str(second))
    assert second.stat().st_size == 80 * QUANTUM
    assert blocks(second) == QUANTUM


def test_xxd_begins_where_it_is_told(path: Path) -> None:
    need("xxd")
    path.write_bytes(bytes(100_000) + b"needle")
    assert out("xxd", "-s", "100000", "-p", str(path)) == b"needle".hex().encode() + b"\n"


def test_tail_and_du(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(10 * QUANTUM)
        file.seek(0, 2)
        file.write(b"last line\n")
    assert out("tail", "-c", "10", str(path)) == b"last line\n"
    assert out("du", "--block-size=1", str(path)).split()[0] == b"%d" % (
        memory_of(path, (10 * QUANTUM, 10 * QUANTUM + 10))
    )


SQL = """
PRAGMA journal_mode=MEMORY;
PRAGMA mmap_size=16777216;
CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER, text TEXT);
WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 20000)
    INSERT INTO numbers SELECT n, n * n, hex(randomblob(20)) FROM count;
CREATE INDEX by_text ON numbers (text);
DELETE FROM numbers WHERE n % 3 = 0;
UPDATE numbers SET text = 'changed' WHERE n % 7 = 0;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(square) FROM numbers;
"""


def expected_sums() -> tuple[int, int]:
    numbers = [n for n in range(1, 20001) if n % 3]
    return len(numbers), sum(n * n for n in numbers)


def test_sqlite_keeps_its_database_on_a_file(path: Path) -> None:
    need("sqlite3")
    said = out("sqlite3", str(path), SQL).decode().split()
    assert said == ["memory", "16777216", "ok", "{}|{}".format(*expected_sums())]
    again = out(
        "sqlite3", str(path), "PRAGMA integrity_check; SELECT count(*), sum(square) FROM numbers;"
    )
    assert again.decode().split() == ["ok", "{}|{}".format(*expected_sums())]


def test_two_connections_to_one_database(path: Path) -> None:
    with sqlite3.connect(path) as first, sqlite3.connect(path) as second:
        for connection in (first, second):
            connection.execute("PRAGMA journal_mode=MEMORY")
            connection.execute("PRAGMA mmap_size=1048576")
        first.execute("CREATE TABLE t (n)")
        for n in range(50):
            (first, second)[n % 2].execute("INSERT INTO t VALUES (?)", (n,))
            (first, second)[n % 2].commit()
        assert first.execute("SELECT sum(n) FROM t").fetchone() == (sum(range(50)),)
        assert second.execute("SELECT sum(n) FROM t").fetchone() == (sum(range(50)),)


@pytest.mark.parametrize(("seed", "options"), [(1, []), (2, ["--no-mmap"])], ids=["maps", "plain"])
def test_random_operations_leave_what_a_model_says(
    path: Path, seed: int, options: list[str]
) -> None:
    said = out(
        sys.executable, str(FSX), str(path), "--operations", "4000", "--seed", str(seed), *options
    )
    assert b"no difference" in said


@pytest.mark.parametrize("kind", ["anon", "memfd", "memfd-direct"])
@pytest.mark.parametrize(
    ("geometry", "size", "operations"),
    [
        ("--quantum 1", 800, 300),
        ("--quantum 4000", 1 << 18, 1000),
        ("--order 0 --qset 1", 1 << 18, 1000),
        ("--order 10", 1 << 18, 1000),
    ],
)
def test_random_operations_with_other_quanta(
    tmp_path: Path, geometry: str, size: int, operations: int, kind: str
) -> None:
    words = ["--operations", str(operations), "--size", str(size)]
    options = [*backing(kind, tmp_path), *geometry.split()]
    with served(tmp_path / "files", "--max-bytes", "64M", *options) as server:
        said = out(sys.executable, str(FSX), str(server.files[0]), *words)
    assert b"no difference" in said
