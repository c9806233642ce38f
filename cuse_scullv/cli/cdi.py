"""cuse-scullv cdi: what containers' runtimes read to give nodes to containers."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cuse_scullv import registry
from cuse_scullv.cdi import KIND, NameTakenError, name_of, specification
from cuse_scullv.cli._types import Served


@click.command("cdi")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to FILE, which runtimes find as /etc/cdi/NAME.json or /run/cdi/NAME.json, instead "
    "of standard output.",
)
@click.argument("devices", nargs=-1, metavar="[DEVICE]...", type=Served())
def command(output: Path | None, devices: tuple[str, ...]) -> None:
    """Write a CDI specification of the nodes that are served now, for podman, docker, containerd
    and CRI-O.

    Each DEVICE, or each node that is served by you or by root, is a device of it: of /dev/scullv
    it is cuse-scullv/device=scullv.
    """
    try:
        text = json.dumps(specification(chosen(devices)), indent=2) + "\n"
    except NameTakenError as error:
        raise click.ClickException(f"two nodes would be {KIND}={error}: type one of them") from None
    if output is None:
        click.echo(text, nl=False)
        return
    if output.suffix != ".json":
        raise click.ClickException(f"{output}: runtimes read NAME.json alone: type such a name")
    if not output.parent.is_dir():
        raise click.ClickException(f"there is no folder {output.parent}: make it first")
    # A runtime may look at any moment, and reads what ends in .json.
    part = output.with_name(f".{output.name}.part")
    part.write_text(text)
    part.replace(output)


def chosen(devices: tuple[str, ...]) -> list[Path]:
    """The nodes that were asked for, each once; symbolic links are what they lead to."""
    served = {place for place in registry.served() if place.is_char_device()}
    nodes = {node.resolve() for node in served}
    for device in devices:
        if Path(device).resolve() not in nodes:
            raise click.ClickException(
                f"{device} is no node that is served: type 'cuse-scullv serve' to make one"
            )
    if not nodes:
        raise click.ClickException("no node is served: type 'cuse-scullv serve' to make one")
    return sorted({Path(device).resolve() for device in devices} or nodes, key=name_of)
