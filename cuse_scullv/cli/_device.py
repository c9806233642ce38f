"""Opening the DEVICE of a subcommand."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cuse_scullv import client


@contextmanager
def opened(path: str, *, change: bool = False) -> Iterator[client.Scullv]:
    """The device at `path`, for reading, or to `change` something. Never trims it.

    An error gets the advice that goes with it: what it takes to open or change a device.
    """
    mode = "r+" if change else "r"
    try:
        with client.open(path, mode) as device:
            yield device
    except FileNotFoundError as error:
        if error.filename != path:
            raise
        raise click.ClickException(
            f"{path}: no such device: type 'cuse-scullv serve' to make one"
        ) from None
    except IsADirectoryError:
        raise click.ClickException(f"{path} is a directory: type the path of a device") from None
    except PermissionError as error:
        if error.errno == errno.EPERM:
            raise click.ClickException(
                f"{path}: this takes CAP_SYS_ADMIN: type the command after 'sudo'"
            ) from None
        verb = "change" if change else "read"
        raise click.ClickException(
            f"{path}: you may not {verb} this device: type 'ls -l {path}' to see who may"
        ) from None
