"""cuse-scullv jobserver: serve tokens for the jobs of make, ninja, cargo and their like."""

from __future__ import annotations

import os
import sys

import click

from cuse_scullv import cuse
from cuse_scullv.cli._filters import filter_option
from cuse_scullv.cli._logging import start_logging
from cuse_scullv.cli._types import DeviceName, Group, Load, Mode, Owner, Size
from cuse_scullv.cuse.filterspec import FilterSpec
from cuse_scullv.jobserver.control import check_parameter
from cuse_scullv.jobserver.device import Jobserver
from cuse_scullv.jobserver.gate import Gate
from cuse_scullv.jobserver.protocol import TOKENS_MAX


@click.command("jobserver")
@click.option(
    "--name", type=DeviceName(), default="jobserver", show_default=True, help="Name of the node."
)
@click.option(
    "--tokens",
    metavar="N",
    type=click.IntRange(1, TOKENS_MAX),
    help="Jobs that may run at once, beside the one that each build has by itself; as many as CPUs "
    "unless given.",
)
@click.option(
    "--load",
    type=Load(),
    default=0.0,
    help="Hand out no token while the load average is above this, but one.",
)
@click.option(
    "--min-memory",
    type=Size(least=1),
    default=0,
    help="Hand out no token while less memory than this is available, but one.",
)
@click.option("--owner", type=Owner(), help="Owner of the node.")
@click.option("--group", type=Group(), help="Group of the node.")
@click.option("--mode", type=Mode(), default="0660", show_default=True, help="Permissions, octal.")
@click.option(
    "--metrics",
    metavar="[HOST:]PORT|unix:PATH",
    help="Where Prometheus finds counts of requests and tokens.",
)
@filter_option
@click.option("--daemon", is_flag=True, help="Return when the node can be opened; serve on.")
def command(
    name: str,
    tokens: int | None,
    load: float,
    min_memory: int,
    owner: int | None,
    group: int | None,
    mode: int,
    metrics: str | None,
    filters: tuple[FilterSpec, ...],
    daemon: bool,
) -> None:
    """Serve tokens for the jobs of make, ninja, cargo and their like, until SIGTERM or SIGINT.

    A program that is killed gives its tokens back by that. 'cuse-scullv get', 'set' and 'info' ask
    and tell a jobserver that runs.
    """
    try:
        check_parameter("min-memory", min_memory)
    except ValueError as error:
        raise click.UsageError(f"--min-memory: {error}", click.get_current_context()) from None
    if tokens is None:
        tokens = min(len(os.sched_getaffinity(0)), TOKENS_MAX)
    device = Jobserver(name, tokens, Gate(load, min_memory), owner=owner, group=group, mode=mode)
    start_logging("warning")
    cuse.serve(
        device,
        daemon=daemon,
        recover=True,
        metrics=metrics,
        filters=filters,
        on_ready=lambda: say_ready(name, tokens),
    )


def say_ready(name: str, tokens: int) -> None:
    print(
        f"cuse-scullv: serving /dev/{name}: tokens {tokens};"
        f" MAKEFLAGS='-j --jobserver-auth=fifo:/dev/{name}'",
        file=sys.stderr,
        flush=True,
    )
