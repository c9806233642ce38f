"""cuse-scullv get: the parameters of a device."""

from __future__ import annotations

from typing import Protocol

import click

from cuse_scullv.cli._device import is_jobserver, opened, opened_jobserver
from cuse_scullv.cli._types import Served
from cuse_scullv.client import PARAMETERS
from cuse_scullv.jobserver import control


@click.command("get")
@click.argument("device", type=Served())
@click.argument("parameter", type=click.Choice([*PARAMETERS, *control.PARAMETERS]), required=False)
def command(device: str, parameter: str | None) -> None:
    """Print a parameter of DEVICE; without PARAMETER, all of them.

    Of a scullv device they are order, quantum and qset: those that the next trim makes the device
    adopt; 'cuse-scullv info' has those that are in force. Of a jobserver: tokens, load and
    min-memory.
    """
    if parameter in control.PARAMETERS or (parameter is None and is_jobserver(device)):
        with opened_jobserver(device) as jobserver:
            show(jobserver, control.PARAMETERS, parameter)
    else:
        with opened(device) as file:
            show(file, PARAMETERS, parameter)


class Parameterized(Protocol):
    """What has parameters."""

    def get(self, parameter: str) -> int | float: ...


def show(device: Parameterized, names: tuple[str, ...], parameter: str | None) -> None:
    if parameter is not None:
        click.echo(f"{device.get(parameter):.15g}")
        return
    for name in names:
        click.echo(f"{name} {device.get(name):.15g}")
