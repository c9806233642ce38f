"""`cuse-scullv serve --preset` of what is no memory: the devices of cuse_scullv.drivers."""

from __future__ import annotations

from contextlib import ExitStack

import click
import sdnotify
from click.core import ParameterSource

from cuse_scullv import cuse
from cuse_scullv.cli._logging import say
from cuse_scullv.cli._serve_options import Asked
from cuse_scullv.drivers import DRIVERS
from cuse_scullv.registry import DEV
from cuse_scullv.server.daemon import names_of, symlink

TAKEN = (
    *("config", "preset", "name", "devices", "major", "minor", "owner", "group", "mode"),
    *("recover", "filter", "metrics", "daemon", "log_level", "log_format"),
)
"""The options of `serve` that mean something to them."""


def check(asked: Asked, context: click.Context) -> None:
    """Raises click.UsageError for options that are of memory, or of the server that has it."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    for option in context.command.get_params(context):
        assert option.name is not None
        if option.name not in TAKEN and context.get_parameter_source(option.name) in typed:
            raise click.UsageError(
                f"{option.opts[0]} is not for --preset {asked.preset}: leave it out", context
            )


def make(asked: Asked) -> list[cuse.Device]:
    names = names_of(asked.name, asked.devices)
    return [
        DRIVERS[asked.preset](
            name,
            major=asked.major or 0,
            minor=(asked.minor or 0) + number,
            owner=asked.owner,
            group=asked.group_of_nodes,
            mode=asked.mode,
        )
        for number, name in enumerate(names)
    ]


def serve(asked: Asked) -> None:
    """Until a signal. Raises ServeError, and what cuse.serve does."""
    devices = make(asked)
    where = ", ".join(str(DEV / device.name) for device in devices)

    def ready() -> None:
        say(f"serving {where}: {asked.preset}")
        sdnotify.SystemdNotifier().notify("READY=1")

    with ExitStack() as stack:
        if len(devices) > 1:
            stack.enter_context(symlink(DEV / asked.name, devices[0].name))
        cuse.serve(
            *devices,
            daemon=asked.daemon,
            recover=asked.recover,
            metrics=asked.metrics,
            filters=asked.filter,
            on_ready=ready,
        )
