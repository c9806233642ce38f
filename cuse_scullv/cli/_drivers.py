"""`cuse-scullv serve --preset` of what is no memory: the devices of cuse_scullv.drivers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import click
from click.core import ParameterSource

from cuse_scullv import cuse
from cuse_scullv.cli._keeping import Served
from cuse_scullv.cli._serve_options import Asked
from cuse_scullv.cuse.metrics import check_metrics
from cuse_scullv.cuse.nodes import Nodes
from cuse_scullv.cuse.recover import DeviceKeeper
from cuse_scullv.drivers import DRIVERS
from cuse_scullv.processes import privileges
from cuse_scullv.registry import DEV
from cuse_scullv.server.daemon import names_of, symlink, take_over_link

TAKEN = (
    *("config", "preset", "name", "devices", "major", "minor", "owner", "group", "mode"),
    *("recover", "user", "no_drop", "filter", "metrics", "log_level", "log_format"),
    *("run", "cmd", "daemon", "pidfile"),
)
"""The options of `serve` that mean something to them."""


def check(asked: Asked, context: click.Context) -> None:
    """Raises click.UsageError for options that are of memory alone."""
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


class Drivers(DeviceKeeper):
    """Keeps them as `serve` keeps memory: by a worker without privileges, and with a link to the
    first of several."""

    def __init__(self, asked: Asked, devices: Sequence[cuse.Device]) -> None:
        """Raises NoUserError, DeviceError."""
        user, unseparated = privileges.separate(asked.user, not asked.no_drop)
        self._link = DEV / asked.name if len(devices) > 1 else None
        self._first = devices[0].name
        take_over_link(DEV / asked.name)
        nodes = Nodes.opened(devices)
        super().__init__(
            devices,
            None,
            nodes,
            metrics=asked.metrics,
            filters=asked.filter,
            recover=asked.recover,
            user=user,
            drop=not asked.no_drop,
        )
        self.unseparated = unseparated

    def _begin(self, stack: ExitStack) -> None:
        super()._begin(stack)
        if self._link is not None:
            stack.enter_context(symlink(self._link, self._first))


def served(asked: Asked) -> Served[Drivers]:
    """Raises DeviceError."""
    devices = make(asked)
    paths = [DEV / device.name for device in devices]
    where = ", ".join(map(str, paths))
    check_metrics(asked.metrics)
    return Served(
        paths,
        lambda: Drivers(asked, devices),
        lambda keeper: f"serving {where}: {asked.preset}",
        asked.cmd,
        {"SCULLV_DEVICE": str(paths[0])},
    )
