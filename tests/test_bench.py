"""`cuse-scullv bench`: that it measures what it says, and says it right. Never how fast."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from cuse_scullv.bench import markdown, plot, report
from cuse_scullv.bench.environment import environment
from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.figures import Row, ratio, rows
from cuse_scullv.bench.lab import FULL, MIB
from cuse_scullv.bench.meter import Meter
from cuse_scullv.bench.report import Outcome
from cuse_scullv.bench.rounds import Contender, Plan, measure, rotated
from cuse_scullv.bench.sample import OVERWRITE, READ, Case, Sample, Unit
from cuse_scullv.bench.table import cells, human_value, make_tables

SILENT = Console(file=open(os.devnull, "w"))  # noqa: PTH123, SIM115


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
    assert cells(write) == ([OVERWRITE, "512", "1"], "2.00 MB/s", ["2.50 MB/s  0.80x"])
    assert cells(idle) == (["idle", "", "1"], "0.50 %", ["-       "])


SERVERS = ["cuse-scullv", "libfuse's example", "through fuse", "a tmpfs file", "memcpy"]
MANY = [
    sample
    for server in SERVERS
    for case in (Case("fresh write, trimmed before", 1 << 20), Case(READ, 512, 4), IDLE)
    for sample in samples_of(server, case, 1.234e9 if case.block else 12.3)
]


@pytest.mark.parametrize("width", [80, 130, 200])
def test_a_table_breaks_between_servers_and_never_within_a_number(width: int) -> None:
    table_rows = rows(MANY, "files", SERVERS)
    console = Console(width=width, record=True, file=SILENT.file)
    tables = make_tables("files: title", table_rows, SERVERS, width)
    for table in tables:
        console.print(table)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    assert "…" not in shown
    for server in SERVERS:
        assert server in shown
    assert shown.count("1.23 GB/s") == 2 * (len(tables) + len(SERVERS) - 1)
    assert len(tables) == {80: 4, 130: 2, 200: 1}[width]


def test_progress_is_told_in_80_columns() -> None:
    console = Console(width=80, record=True, file=SILENT.file, force_terminal=True)
    meter = Meter(1234, console)
    meter.doing("files: overwrite of 1 MiB by 4 clients, a device each, cuse-scullv, round 3")
    meter.did()
    console.print(meter._bar)
    (line,) = console.export_text().splitlines()
    assert len(line) <= 80
    assert line.startswith("files: overwrite of 1 MiB")
    assert "1/1234 0:00:0" in line


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


def test_there_is_a_line_for_each_number_of_clients_by_block() -> None:
    def row(*words: object, **more: object) -> Row:
        return Row(Case(*words, **more), (1.0,))  # type: ignore[arg-type]

    large, small, two = row(READ, 4096), row(READ, 512), row(READ, 512, 2)
    others = [row(READ, 512, beside="hogs"), row("trim", unit="s")]
    assert plot.series([large, small, two, *others]) == {READ: {"1": [small, large], "2": [two]}}


def test_a_picture_has_no_empty_panel_and_a_legend_in_each() -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: type pip install matplotlib")
    cases = [Case(READ, 512), Case(READ, 4096), Case(READ, 512, 2), Case(OVERWRITE, 512)]
    samples = [s for place, server in enumerate("ab") for case in cases
               for s in samples_of(server, case, 1e6 * (place + 1))]  # fmt: skip
    shown = Outcome("files", "title", ["a", "b"], samples)
    figure = plot.make_figure([(shown, plot.series(shown.rows))], "title")
    panels = [panel for part in figure.subfigs for panel in part.axes]
    assert len(panels) == 4
    for panel in panels:
        assert panel.lines
        assert panel.get_legend() is not None
        assert panel.get_xlabel() == "bytes a system call"
    reads, _, ratios, _ = panels
    labels = [text.get_text() for text in reads.get_legend().get_texts()]
    assert labels == ["a, 1 client", "b, 1 client", "a, 2 clients", "b, 2 clients"]
    assert (reads.get_ylabel(), reads.get_yscale()) == ("MB/s", "log")
    assert (ratios.get_ylabel(), ratios.get_yscale()) == ("times as good", "linear")


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    idle = Outcome("costs", "title", ["a"], samples_of("a", IDLE, 1.0))
    with pytest.raises(BenchError, match="add files"):
        plot.draw([idle], "title", tmp_path / "picture.svg")


def test_without_matplotlib_one_line_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match="pip install matplotlib"):
        plot.check(Path("picture.svg"))


@pytest.mark.parametrize(
    ("available", "large", "span"),
    [
        (24 << 30, 1 << 30, 192 * MIB),
        (2 << 30, 512 * MIB, 192 * MIB),
        (64 * MIB, 16 * MIB, 6 * MIB),
    ],
)
def test_data_sets_fit_into_the_memory_that_is_there(available: int, large: int, span: int) -> None:
    scale = FULL.fit(available)
    assert (scale.large, scale.span) == (large, span)


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
