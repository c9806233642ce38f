"""cuse-scullv punch: make a hole in a device."""

from __future__ import annotations

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.cli._types import Served, Size


@click.command("punch")
@click.argument("device", type=Served())
@click.argument("offset", type=Size())
@click.argument("length", type=Size(least=1))
@click.pass_context
def command(context: click.Context, device: str, offset: int, length: int) -> None:
    """Make LENGTH bytes of DEVICE from OFFSET on read as zeros.

    Quanta that lie in the hole entirely give their memory back. The size stays.
    """
    if offset + length >= 1 << 63:
        raise click.UsageError(
            "the hole ends past 2^63-1: type a smaller OFFSET or LENGTH", context
        )
    with opened(device, change=True) as file:
        file.punch(offset, length)
