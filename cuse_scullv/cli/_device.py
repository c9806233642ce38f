"""Opening the DEVICE of a subcommand."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cuse_scullv import client
from cuse_scullv.jobserver.control import Control

_GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV, errno.ENXIO)
"""What a client gets whose server has ended, or is ending."""


@contextmanager
def opened(path: str, *, change: bool = False) -> Iterator[client.Scullv]:
    """The scullv device at `path`, for reading, or to `change` something. Never trims it.

    An error gets the advice that goes with it: what it takes to open or change a device.
    """
    mode = "r+" if change else "r"
    with _advised(path, change, "serve"), client.open(path, mode) as device:
        yield device


@contextmanager
def opened_jobserver(path: str, *, change: bool = False) -> Iterator[Control]:
    """The jobserver at `path`. Errors as of `opened`."""
    with _advised(path, change, "jobserver"), Control(path) as jobserver:
        yield jobserver


def is_jobserver(path: str) -> bool:
    """Whether there is one at `path`; what cannot be opened is none."""
    try:
        with Control(path) as jobserver:
            jobserver.state()
    except OSError:
        return False
    return True


@contextmanager
def _advised(path: str, change: bool, maker: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if error.filename != path:
            raise
        raise click.ClickException(
            f"{path}: no such device: type 'cuse-scullv {maker}' to make one"
        ) from None
    except OSError as error:
        if error.errno == errno.EISDIR or (error.errno == errno.ENOTTY and Path(path).is_dir()):
            raise click.ClickException(
                f"{path} is a directory: type the path of a device"
            ) from None
        if error.errno in _GONE:
            raise click.ClickException(
                f"{path}: its server has ended: type 'cuse-scullv {maker}' to start one"
            ) from None
        if not isinstance(error, PermissionError):
            raise
        if error.errno == errno.EPERM:
            raise click.ClickException(
                f"{path}: only root, or who has CAP_SYS_ADMIN, may: type the command after 'sudo'"
            ) from None
        verb = "change" if change else "read"
        raise click.ClickException(
            f"{path}: you may not {verb} this device: type 'ls -l {path}' to see who may"
        ) from None
