"""`cuse-scullv bench` run: its clients, its command, its suites. What they do, never how fast."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from cuse_scullv.bench import programs, session
from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.lab import MIB, QUICK, Lab, Scale
from cuse_scullv.bench.load import MEMORY, Load
from cuse_scullv.bench.sample import FRESH, OVERWRITE, READ
from cuse_scullv.bench.suites import SUITES, nodes
from cuse_scullv.bench.transfers import parse_dd
from nodes import has_cuse
from shell import CLI, refused, run, text

SILENT = Console(file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
SOURCES = Path(programs.__file__).parent


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """client.c, built."""
    return Lab(tmp_path_factory.mktemp("bench"), QUICK).client


# --- the client


@pytest.mark.parametrize("name", ["client", "hog"])
def test_the_clients_compile_without_warnings(name: str) -> None:
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
    done = run(*programs.compiler(), *flags, str(SOURCES / f"{name}.c"))
    assert done.returncode == 0, text(done)


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("op", ["write", "fresh", "read"])
def test_clients_report_what_they_moved(
    op: str, clients: int, client: Path, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * MIB))
    share = MIB if clients == 3 else 3 * MIB
    result = Load(
        op,
        [str(path)],
        clients=clients,
        block=4096,
        stride=share,
        span=share,
        seconds=0.01,
        reset="truncate",
    ).run(client)
    assert result.bytes == result.operations * 4096 > 0
    assert result.seconds > 0
    assert path.stat().st_size <= 3 * MIB
    if op == "write":
        data = path.read_bytes()
        assert [data[number * share] for number in range(clients)] == [*b"abc"[:clients]]


def test_a_fresh_write_without_a_time_fills_its_span_once(client: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    result = Load("fresh", [str(path)], block=MIB, span=5 * MIB).run(client)
    assert result.bytes == 5 * MIB
    assert path.read_bytes() == b"a" * (5 * MIB)


def test_clients_can_have_a_file_each(client: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.touch()
    words = [str(path) for path in paths]
    Load("write", words, clients=2, block=512, span=MIB, seconds=0.01).run(client)
    assert [path.read_bytes()[:1] for path in paths] == [b"a", b"b"]


@pytest.mark.parametrize("op", ["write", "fresh", "read"])
def test_memory_is_copied_without_a_file(op: str, client: Path) -> None:
    result = Load(op, [MEMORY], clients=2, block=512, span=MIB, seconds=0.01).run(client)
    assert result.bytes == result.operations * 512 > 0


@pytest.mark.parametrize(
    ("op", "path", "words"),
    [
        ("read", "empty", "short read: 0 of 4096 bytes at 0"),
        ("read", "absent", "No such file"),
        ("fresh", "absent", "No such file"),
        ("write", "/dev/full", "No space left"),
        ("ioctl", "empty", "ioctl"),
    ],
)
def test_a_client_that_fails_says_why(
    op: str, path: str, words: str, client: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(BenchError, match=words):
        Load(op, [str(tmp_path / path)], clients=2, seconds=0.01, position="none").run(client)


def test_dd_is_understood_and_its_count_checked() -> None:
    said = "2+0 records in\n2+0 records out\n1024 bytes (1.0 kB, 1.0 KiB) copied, 0.5 s, 2 kB/s\n"
    assert parse_dd(said, 1024, "").seconds == 0.5
    for expected, words in ((2048, said), (0, "dd: failed to open: No such file")):
        with pytest.raises(BenchError):
            parse_dd(words, expected, "if=x")


# --- the command

NO_CUSE = pytest.mark.skipif(has_cuse(), reason="this kernel has CUSE")
BAD = [
    (["bench", "speed"], ["speed", "nodes"]),
    (["bench", "--rounds", "0"], ["--rounds", "0"]),
    (["bench", "--rounds", "many"], ["many"]),
    (["bench", "geometry", "--json", "/no/such/x.json"], ["/no/such", "make it first"]),
    (["bench", "geometry", "--plot", "x.gif"], ["x.gif", "x.png or .svg"]),
    (["bench", "geometry", "--json", "/tmp"], ["/tmp", "directory"]),
    (["bench", "module"], ["CUSE_SCULLV_MODULE", "scullv.ko"]),
    (["bench", "before"], ["CUSE_SCULLV_BEFORE", "cuse-scullv"]),
    pytest.param(["bench", "nodes"], ["tools/guest --smp", "nodes"], marks=NO_CUSE),
    pytest.param(["bench", "echo"], ["tools/guest --smp", "echo"], marks=NO_CUSE),
]


@pytest.mark.mount
@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_bad_input_is_refused(arguments: list[str], words: list[str]) -> None:
    message = refused(*arguments)
    assert message.startswith("cuse-scullv")
    for word in words:
        assert word in message


@pytest.mark.mount
def test_a_missing_compiler_is_named_before_anything_is_measured() -> None:
    done = run(*CLI, "bench", "geometry", env={"CC": "/no/such/cc"})
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"/no/such/cc" in done.stderr
    assert b"apt-get install gcc" in done.stderr


def test_a_missing_example_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no cuse\.c of libfuse: type 'apt-get install"):
        programs.Programs(tmp_path, tmp_path / "examples").example("cuse")


def test_compressed_examples_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    source = '#include <stdio.h>\nint main(void) { puts("it works"); }\n'
    (tmp_path / "examples" / "cuse.c.gz").write_bytes(gzip.compress(source.encode()))
    (tmp_path / "built").mkdir()
    program = programs.Programs(tmp_path / "built", tmp_path / "examples").example("cuse")
    assert run(str(program)).stdout == b"it works\n"


@pytest.mark.mount
@pytest.mark.timeout(600)
def test_a_quick_run_measures_every_case_and_leaves_nothing(tmp_path: Path) -> None:
    before = mounts()
    path = tmp_path / "report.json"
    words = [*CLI, "bench", "--quick", "files", "--json", str(path)]
    done = subprocess.run(words, capture_output=True, check=False, timeout=500)
    assert done.returncode == 0, text(done)
    told = json.loads(path.read_text())
    (suite,) = told["suites"]
    peers = {"passthrough_ll", "tmpfs", "memcpy"}
    for figure in suite["figures"]:
        values = {name: value for name, value in figure["medians"].items() if value is not None}
        assert set(values) == {"cuse-scullv", *peers} - (
            {"memcpy"} if figure["clients"] > 1 else set()
        )
        assert all(value > 0 for value in values.values())
    measured = {(each["figure"], each["block"], each["clients"]) for each in suite["figures"]}
    for figure in (FRESH, OVERWRITE, READ):
        for block in QUICK.blocks:
            for clients in QUICK.clients:
                assert (figure, block, clients) in measured
    shown = done.stdout.decode()
    for word in ("fresh write", "overwrite", "read", "128K", "2, own", "cuse-scullv", *peers):
        assert word in shown
    assert mounts() == before


@pytest.mark.mount
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_leaves_no_server_and_no_mount(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    words = [*CLI, "bench", "files", "--rounds", "100"]
    child = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(tmp_path)})
    while mounts().count(str(tmp_path)) < 4 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(number)
    assert child.wait(200) == status
    assert str(tmp_path) not in mounts()
    assert list(tmp_path.iterdir()) == []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert os.fsencode(tmp_path) not in command.read_bytes()


TINY = Scale(
    blocks=(128 << 10,),
    few_blocks=(128 << 10,),
    clients=(1,),
    seconds=0.01,
    span=2 * MIB,
    large=16 * MIB,
    idle_seconds=0.1,
)


@pytest.mark.mount
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["geometry", "costs", "dd", "placement"])
def test_suites_that_take_what_is_there_measure_all_they_plan(name: str) -> None:
    (found,) = session.run([name], TINY, 1, SILENT)
    assert found.samples
    assert all(sample.value >= 0 for sample in found.samples)
    assert {sample.server for sample in found.samples} == set(found.servers)
    if name != "costs":
        assert all(sample.value > 0 for sample in found.samples)


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["nodes", "echo"])
def test_suites_on_nodes_measure_all_they_plan(name: str) -> None:
    assert SUITES[name].trouble() is None
    (found,) = session.run([name], TINY, 1, SILENT)
    assert {sample.server for sample in found.samples} == set(found.servers)
    assert all(sample.value > 0 for sample in found.samples)


def test_more_clients_are_measured_on_one_device_and_on_a_device_each(tmp_path: Path) -> None:
    cases = nodes.cases(Lab(tmp_path, QUICK))
    assert {case.layout for case in cases if case.clients == 1} == {"one"}
    assert {case.layout for case in cases if case.clients == 2} == {"one", "each"}
