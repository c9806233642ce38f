"""cuse-scullv top: what the devices of a server do just now."""

from __future__ import annotations

import click
from rich.console import RenderableType

from cuse_scullv.cli._live import Seconds, show
from cuse_scullv.cli._top_sample import Sample, Sampler
from cuse_scullv.cli._top_screen import screen

DEFAULT = "/dev/scullv"


@click.command("top")
@click.argument("device", default=DEFAULT, metavar="[DEVICE]")
@click.option(
    "--interval",
    type=Seconds(),
    default=1.0,
    show_default=True,
    help="Seconds from one look to the next.",
)
@click.option("--count", type=click.IntRange(1), help="Looks, after which it ends.")
def command(device: str, interval: float, count: int | None) -> None:
    """Show rates, latencies, memory and clients of DEVICE and its server's others, until q.

    DEVICE is /dev/scullv unless given, and may be the directory of --files. Where there is no
    terminal, each look is printed. Who asks is counted too: two ioctls for each device.
    """
    with Sampler(device) as sampler:
        before: Sample | None = None

        def look() -> RenderableType:
            nonlocal before
            now = sampler.take()
            shown = screen(now, before)
            before = now
            return shown

        show(look, interval, count)
