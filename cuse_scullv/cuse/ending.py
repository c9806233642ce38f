"""Ending: why an open file was released, and by whom, as far as that can be known."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .client import Client

Why = Literal["closed", "died", "ended", "unknown"]


class Ending(NamedTuple):
    """Of a file that is released."""

    why: Why
    """"closed": its last descriptor was closed by a process that lives on; "died": by the end of
    one; "ended": clients have it open, but the device goes away; "unknown": the device does not
    follow its clients (it has no client_gone), or the last process that had the file never made a
    request."""
    client: Client | None = None
    """Who that was, if one process can be it."""
