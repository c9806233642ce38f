"""--filter SPEC, of every command that serves a device."""

from __future__ import annotations

from typing import Any

import click

from cuse_scullv.cli._types import Filter

FILTER: dict[str, Any] = {
    "type": Filter(),
    "multiple": True,
    "metavar": "SPEC",
    "help": "What befalls requests before they are answered: error:errno=EIO,rate=1%, delay:ms=5, "
    "rate:bytes=10M, short, readonly, eintr, stuck-poll, corrupt, hangup; several in order.",
}
"""As click.Option takes it."""
filter_option = click.option("--filter", "filters", **FILTER)
