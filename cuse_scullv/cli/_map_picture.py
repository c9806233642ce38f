"""The picture of `cuse-scullv map`: quantum sets as lines, quanta as places in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from cuse_scullv.ioctl import Information
from cuse_scullv.params import human_bytes

LINES_MOST = 64
HOLE, PART, FULL = "·", "▒", "█"
LEGEND = f"{FULL} memory   {PART} memory and holes   {HOLE} a hole"
_SVG_PLACES, _SVG_WIDTH, _SVG_LINE, _SVG_MARGIN, _SVG_LABEL = 500, 1000, 12, 20, 130
_STYLE = """
  text { font: 13px sans-serif; fill: #222; } .hole { fill: #e8e8e8; } .memory { fill: #1f77b4; }
  @media (prefers-color-scheme: dark) {
    svg { background: #1b1b1b; } text { fill: #ddd; } .hole { fill: #333; }
    .memory { fill: #6baed6; } }
"""


@dataclass(frozen=True)
class Map:
    """Which quanta of a device have memory."""

    name: str
    info: Information
    quanta: int
    """Up to the device's size."""
    spans: Sequence[tuple[int, int]]
    """Quanta that have memory: the first of each stretch, and its end; in order."""

    @property
    def sets_a_line(self) -> int:
        """Quantum sets that a line stands for, so that there are not too many lines."""
        sets = -(-self.quanta // self.info.qset)
        return max(-(-sets // LINES_MOST), 1)

    def lines(self, width: int) -> Iterator[tuple[int, list[float]]]:
        """The first quantum of each line, and how much of each of its places has memory: 0 to 1. A
        place is one quantum or, where they are more than `width`, several."""
        line = self.sets_a_line * self.info.qset
        place = self.quanta_a_place(width)
        counts: dict[int, dict[int, int]] = {}
        for first, end in self.spans:
            while first < end:
                number, within = divmod(first, line)
                stop = min(end, (within // place + 1) * place + number * line, (number + 1) * line)
                row = counts.setdefault(number, {})
                row[within // place] = row.get(within // place, 0) + stop - first
                first = stop
        for number in range(-(-self.quanta // line)):
            begin = number * line
            length = min(line, self.quanta - begin)
            row = counts.get(number, {})
            yield (
                begin,
                [
                    row.get(at, 0) / min(place, length - at * place)
                    for at in range(-(-length // place))
                ],
            )

    def quanta_a_place(self, width: int) -> int:
        return -(-self.sets_a_line * self.info.qset // width)

    def caption(self, width: int) -> list[str]:
        """What it is a map of, and at which scale."""
        info = self.info
        have = sum(end - first for first, end in self.spans)
        place, line = self.quanta_a_place(width), self.sets_a_line
        return [
            f"{self.name}: {human_bytes(info.size)}, {have:,} of {self.quanta:,} quanta have"
            " memory",
            f"a quantum is {human_bytes(info.quantum)}, a set {info.qset:,} quanta;"
            f" a line here is {line:,} {'set' if line == 1 else 'sets'},"
            f" a place {place:,} {'quantum' if place == 1 else 'quanta'}",
        ]


def as_text(found: Map) -> str:
    """As wide as the terminal, 80 columns where there is none."""
    last = (found.quanta * found.info.quantum).bit_length()
    digits = max(-(-last // 4), 1)
    width = max(shutil.get_terminal_size().columns - digits - 3, 10)
    lines = [
        f"{begin * found.info.quantum:#0{digits + 2}x} " + "".join(map(_sign, places))
        for begin, places in found.lines(width)
    ]
    return "\n".join([*found.caption(width), *lines, LEGEND])


def _sign(part: float) -> str:
    return FULL if part >= 1 else PART if part else HOLE


def as_svg(found: Map) -> str:
    """A picture for light and dark pages; the paler a place, the less of it has memory."""
    rows, top = [], _SVG_MARGIN * 3
    unit = _SVG_WIDTH / max(min(found.sets_a_line * found.info.qset, _SVG_PLACES), 1)
    y = top
    for begin, places in found.lines(_SVG_PLACES):
        rows.append(_svg_text(_SVG_MARGIN, y + _SVG_LINE - 3, f"{begin * found.info.quantum:#x}"))
        x = 0
        for part, run in groupby(places):
            length = len(list(run))
            rows.append(_svg_run(x * unit, y, length * unit, part))
            x += length
        y += _SVG_LINE + 2
    caption = [
        _svg_text(_SVG_MARGIN, _SVG_MARGIN * (number + 1), line)
        for number, line in enumerate(found.caption(_SVG_PLACES))
    ]
    size = f'width="{_SVG_WIDTH + _SVG_LABEL + 2 * _SVG_MARGIN}" height="{y + _SVG_MARGIN}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{_STYLE}</style>",
            *caption,
            *rows,
            "</svg>\n",
        ]
    )


def _svg_text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _svg_run(x: float, y: float, width: float, part: float) -> str:
    at = f'x="{_SVG_MARGIN + _SVG_LABEL + x:g}" y="{y:g}" width="{width:g}" height="{_SVG_LINE}"'
    if not part:
        return f'<rect class="hole" {at}/>'
    return f'<rect class="memory" {at} opacity="{0.4 + 0.6 * min(part, 1):.2f}"/>'
