"""cuse-scullv build: run a build with a jobserver's tokens, by a FIFO of its own."""

from __future__ import annotations

import os
import sys

import click

from cuse_scullv.cli._device import opened_jobserver
from cuse_scullv.cli._logging import start_logging
from cuse_scullv.cli._types import Served
from cuse_scullv.jobserver.fifo import OwnFifo
from cuse_scullv.processes.supervise import Supervisor, cannot_run


@click.command("build", context_settings={"allow_interspersed_args": False})
@click.option(
    "--jobserver",
    "device",
    type=Served(),
    default="/dev/jobserver",
    show_default=True,
    help="The jobserver whose tokens the build has.",
)
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
def command(device: str, cmd: tuple[str, ...]) -> int:
    """Run CMD, a build, with MAKEFLAGS that name a FIFO with the tokens of a jobserver.

    It is for programs that insist on a FIFO, as ninja 1.13 does. Others take the device itself.
    Exits with the status of CMD.
    """
    start_logging("warning")
    with Supervisor() as supervisor, opened_jobserver(device) as jobserver:
        jobserver.state()  # or it is none
        with OwnFifo(device) as fifo:
            flags = f"-j --jobserver-auth=fifo:{fifo}"
            try:
                return supervisor.run(cmd, {**os.environ, "MAKEFLAGS": flags})
            except OSError as error:
                status, message = cannot_run(cmd[0], error)
                print(f"cuse-scullv build: {message.removeprefix('--run: ')}", file=sys.stderr)
                return status
