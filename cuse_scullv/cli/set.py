"""cuse-scullv set: change a pending parameter of a device."""

from __future__ import annotations

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.client import PARAMETERS, check_parameter
from cuse_scullv.params import parse_size


@click.command("set")
@click.argument("device")
@click.argument("parameter", type=click.Choice(PARAMETERS))
@click.argument("value")
@click.pass_context
def command(context: click.Context, device: str, parameter: str, value: str) -> None:
    """Set a parameter: order, quantum (bytes, or 64K and the like) or qset.

    All devices of the server share it, and each adopts it when it is trimmed.
    """
    try:
        number = parse_size(value) if parameter == "quantum" else int(value)
        check_parameter(parameter, number)
    except ValueError as error:
        reason = str(error) if parameter == "quantum" or value.lstrip("-").isdigit() else ""
        reason = reason or f"{value!r} is not a number: type digits"
        raise click.UsageError(f"{parameter}: {reason}", context) from None
    with opened(device, change=True) as file:
        try:
            file.set(parameter, number)
        except ValueError as error:
            raise click.UsageError(str(error), context) from None
