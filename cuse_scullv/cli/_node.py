"""The options of a program that serves one device of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cuse_scullv.cli._types import DeviceName, Group, Mode, Owner

Command = Callable[..., Any]


def node_options(like: str) -> Callable[[Command], Command]:
    """--name, --mode, --owner, --group and --daemon. `like`: what mode and owner are by default."""
    options = (
        click.option(
            "--name", type=DeviceName(), required=True, help="Name of the node below /dev."
        ),
        click.option("--mode", type=Mode(), help=f"Permissions of the node, octal; {like}."),
        click.option("--owner", type=Owner(), help=f"Owner of the node; {like}."),
        click.option("--group", type=Group(), help=f"Group of the node; {like}."),
        click.option(
            "--daemon", is_flag=True, help="Return when the node can be opened; serve on."
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(mode: int | None, owner: int | None, group: int | None) -> dict[str, int]:
    """Those that were given, as Device takes them."""
    options = {"mode": mode, "owner": owner, "group": group}
    return {name: value for name, value in options.items() if value is not None}
