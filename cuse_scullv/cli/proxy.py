"""cuse-scullv proxy: a node before a real device, and a log of what goes through it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cuse_scullv import cuse
from cuse_scullv.cli._filters import filter_option
from cuse_scullv.cli._logging import start_logging
from cuse_scullv.cli._node import given, node_options
from cuse_scullv.cuse.filterspec import FilterSpec
from cuse_scullv.recording.proxy import NotADeviceError, Proxy
from cuse_scullv.recording.recorded import RecordedProxy

INCOMPLETE = 1


@click.command("proxy")
@click.argument("real")
@node_options("as of REAL unless given")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all that is asked and answered to FILE, for replay; what it has is replaced.",
)
@filter_option
def command(
    real: str,
    name: str,
    mode: int | None,
    owner: int | None,
    group: int | None,
    daemon: bool,
    record: Path | None,
    filters: tuple[FilterSpec, ...],
) -> int:
    """Serve a node that passes all that clients ask on to the device REAL.

    Ends at SIGTERM, SIGINT and cuse-scullv stop NAME.
    """
    start_logging("warning")
    device = _device(name, real, record, given(mode, owner, group))
    cuse.serve(device, daemon=daemon, filters=filters)
    return INCOMPLETE if isinstance(device, RecordedProxy) and device.recorder.failed else 0


def _device(name: str, real: str, record: Path | None, options: dict[str, int]) -> Proxy:
    with _said_of(real):
        if record is None:
            return Proxy(name, real, **options)
        return RecordedProxy(name, real, record.absolute(), **options)


@contextmanager
def _said_of(real: str) -> Iterator[None]:
    """Raises click.ClickException for a REAL that cannot be passed on to."""
    try:
        yield
    except NotADeviceError:
        raise click.ClickException(
            f"{real} is no character device: type the path of one, as /dev/ttyS0"
        ) from None
    except OSError as error:
        if error.filename != real:
            raise
        advice = {
            errno.ENOENT: "type the path of a device that is there",
            errno.EBUSY: f"type 'fuser {real}' to see who has it, and end that first",
            errno.EACCES: f"type 'ls -l {real}' to see who may open it",
        }
        said = advice.get(error.errno or 0, "type the path of a device that can be opened")
        raise click.ClickException(f"{real}: {error.strerror}: {said}") from None
