"""cuse-scullv trim: empty a device."""

from __future__ import annotations

import errno

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.cli._types import Served


@click.command("trim")
@click.argument("device", type=Served())
def command(device: str) -> None:
    """Empty DEVICE: its memory goes back, and it adopts the pending parameters."""
    with opened(device, change=True) as file:
        try:
            file.trim()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise click.ClickException(
                f"{device} is mapped: end the programs that map it, then trim"
            ) from None
