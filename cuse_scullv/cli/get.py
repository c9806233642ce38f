"""cuse-scullv get: the pending parameters of a device."""

from __future__ import annotations

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.client import PARAMETERS


@click.command("get")
@click.argument("device")
@click.argument("parameter", type=click.Choice(PARAMETERS), required=False)
def command(device: str, parameter: str | None) -> None:
    """Print a parameter of DEVICE: order, quantum or qset; without PARAMETER, all of them.

    They are those that the next trim makes the device adopt; 'cuse-scullv info' has those that
    are in force.
    """
    with opened(device) as file:
        if parameter is not None:
            click.echo(file.get(parameter))
            return
        for name in PARAMETERS:
            click.echo(f"{name} {file.get(name)}")
