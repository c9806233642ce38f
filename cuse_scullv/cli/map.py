"""cuse-scullv map: where a device has memory, and where holes."""

from __future__ import annotations

from pathlib import Path

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.cli._map_picture import Map, as_svg, as_text
from cuse_scullv.client import Scullv
from cuse_scullv.transfer import extents


@click.command("map")
@click.argument("device")
@click.option(
    "--svg",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the map as a picture, in FILE.",
)
def command(device: str, svg: Path | None) -> None:
    """Show the quantum sets of DEVICE as a map: a line is a set, and holes are visible.

    A device of many quanta is shown smaller: then a place stands for several quanta.
    """
    with opened(device) as file:
        found = look(device, file)
    if svg is None:
        click.echo(as_text(found))
        return
    try:
        svg.write_text(as_svg(found), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(
            f"{svg}: {error.strerror}: type a file's path that you may write"
        ) from None


def look(name: str, file: Scullv) -> Map:
    info = file.info()
    quanta = -(-info.size // info.quantum)
    spans: list[tuple[int, int]] = []
    for start, end in extents(file, info.size):  # of a file these are pages
        first = max(start // info.quantum, spans[-1][1] if spans else 0)
        if first * info.quantum < end:
            spans.append((first, -(-end // info.quantum)))
    return Map(name, info, quanta, spans)
