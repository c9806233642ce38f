"""cuse-scullv stop: end a server."""

from __future__ import annotations

import click

from cuse_scullv import registry
from cuse_scullv.cli._types import Served
from cuse_scullv.view import mount

WAIT_S = 30.0


@click.command("stop")
@click.argument("name", type=Served())
def command(name: str) -> None:
    """End the server of NAME, and return when it has gone.

    NAME is a node's name or path, or a directory of files.
    """
    try:
        gone = registry.stop(name, WAIT_S)
    except registry.NotServedError:
        raise click.ClickException(
            f"no server of yours serves {name}: type 'cuse-scullv serve' to start one, or this"
            " command as the user who did"
        ) from None
    except PermissionError:
        raise click.ClickException(
            f"you may not end the server of {name}: type the command after 'sudo'"
        ) from None
    for place in registry.places_named(name):
        if gone and any(mounted.type == mount.TYPE for mounted in mount.mounts_on(place)):
            raise click.ClickException(
                f"the server of {name} has ended, and {place} stays mounted: type"
                f" 'umount -l {place}' as root"
            )
    if not gone:
        raise click.ClickException(
            f"the server of {name} was told to end and is still there after {WAIT_S:g} s"
        )
