"""`cuse-scullv bench`: that it measures what it says, and says it right. Never how fast."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from cuse_scullv.bench import markdown, plot, programs, report, session
from cuse_scullv.bench.environment import environment
from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.figures import Row, ratio, rows
from cuse_scullv.bench.lab import MIB, QUICK, Lab, Scale
from cuse_scullv.bench.load import MEMORY, Load
from cuse_scullv.bench.meter import Meter
from cuse_scullv.bench.report import Outcome
from cuse_scullv.bench.rounds import Contender, Plan, measure, rotated
from cuse_scullv.bench.sample import FRESH, OVERWRITE, READ, Case, Sample, Unit
from cuse_scullv.bench.suites import SUITES, nodes
from cuse_scullv.bench.table import cells, human_value, make_table
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


# --- figures


@pytest.mark.parametrize(
    ("ours", "theirs", "unit", "expected"),
    [
        (3e9, 2e9, "B/s", 1.5),
        (1e9, 2e9, "B/s", 0.5),
        (200.0, 100.0, "1/s", 2.0),
        (0.5, 1.0, "s", 2.0),
        (2.0, 1.0, "B/B", 0.5),
        (None, 1.0, "s", None),
        (1.0, None, "B/s", None),
        (0.0, 0.1, "%", None),
        (0.1, 0.0, "%", None),
    ],
)
def test_a_ratio_above_one_means_better(
    ours: float | None, theirs: float | None, unit: Unit, expected: float | None
) -> None:
    assert ratio(ours, theirs, unit) == expected


def samples_of(server: str, case: Case, *values: float) -> list[Sample]:
    return [Sample("files", server, case, place, value) for place, value in enumerate(values)]


WRITE, IDLE = Case(OVERWRITE, 512), Case("idle", unit="%")
SAMPLES = [
    *samples_of("a", WRITE, 1e6, 9e6, 2e6),
    *samples_of("b", WRITE, 1e6, 1e6, 4e6, 8e6),
    *samples_of("a", IDLE, 0.5),
    Sample("other", "a", WRITE, 0, 1e9),
]


def test_a_row_has_the_medians_of_its_suite_and_their_ratios() -> None:
    write, idle = rows(SAMPLES, "files", ["a", "b"])
    assert write == Row(WRITE, (2e6, 2.5e6))
    assert write.ratios == (0.8,)
    assert idle == Row(IDLE, (0.5, None))
    assert idle.ratios == (None,)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (4.714e9, "B/s", "4.71 GB/s"),
        (61.25e6, "B/s", "61.2 MB/s"),
        (512.0, "B/s", "512 B/s"),
        (145_300.0, "1/s", "145 k/s"),
        (0.0123, "s", "12.3 ms"),
        (0.000_045, "s", "45.0 us"),
        (2.5, "s", "2.50 s"),
        (1.0, "B/B", "1.00 B/B"),
        (0.0, "%", "0.000 %"),
        (None, "s", "-"),
    ],
)
def test_values_are_shown_with_three_digits_and_the_unit_that_fits(
    value: float | None, unit: Unit, expected: str
) -> None:
    assert human_value(value, unit) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Case(READ, 512), "read 512 1 client"),
        (Case(READ, 4096, 2), "read 4K 2 clients"),
        (Case(READ, 1 << 20, 4, "each"), "read 1M 4 clients, own"),
        (Case(READ, 1536, 1, beside="hogs"), "read 1536 1 client, hogs"),
        (Case("trim", unit="s"), "trim 1 client"),
    ],
)
def test_a_case_is_described_on_one_line(case: Case, expected: str) -> None:
    assert case.describe() == expected


def test_table_rows_have_the_case_the_medians_and_the_ratios() -> None:
    write, idle = rows(SAMPLES, "files", ["a", "b"])
    assert cells(write) == [OVERWRITE, "512", "1", "2.00 MB/s", "2.50 MB/s  0.80x"]
    assert cells(idle) == ["idle", "", "1", "0.50 %", "-       "]


def test_a_table_is_printed_whole() -> None:
    console = Console(width=110, record=True, file=SILENT.file)
    console.print(make_table("files: title", rows(SAMPLES, "files", ["a", "b"]), ["a", "b"]))
    shown = console.export_text()
    for word in ("files: title", "figure", "overwrite", "2.50 MB/s", "0.80x", "idle"):
        assert word in shown
    assert "…" not in shown


# --- rounds


class Counter(Contender):
    """Measures nothing, and notes that it was asked."""

    def __init__(self, name: str, log: list[str], cannot: str = "") -> None:
        super().__init__(name)
        self.log = log
        self.cannot = cannot

    def can(self, case: Case) -> bool:
        return case.figure != self.cannot

    def start(self, stack: ExitStack) -> None:
        self.log.append(f"+{self.name}")
        stack.callback(self.log.append, f"-{self.name}")

    def measure(self, case: Case) -> float:
        self.log.append(f"{self.name} {case.figure}")
        return float(len(self.log))


def test_every_round_has_every_contender_each_first_in_its_turn() -> None:
    log: list[str] = []
    plan = Plan([Case("x"), Case("y")], [Counter("a", log), Counter("b", log, cannot="y")])
    with Meter(plan.steps * 2, SILENT) as meter:
        samples = measure("suite", plan, 2, meter)
    assert plan.steps == 3
    assert log == ["+a", "+b", *("a x", "b x", "a y"), *("b x", "a x", "a y"), "-b", "-a"]
    told = [(each.round, each.case.figure, each.server) for each in samples]
    first = [(0, "x", "a"), (0, "x", "b"), (0, "y", "a")]
    assert told == [*first, *((1, figure, server) for _, figure, server in first)]


def test_contenders_take_turns_in_being_first() -> None:
    contenders = [Counter(name, []) for name in "abc"]
    orders = ["".join(each.name for each in rotated(contenders, turn)) for turn in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_servers_are_ended_when_a_measurement_fails() -> None:
    class Failing(Counter):
        def measure(self, case: Case) -> float:
            raise BenchError("no")

    log: list[str] = []
    plan = Plan([Case("x")], [Counter("a", log), Failing("b", log)])
    with pytest.raises(BenchError), Meter(1, SILENT) as meter:
        measure("suite", plan, 1, meter)
    assert log[-2:] == ["-b", "-a"]


def test_progress_is_told_in_lines_where_there_is_no_terminal() -> None:
    console = Console(record=True, file=SILENT.file, width=80)
    with Meter(100, console) as meter:
        for number in range(100):
            meter.doing(f"step {number}")
            meter.did()
    lines = console.export_text().splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"cuse-scullv bench: 10 of 100 after \d+ s: step 10", lines[1])


# --- the report and the picture


def outcome() -> Outcome:
    blocks = [Case(OVERWRITE, block) for block in (512, 4096, MIB)]
    samples = [
        sample
        for case in blocks
        for server in ("a", "b")
        for sample in samples_of(server, case, case.block * 1e4, case.block * 2e4)
    ]
    return Outcome("files", "title", ["a", "b"], samples)


def test_the_report_has_all_samples_medians_and_the_environment() -> None:
    told = json.loads(report.as_json(environment(), [outcome()], {"rounds": 2}))
    assert told["version"] == report.VERSION
    assert told["settings"] == {"rounds": 2}
    assert told["environment"]["cpus"] >= 1
    assert told["environment"]["kernel"] == os.uname().release
    assert {"cuse-scullv", "python", "libfuse"} <= set(told["environment"]["versions"])
    assert len(told["samples"]) == 12
    assert told["samples"][0] == {
        "suite": "files",
        "server": "a",
        "figure": OVERWRITE,
        "block": 512,
        "clients": 1,
        "layout": "one",
        "beside": "",
        "unit": "B/s",
        "round": 0,
        "value": 512e4,
    }
    (suite,) = told["suites"]
    assert suite["server"] == "a"
    assert suite["figures"][0]["medians"] == {"a": 512 * 1.5e4, "b": 512 * 1.5e4}
    assert suite["figures"][0]["ratios"] == {"b": 1.0}


def test_a_report_replaces_another_at_once(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for words in ("one\n", "two\n"):
        report.write_text(path, words)
        assert path.read_text() == words
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_picture_is_drawn(suffix: str, magic: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: type pip install matplotlib")
    path = tmp_path / f"picture{suffix}"
    plot.check(path)
    plot.draw([outcome()], "title", path)
    assert path.read_bytes().startswith(magic)


def test_lines_are_those_of_one_client_alone_by_block() -> None:
    def row(*words: object, **more: object) -> Row:
        return Row(Case(*words, **more), (1.0,))  # type: ignore[arg-type]

    large, small = row(READ, 4096), row(READ, 512)
    others = [row(READ, 512, 2), row(READ, 512, beside="hogs"), row("trim", unit="s")]
    assert plot.series([large, small, *others]) == {READ: [small, large]}


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    idle = Outcome("costs", "title", ["a"], samples_of("a", IDLE, 1.0))
    with pytest.raises(BenchError, match="add files"):
        plot.draw([idle], "title", tmp_path / "picture.svg")


def test_without_matplotlib_one_line_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match="pip install matplotlib"):
        plot.check(Path("picture.svg"))


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


def test_a_report_can_be_shown_as_a_document() -> None:
    settings = {"suites": ["files"], "rounds": 2, "quick": False}
    told = json.loads(report.as_json(environment(), [outcome()], settings))
    lines = list(markdown.document(told))
    assert lines[0] == "### title"
    assert lines[2].startswith("`cuse-scullv bench files --rounds 2`: Linux ")
    assert lines[4:7] == [
        "| figure | block | clients | a | b |",
        "|---|---:|---:|---:|---:|",
        "| overwrite | 512 | 1 | 7.68 MB/s | 7.68 MB/s 1.00x |",
    ]
    assert len([line for line in lines if line.startswith("| overwrite")]) == 3
