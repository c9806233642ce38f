"""A suite's figures as a table for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
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


def cells(row: Row) -> tuple[list[str], str, list[str]]:
    """The row as text: the case, the first server's median, the others' with their ratios."""
    case = row.case
    first, *others = (human_value(value, case.unit) for value in row.medians)
    ratios = ("" if value is None else f"{digits(value)}x" for value in row.ratios)
    return (
        [case.figure, case.block_text, case.clients_text],
        first,
        [f"{value} {ratio:>6}" for value, ratio in zip(others, ratios, strict=True)],
    )


def make_tables(title: str, rows: Sequence[Row], servers: Sequence[str], width: int) -> list[Table]:
    """The suite's figures in as many tables as it takes for each to be `width` columns at most:
    each has the first server, and some of those that it is compared with."""
    tables: list[Table] = []
    left = list(range(1, len(servers)))
    while left or not tables:
        count = len(left)
        table = make_table(title, rows, servers, left)
        while count > 1 and width_of(table) > width:
            count -= 1
            table = make_table(title, rows, servers, left[:count])
        tables.append(table)
        left = left[count:]
    return tables


def width_of(table: Table) -> int:
    """Columns of a terminal that it takes unbroken."""
    console = Console(width=1000)
    return Measurement.get(console, console.options, table).maximum


def make_table(
    title: str, rows: Sequence[Row], servers: Sequence[str], peers: Sequence[int]
) -> Table:
    """The first server beside `peers`, by their places; a line between figures."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    heads = ["figure", "block", "clients", servers[0], *(servers[peer] for peer in peers)]
    for head in heads:
        table.add_column(head, justify="left" if head == "figure" else "right", no_wrap=True)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        ends = after is None or after.case.figure != row.case.figure
        case, first, others = cells(row)
        table.add_row(*case, first, *(others[peer - 1] for peer in peers), end_section=ends)
    return table
