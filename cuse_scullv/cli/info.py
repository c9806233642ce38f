"""cuse-scullv info: the state of a device."""

from __future__ import annotations

import dataclasses
import json

import click

from cuse_scullv.cli._device import is_jobserver, opened, opened_jobserver
from cuse_scullv.cli._jobserver_info import fields_of, jobserver_table
from cuse_scullv.cli._types import Served, columns, human_bytes
from cuse_scullv.ioctl import FLAG_LDD3, FLAG_PASSTHROUGH, Information


@click.command("info")
@click.argument("device", type=Served())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, numbers in bytes.")
@click.option(
    "--scullvmem", is_flag=True, help="Print the book's /proc/scullvmem text about the device."
)
@click.pass_context
def command(context: click.Context, device: str, as_json: bool, scullvmem: bool) -> None:
    """Print size, memory and parameters of DEVICE; of a jobserver its tokens, and who has them."""
    if as_json and scullvmem:
        raise click.UsageError("--json and --scullvmem exclude each other: type one", context)
    if not scullvmem and is_jobserver(device):
        with opened_jobserver(device) as jobserver:
            fields = fields_of(jobserver)
        click.echo(json.dumps(fields, indent=2) if as_json else jobserver_table(fields))
        return
    with opened(device) as file:
        if scullvmem:
            click.echo(file.text(), nl=False)
        elif as_json:
            click.echo(json.dumps(as_dict(file.info()), indent=2))
        else:
            click.echo(table(file.info()))


def as_dict(info: Information) -> dict[str, int | bool | str]:
    """The fields of the INFO ioctl by name; `flags` as `ldd3`, `backing` and `passthrough`."""
    fields: dict[str, int | bool | str] = dataclasses.asdict(info)
    flags = info.flags
    del fields["flags"]
    fields["ldd3"] = bool(flags & FLAG_LDD3)
    fields["backing"] = info.backing
    fields["passthrough"] = bool(flags & FLAG_PASSTHROUGH)
    return fields


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
