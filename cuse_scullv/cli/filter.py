"""cuse-scullv filter: show and change what befalls the requests of a device."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from cuse_scullv.cli._types import Served
from cuse_scullv.cuse.filter_ioctl import Seen
from cuse_scullv.cuse.filtering import Filtering
from cuse_scullv.cuse.filterspec import parse_filter

_WRONG = {
    errno.ENOTTY: "not a device that cuse-scullv, or a program with cuse_scullv.cuse, serves",
    errno.EPERM: "this takes CAP_SYS_ADMIN: type the command after 'sudo'",
    errno.ENOSPC: "it has 16 filters, which is the most: remove one",
    errno.EOPNOTSUPP: "the kernel reads and writes its file by itself (passthrough), which no"
    " filter sees: type 'cuse-scullv serve' with --view direct",
}


@contextmanager
def filtering(path: str) -> Iterator[Filtering]:
    try:
        with Filtering(path) as filters:
            yield filters
    except FileNotFoundError as error:
        if error.filename != path:
            raise
        raise click.ClickException(
            f"{path}: no such device: type 'cuse-scullv serve' to make one"
        ) from None
    except OSError as error:
        if error.errno not in _WRONG:
            raise
        raise click.ClickException(f"{path}: {_WRONG[error.errno]}") from None


def show(filters: Filtering, as_json: bool) -> None:
    rows = list(filters)
    if as_json:
        click.echo(json.dumps([as_dict(row) for row in rows], indent=2))
        return
    for row in rows:
        click.echo(f"{row.number}  {row.text}  acted on {row.acted} of {row.seen} requests")


def as_dict(row: Seen) -> dict[str, Any]:
    return {"number": row.number, "filter": row.text, "acted": row.acted, "requests": row.seen}


def add(path: str, specs: tuple[str, ...]) -> None:
    """All of them, or none if one is wrong."""
    try:
        texts = [str(parse_filter(spec)) for spec in specs]
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    with filtering(path) as filters:
        for text in texts:
            filters.add(text)


def remove(path: str, numbers: tuple[str, ...]) -> None:
    if wrong := [number for number in numbers if not (number.isdigit() and len(number) < 19)]:
        raise click.UsageError(
            f"'{wrong[0]}' is no filter's number: type one that 'cuse-scullv filter {path} list'"
            " shows",
            click.get_current_context(),
        )
    with filtering(path) as filters:
        for number in numbers:
            try:
                filters.remove(int(number))
            except FileNotFoundError:
                raise click.ClickException(
                    f"{path}: no filter {number}: type 'cuse-scullv filter {path} list' for those"
                    " that there are"
                ) from None


@click.command("filter")
@click.argument("device", type=Served())
@click.argument("action", type=click.Choice(["list", "add", "remove"]))
@click.argument("what", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="List as JSON.")
@click.pass_context
def command(
    context: click.Context, device: str, action: str, what: tuple[str, ...], as_json: bool
) -> None:
    """Show, add or remove what befalls the requests of DEVICE while it is used.

    list shows the filters, in order, and on how many requests each has acted; add takes what
    'cuse-scullv serve --filter' takes, remove the numbers that list shows.
    """
    if as_json and action != "list":
        raise click.UsageError("--json is for list: leave it out", context)
    if (action == "list") != (not what):
        needs = {
            "list": "list takes nothing more: leave out the rest",
            "add": "add needs a filter: type add error:errno=EIO,rate=1%",
            "remove": "remove needs a number: type remove 1",
        }
        raise click.UsageError(needs[action], context)
    if action == "add":
        add(device, what)
    elif action == "remove":
        remove(device, what)
    else:
        with filtering(device) as filters:
            show(filters, as_json)
