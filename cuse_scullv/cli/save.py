"""cuse-scullv save: the bytes of a live device into a sparse file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.cli._progress import progress
from cuse_scullv.cli._types import Served
from cuse_scullv.transfer import save


@click.command("save")
@click.argument("device", type=Served())
@click.argument("file", type=click.Path(path_type=Path))
def command(device: str, file: Path) -> None:
    """Copy DEVICE to FILE: an ordinary sparse file, with the device's holes.

    FILE is there once it is whole; what was there before is replaced then.
    """
    if file.exists() and not file.is_file():
        raise click.ClickException(f"{file} is no regular file: type the name of one")
    with opened(device) as source:
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with progress(f"saving {device}", source.info().size) as done:
                size = save(source, fd, done)
            os.fsync(fd)
            fresh.replace(file)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
    click.echo(f"{size} bytes saved to {file}", err=True)
