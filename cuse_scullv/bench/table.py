"""A suite's figures as a table for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cuse_scullv.bench.figures import Row
from cuse_scullv.bench.sample import Unit

NOTHING = "-"
_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "B/s": ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (0, "B/s")),
    "1/s": ((1e6, "M/s"), (1e3, "k/s"), (0, "/s")),
    "s": ((1, "s"), (1e-3, "ms"), (0, "us")),
    "B/B": ((0, "B/B"),),
    "%": ((0, "%"),),
}
_SMALLEST = {"s": 1e-6}  # of the last unit of a scale


def human_value(value: float | None, unit: Unit) -> str:
    """`value` with three digits and the unit that fits: 4.71 GB/s (powers of 1000), 12.3 ms."""
    if value is None:
        return NOTHING
    for least, name in _SCALES[unit]:
        if value >= least:
            return f"{digits(value / (least or _SMALLEST.get(unit, 1.0)))} {name}"
    raise AssertionError(value)


def digits(value: float) -> str:
    """Three significant digits, at most three of them decimals; no exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def cells(row: Row) -> list[str]:
    """The row as text: the case, the first server's median, the others' with their ratios."""
    case = row.case
    first, *others = (human_value(value, case.unit) for value in row.medians)
    ratios = ("" if value is None else f"{digits(value)}x" for value in row.ratios)
    return [
        case.figure,
        case.block_text,
        case.clients_text,
        first,
        *(f"{value} {ratio:>6}" for value, ratio in zip(others, ratios, strict=True)),
    ]


def make_table(title: str, rows: Sequence[Row], servers: Sequence[str]) -> Table:
    """The suite's table; a line between figures."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for head in ("figure", "block", "clients", *servers):
        table.add_column(head, justify="left" if head == "figure" else "right", no_wrap=True)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        ends = after is None or after.case.figure != row.case.figure
        table.add_row(*cells(row), end_section=ends)
    return table
