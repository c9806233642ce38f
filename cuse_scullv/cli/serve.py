"""cuse-scullv serve: make the devices, and keep them until a signal or the end of --run CMD."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cuse_scullv import cuse
from cuse_scullv.backing import ANON, MEMFD, Backing
from cuse_scullv.cli import _drivers
from cuse_scullv.cli._config import config_option
from cuse_scullv.cli._keeping import Served, keep, named
from cuse_scullv.cli._logging import start_logging
from cuse_scullv.cli._serve_options import OPTIONS, Asked
from cuse_scullv.drivers import DRIVERS
from cuse_scullv.params import Params
from cuse_scullv.processes.background import detach, let_go
from cuse_scullv.processes.keeper import KeeperError
from cuse_scullv.server.daemon import ServeError, Settings, summary
from cuse_scullv.server.metrics_server import located
from cuse_scullv.server.server import Server
from cuse_scullv.server.takeover import Taken, TakeoverError, taken


def build_params(asked: Asked, context: click.Context) -> Params:
    """The parameters that the options ask for. Raises click.UsageError."""
    try:
        return Params.of(
            asked.preset,
            order=asked.order,
            quantum=asked.quantum,
            qset=asked.qset,
            ldd3=asked.ldd3,
        )
    except ValueError as error:
        raise click.UsageError(str(error), context) from None


def check(asked: Asked, context: click.Context) -> None:
    """Raises click.UsageError for options that do not go together."""
    if asked.run and not asked.cmd:
        raise click.UsageError("--run needs a command: type it after --run", context)
    if asked.cmd and not asked.run:
        raise click.UsageError(f"unexpected '{asked.cmd[0]}': type --run before a command", context)
    if asked.minor is not None and asked.major is None:
        raise click.UsageError("--minor needs a major number: type --major M as well", context)
    if asked.daemon and asked.run:
        raise click.UsageError("--run waits for its command: leave out --daemon", context)
    if asked.pidfile is not None and not asked.daemon:
        raise click.UsageError("--pidfile is for --daemon: type --daemon as well", context)
    if asked.backing is not None and asked.map is not None:
        raise click.UsageError("--map is a backing of its own: leave out --backing", context)


def check_all(asked: Asked, context: click.Context) -> None:
    """Raises click.UsageError, ServeError where this cannot be served."""
    if asked.preset in DRIVERS:
        check(asked, context)
        _drivers.check(asked, context)
    else:
        settings_of(asked, context)


def settings_of(asked: Asked, context: click.Context) -> Settings:
    """What to serve from memory. Raises click.UsageError, ServeError."""
    check(asked, context)
    params = build_params(asked, context)
    return Settings(
        name=asked.name,
        devices=asked.devices,
        major=asked.major or 0,
        minor=asked.minor or 0,
        params=params,
        max_bytes=asked.max_bytes,
        backing=build_backing(asked),
        view=asked.view,
        owner=asked.owner,
        group=asked.group_of_nodes,
        mode=asked.mode,
        workers=cuse.Workers(
            threads=asked.threads, placement=asked.placement, spin_us=asked.spin_us
        ),
        node=not asked.no_node,
        mem_node=asked.mem_node,
        files=asked.files,
        recover=asked.recover,
        user=asked.user,
        drop=not asked.no_drop,
        filters=asked.filter,
        metrics=metrics_of(asked),
        log_requests=None if asked.log_requests is None else asked.log_requests.absolute(),
    )


def metrics_of(asked: Asked) -> str | None:
    """Raises ServeError."""
    try:
        return located(asked.metrics) if asked.metrics is not None else None
    except cuse.DeviceError as error:
        raise ServeError(str(error.strerror)) from None


def build_backing(asked: Asked) -> Backing:
    if asked.map is not None:
        return Backing.of_map(asked.map)
    return Backing.of(asked.backing or (MEMFD if asked.recover else ANON))


def memory(settings: Settings, cmd: Sequence[str], before: Taken | None) -> Served[Server]:
    """scullv devices, and what else the settings say."""
    mounted = before.mount if before is not None else None
    at = settings.places_at(mounted.directory) if mounted is not None else settings.places
    environment = {"SCULLV_DEVICE": str(settings.paths[0])}
    if settings.files is not None:
        environment["SCULLV_FILES"] = str(settings.files)
    return Served(
        at,
        lambda: Server(settings, before),
        lambda server: summary(settings, server.devices[0].shared),
        cmd,
        environment,
    )


def serve_as_asked(**options: Any) -> int:
    """Make scullv devices, and serve them until SIGTERM or SIGINT.

    CMD is only taken after --run.
    """
    asked, context = Asked(**options), click.get_current_context()
    start_logging(asked.log_level, asked.log_format)
    try:
        if asked.preset in DRIVERS:
            check_all(asked, context)
            return kept(_drivers.served(asked), asked)
        settings, before = settings_of(asked, context), taken()
        return kept(memory(settings, asked.cmd, before), asked, before)
    except (KeeperError, TakeoverError) as error:
        raise click.ClickException(str(error)) from None


def kept(served: Served[Any], asked: Asked, before: Taken | None = None) -> int:
    """In the background or here; `before`: what a server that has become this one holds."""
    pidfile = asked.pidfile.absolute() if asked.pidfile is not None else None
    if before is not None and before.in_background:
        let_go()
    background = detach() if asked.daemon and before is None else None
    with named(pidfile):
        return keep(served, background)


_CMD = click.Argument(["cmd"], nargs=-1, type=click.UNPROCESSED, metavar="[--run CMD...]")

command = click.Command(
    "serve",
    params=[config_option(), *OPTIONS, _CMD],
    callback=serve_as_asked,
    help=serve_as_asked.__doc__,
    context_settings={"allow_interspersed_args": False},
)


def served_by(arguments: list[str]) -> str:
    """What this program would serve by these words, "serve" the first of them, as JSON; for the
    keeper of another version (server/takeover.py). Ends the process, with a line, where that is
    nothing.
    """
    try:
        with command.make_context("serve", arguments[1:]) as context:
            settings = settings_of(Asked(**context.params), context)
            return json.dumps(settings.served_from(str(Path.cwd())))
    except click.ClickException as error:
        sys.exit(error.format_message())
    except KeeperError as error:
        sys.exit(str(error))
