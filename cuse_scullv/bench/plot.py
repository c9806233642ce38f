"""Throughput over block size as a picture: a panel for each figure of a suite, and one
for its ratios; a line for each server and number of clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.figures import Row
from cuse_scullv.bench.report import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
# The colours of Okabe and Ito, which the colour-blind tell apart.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#666666", "#cc79a7")
MARKERS = "osD^v"
STYLES = ("-", "--", ":", "-.")


def check(path: Path) -> None:
    """Raises BenchError unless a picture can be made of that name."""
    if path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"--plot {path}: name it {path.stem or 'plot'}.png or .svg")
    if find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: type 'pip install matplotlib'")


def series(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Rows that make lines: by figure and by how many clients there were, ordered by block."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        case = row.case
        if case.block and case.unit == "B/s" and not case.beside:
            lines = found.setdefault(case.figure, {})
            lines.setdefault(case.clients_text, []).append(row)
    for lines in found.values():
        for line in lines.values():
            line.sort(key=lambda row: row.case.block)
    return found


def draw(outcomes: Sequence[Outcome], title: str, path: Path) -> None:
    """Writes the picture. Raises BenchError where no suite has throughput to show."""
    shown = [(outcome, series(outcome.rows)) for outcome in outcomes]
    shown = [(outcome, figures) for outcome, figures in shown if figures]
    if not shown:
        raise BenchError("--plot: none of these suites has throughput over block size: add files")
    make_figure(shown, title).savefig(path, dpi=150)


def make_figure(
    shown: Sequence[tuple[Outcome, dict[str, dict[str, list[Row]]]]], title: str
) -> Figure:
    """A row of panels for each suite's throughput, and below it one for its ratios."""
    from matplotlib.figure import Figure

    columns = max(len(figures) for _, figures in shown)
    figure = Figure(figsize=(5.2 * columns, 7.2 * len(shown) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    parts = figure.subfigures(len(shown), 1, squeeze=False)
    for part, (outcome, figures) in zip(parts[:, 0], shown, strict=True):
        panels = part.subplots(2, len(figures), squeeze=False)
        for number, (name, lines) in enumerate(figures.items()):
            throughput, ratios = panels[:, number]
            draw_throughput(throughput, outcome.servers, lines)
            draw_ratios(ratios, outcome.servers, lines)
            throughput.set_title(f"{outcome.suite}: {name}", fontsize="medium")
    return figure


def draw_throughput(
    panel: Axes | Any, servers: Sequence[str], lines: Mapping[str, Sequence[Row]]
) -> None:
    """Blocks from left to right, both axes logarithmic."""
    for style, (clients, rows) in enumerate(lines.items()):
        for place, server in enumerate(servers):
            points = [(row.case.block, row.medians[place]) for row in rows]
            draw_line(panel, place, style, f"{server}, {clients}", points, 1e-6)
    panel.set_yscale("log")
    panel.set_ylabel("MB/s")
    finish_panel(panel, lines)


def draw_ratios(
    panel: Axes | Any, servers: Sequence[str], lines: Mapping[str, Sequence[Row]]
) -> None:
    """How many times better the first server is than each other: linear, from 0 on."""
    panel.axhline(1, color="#666666", linewidth=0.8)
    for style, (clients, rows) in enumerate(lines.items()):
        for place, server in enumerate(servers[1:], start=1):
            points = [(row.case.block, row.ratios[place - 1]) for row in rows]
            draw_line(panel, place, style, f"{servers[0]} / {server}, {clients}", points, 1)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("times as good")
    finish_panel(panel, lines)


def draw_line(
    panel: Axes | Any,
    place: int,
    style: int,
    label: str,
    points: Sequence[tuple[int, float | None]],
    scale: float,
) -> None:
    """A server's line: its colour and marker, dashed by the number of clients."""
    known = [(block, value * scale) for block, value in points if value]
    if known:
        panel.plot(
            *zip(*known, strict=True),
            label=f"{label} {'client' if label.endswith(' 1') else 'clients'}",
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            linestyle=STYLES[style % len(STYLES)],
            linewidth=2.2 if place == 0 else 1.2,
        )


def finish_panel(panel: Axes | Any, lines: Mapping[str, Sequence[Row]]) -> None:
    """What all panels have: the blocks below, a grid, a legend of their own."""
    blocks = {row.case.block: row.case.block_text for rows in lines.values() for row in rows}
    panel.set_xscale("log", base=2)
    panel.set_xticks(list(blocks), list(blocks.values()))
    panel.minorticks_off()
    panel.set_xlabel("bytes a system call")
    panel.grid(alpha=0.3)
    if panel.lines and any(not str(line.get_label()).startswith("_") for line in panel.lines):
        panel.legend(fontsize="x-small")
