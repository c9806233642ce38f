"""cuse-scullv info: the state of a device."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
from collections.abc import Callable
from typing import Any

import click
from rich.text import Text

from cuse_scullv.cli._device import is_jobserver, opened, opened_jobserver
from cuse_scullv.cli._jobserver_info import fields_of, jobserver_table
from cuse_scullv.cli._live import Seconds, show
from cuse_scullv.cli._types import Served, columns
from cuse_scullv.client import Scullv
from cuse_scullv.counts import Counts
from cuse_scullv.ioctl import FLAG_LDD3, FLAG_PASSTHROUGH, Information
from cuse_scullv.params import human_bytes

WATCH_S = "2"
"""Seconds between two looks of --watch."""


class WatchCommand(click.Command):
    """--watch takes a number that follows it, and is content without."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            has_number = re.match(r"[-+.]?\d|[-+.]?(inf|nan)\b", following)
            words.append(f"{word}={WATCH_S}" if word == "--watch" and not has_number else word)
        return super().parse_args(ctx, words)


@click.command("info", cls=WatchCommand)
@click.argument("device", type=Served())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, numbers in bytes.")
@click.option(
    "--scullvmem", is_flag=True, help="Print the book's /proc/scullvmem text about the device."
)
@click.option(
    "--watch",
    type=Seconds(),
    metavar="[SECONDS]",
    help=f"Look again every so many seconds, {WATCH_S} unless given, until q or Ctrl-C.",
)
@click.pass_context
def command(
    context: click.Context, device: str, as_json: bool, scullvmem: bool, watch: float | None
) -> None:
    """Print size, memory and parameters of DEVICE; of a jobserver its tokens, and who has them."""
    if as_json and scullvmem:
        raise click.UsageError("--json and --scullvmem exclude each other: type one", context)
    if not scullvmem and is_jobserver(device):
        with opened_jobserver(device) as jobserver:
            say(lambda: fields_of(jobserver), jobserver_table, as_json, watch)
        return
    with opened(device) as file:
        if scullvmem:
            say(file.text, str.rstrip, False, watch)
        elif as_json:
            say(lambda: as_dict(file), str, True, watch)
        else:
            say(file.info, table, False, watch)


def say(
    ask: Callable[[], Any], describe: Callable[[Any], str], as_json: bool, watch: float | None
) -> None:
    """Once, or again and again: then a JSON object is a line."""
    if watch is None:
        click.echo(json.dumps(ask(), indent=2) if as_json else describe(ask()))
    elif as_json:
        show(lambda: json.dumps(ask()), watch)
    else:
        show(lambda: Text(describe(ask()) + "\n"), watch)


def as_dict(file: Scullv) -> dict[str, Any]:
    """The fields of the INFO ioctl by name, `flags` as `ldd3`, `backing` and `passthrough`; and
    what was answered, by the node and by the file view."""
    info = file.info()
    fields: dict[str, Any] = dataclasses.asdict(info)
    flags = info.flags
    del fields["flags"]
    fields["ldd3"] = bool(flags & FLAG_LDD3)
    fields["backing"] = info.backing
    fields["passthrough"] = bool(flags & FLAG_PASSTHROUGH)
    try:
        counts = {"node": file.statistics(), "files": file.statistics(view=True)}
    except OSError as error:
        if error.errno != errno.ENOTTY:  # a server that is older than the ioctl
            raise
        return fields
    fields["worker_deaths"] = max(each.deaths for each in counts.values())
    return fields | {name: _answered(each) for name, each in counts.items() if each.placement}


def _answered(counts: Counts) -> dict[str, Any]:
    operations = {
        name: {
            "requests": count.requests,
            "errors": count.errors,
            "bytes": count.bytes,
            "seconds": count.ns / 1e9,
        }
        for name, count in counts.operations.items()
        if count.requests
    }
    return {"placement": counts.placement, "under_way": counts.under_way} | operations


def table(info: Information) -> str:
    """The same for a person."""
    limit = human_bytes(info.limit) if info.limit else "no limit"
    rows = [
        ("device", f"{info.number} of {info.devices}, open {info.opens} times"),
        ("rules", "the book's (--ldd3)" if info.flags & FLAG_LDD3 else "cuse-scullv's own"),
        ("backing", info.backing),
        ("size", human_bytes(info.size)),
        ("memory", f"{human_bytes(info.resident_bytes)} in {info.regions} quanta"),
        ("index", human_bytes(info.index_bytes)),
        ("all devices", f"{human_bytes(info.used)} of {limit}"),
        ("quantum", f"{info.quantum} bytes (order {info.order})"),
        ("qset", str(info.qset)),
    ]
    if info.flags & FLAG_PASSTHROUGH:
        rows.insert(3, ("file view", "read and written by the kernel itself (passthrough)"))
    if (info.quantum, info.qset) != (info.pending_quantum, info.pending_qset):
        pending = f"quantum {info.pending_quantum} bytes, qset {info.pending_qset}"
        rows.append(("next trim", pending))
    return columns(rows)
