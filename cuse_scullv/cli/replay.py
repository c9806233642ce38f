"""cuse-scullv replay: the device that a log of proxy is of."""

from __future__ import annotations

import math
from pathlib import Path

import click

from cuse_scullv import cuse
from cuse_scullv.cli._filters import filter_option
from cuse_scullv.cli._logging import start_logging
from cuse_scullv.cli._node import given, node_options
from cuse_scullv.cuse.filterspec import FilterSpec
from cuse_scullv.recording import log
from cuse_scullv.recording.replay import Replay

DIVERGED = 1


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@node_options("0660 of root unless given")
@click.option(
    "--speed",
    type=float,
    help="1: answers take the time that they took; 2: half of it; 0, and unless given: none.",
)
@click.option(
    "--any-order",
    is_flag=True,
    help="Take the requests of the log in whatever order they come, each once.",
)
@filter_option
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    name: str,
    mode: int | None,
    owner: int | None,
    group: int | None,
    daemon: bool,
    speed: float | None,
    any_order: bool,
    filters: tuple[FilterSpec, ...],
) -> int:
    """Serve a node that answers as the log FILE of cuse-scullv proxy says.

    What the log does not have is EIO to the client, and a line on stderr that says where; then the
    exit status is 1. Ends at SIGTERM, SIGINT and cuse-scullv stop NAME.
    """
    if speed is not None and any_order:
        raise click.UsageError(
            "times are those of an order: type --speed or --any-order, not both", context
        )
    if speed is not None and not 0 <= speed < math.inf:
        raise click.UsageError(f"no speed {speed}: type 1, 0.5, or any number from 0 on", context)
    start_logging("warning")
    try:
        played = log.load(file)
    except log.LogError as error:
        raise click.ClickException(str(error)) from None
    options = given(mode, owner, group)
    device = Replay(name, file, played, speed=speed or 0.0, any_order=any_order, **options)
    cuse.serve(device, daemon=daemon, filters=filters)
    return DIVERGED if device.divergences else 0
