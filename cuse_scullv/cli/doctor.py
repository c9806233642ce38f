"""cuse-scullv doctor: what this machine can do, and what to type where it cannot."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from cuse_scullv.doctor.finding import Finding
from cuse_scullv.doctor.kernel import find_config, find_passthrough, find_version
from cuse_scullv.doctor.machine import find_files, find_libfuse, find_memory, find_nodes
from cuse_scullv.doctor.stuck import find_channels, find_mounts
from cuse_scullv.doctor.surroundings import find_container, find_security

GUEST = Path(__file__).resolve().parents[2] / "tools" / "guest"
NO_NODES = 1
_LOOKS = (
    find_nodes,
    find_files,
    find_passthrough,
    find_libfuse,
    find_memory,
    find_container,
    find_security,
    find_channels,
    find_mounts,
    find_config,
    find_version,
)
_COLOURS = {"yes": "green", "no": "red", "note": "yellow"}
_INDENT = " " * 18
_WIDEST = 100


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> int:
    """Say what this machine can do, and what to type where it cannot.

    The exit status is 0 where nodes can be served and 1 where they cannot.
    """
    found = [look() for look in _LOOKS]
    nodes, files = (finding.status == "yes" for finding in found[:2])
    if as_json:
        fields = [dataclasses.asdict(finding) for finding in found]
        click.echo(json.dumps({"nodes": nodes, "files": files, "findings": fields}, indent=2))
    else:
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        for finding in found:
            for line in described(finding, width):
                click.echo(line)
        for way in ways_out(nodes, files):
            click.echo(way)
    return 0 if nodes else NO_NODES


def described(finding: Finding, width: int) -> Iterator[str]:
    """For a person, and so that a command can be pasted: it is never broken."""
    mark = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status])
    first, *rest = _wrapped(finding.detail, width)
    yield f"{finding.what + ':':<13}{mark} {first}"
    yield from (f"{_INDENT}{line}" for line in rest)
    for note in finding.notes:
        bullet = _wrapped(note, width - 2)
        yield f"{_INDENT}- {bullet[0]}"
        yield from (f"{_INDENT}  {line}" for line in bullet[1:])
    yield from (f"{_INDENT}# {each}" for each in finding.commands)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, max(width - len(_INDENT), 20), break_on_hyphens=False, break_long_words=False
    ) or [""]


def ways_out(nodes: bool, files: bool) -> Iterator[str]:
    if nodes:
        return
    if files:
        yield "Without nodes there is the file view: cuse-scullv serve --no-node --files DIR"
    if GUEST.exists():
        yield f"A kernel that has CUSE is one command away: {GUEST} -- COMMAND"
