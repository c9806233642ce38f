"""cuse-scullv reset: put the pending parameters back."""

from __future__ import annotations

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.cli._types import Served


@click.command("reset")
@click.argument("device", type=Served())
def command(device: str) -> None:
    """Put order, quantum and qset back to those of the server's preset.

    The device adopts them when it is trimmed.
    """
    with opened(device, change=True) as file:
        file.reset()
