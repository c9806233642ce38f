"""Throughput over block size as a picture: a panel for each figure of a suite, a line a server."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.figures import Row
from cuse_scullv.bench.report import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
# The colours of Okabe and Ito, which the colour-blind tell apart.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#666666", "#cc79a7")
MARKERS = "osD^v"


def check(path: Path) -> None:
    """Raises BenchError unless a picture can be made of that name."""
    if path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"--plot {path}: name it {path.stem or 'plot'}.png or .svg")
    if find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: type 'pip install matplotlib'")


def series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that make a line: by figure, those of one client alone, ordered by block."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        case = row.case
        if case.block and case.unit == "B/s" and case.clients == 1 and not case.beside:
            found.setdefault(case.figure, []).append(row)
    return {figure: sorted(of, key=lambda row: row.case.block) for figure, of in found.items()}


def draw(outcomes: Sequence[Outcome], title: str, path: Path) -> None:
    """Writes the picture. Raises BenchError where no suite has throughput to show."""
    shown = [(outcome, series(outcome.rows)) for outcome in outcomes]
    shown = [(outcome, lines) for outcome, lines in shown if lines]
    if not shown:
        raise BenchError("--plot: none of these suites has throughput over block size: add files")
    from matplotlib.figure import Figure

    columns = max(len(lines) for _, lines in shown)
    figure = Figure(figsize=(4.2 * columns, 3.6 * len(shown) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    panels = figure.subplots(len(shown), columns, squeeze=False)
    for number, (outcome, lines) in enumerate(shown):
        for panel in panels[number, len(lines) :]:
            panel.set_axis_off()
        for panel, (name, rows) in zip(panels[number], lines.items(), strict=False):
            draw_panel(panel, f"{outcome.suite}: {name}", outcome.servers, rows)
        panels[number, 0].legend(fontsize="small")
    figure.savefig(path, dpi=150)


def draw_panel(panel: Axes | Any, title: str, servers: Sequence[str], rows: Sequence[Row]) -> None:
    """One figure: blocks from left to right, both axes logarithmic."""
    blocks = [row.case.block for row in rows]
    for place, server in enumerate(servers):
        points = [(row.case.block, row.medians[place]) for row in rows]
        known = [(block, value / 1e6) for block, value in points if value]
        if known:
            panel.plot(
                *zip(*known, strict=True),
                label=server,
                color=COLOURS[place % len(COLOURS)],
                marker=MARKERS[place % len(MARKERS)],
                linewidth=2.2 if place == 0 else 1.2,
            )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(blocks, [row.case.block_text for row in rows])
    panel.minorticks_off()
    panel.set_title(title, fontsize="medium")
    panel.set_xlabel("bytes a system call")
    panel.set_ylabel("MB/s")
    panel.grid(alpha=0.3)
