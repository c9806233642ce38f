"""cuse-scullv set: change a parameter of a device."""

from __future__ import annotations

import click

from cuse_scullv.cli._device import opened, opened_jobserver
from cuse_scullv.cli._types import Served
from cuse_scullv.client import PARAMETERS, check_parameter
from cuse_scullv.jobserver import control
from cuse_scullv.params import parse_size


@click.command("set")
@click.argument("device", type=Served())
@click.argument("parameter", type=click.Choice([*PARAMETERS, *control.PARAMETERS]))
@click.argument("value")
@click.pass_context
def command(context: click.Context, device: str, parameter: str, value: str) -> None:
    """Set a parameter of a device.

    A scullv device has order, quantum (bytes, or 64K and the like) and qset; a jobserver tokens,
    load and min-memory (bytes, or 4G and the like; 0 is no limit).

    All scullv devices of a server share theirs, and each adopts them when it is trimmed. A
    jobserver's are in force at once: tokens that are out stay so.
    """
    try:
        number = parse(parameter, value)
    except ValueError as error:
        raise click.UsageError(f"{parameter}: {error}", context) from None
    if parameter in control.PARAMETERS:
        with opened_jobserver(device, change=True) as jobserver:
            jobserver.set(parameter, number)
        return
    with opened(device, change=True) as file:
        try:
            file.set(parameter, int(number))
        except ValueError as error:
            raise click.UsageError(str(error), context) from None


def parse(parameter: str, value: str) -> int | float:
    """The value that a parameter is to have. Raises ValueError, of one line."""
    if parameter in control.PARAMETERS:
        number = parse_size(value) if parameter == "min-memory" else parse_number(value)
        control.check_parameter(parameter, number)
        return number
    whole = parse_size(value) if parameter == "quantum" else int(parse_number(value))
    check_parameter(parameter, whole)
    return whole


def parse_number(value: str) -> int | float:
    try:
        return int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number: type digits") from None
