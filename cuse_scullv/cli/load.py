"""cuse-scullv load: the bytes of a file into a live device."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.cli._progress import progress
from cuse_scullv.cli._types import Served
from cuse_scullv.transfer import load


@click.command("load")
@click.argument("device", type=Served())
@click.argument("file", type=click.Path(path_type=Path))
def command(device: str, file: Path) -> None:
    """Fill DEVICE, which is trimmed first, with the bytes of FILE; its holes stay holes."""
    if not file.is_file():
        what = "is no regular file" if file.exists() else "is not there"
        raise click.ClickException(f"{file} {what}: type the name of a file that save has made")
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with opened(device, change=True) as target:
            with progress(f"loading {device}", os.fstat(fd).st_size) as done:
                size = load(fd, target, done)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM):
            raise
        raise click.ClickException(
            f"{device} has no room for all of {file}: serve it with a larger --max-bytes"
        ) from None
    finally:
        os.close(fd)
    click.echo(f"{size} bytes loaded from {file}", err=True)
