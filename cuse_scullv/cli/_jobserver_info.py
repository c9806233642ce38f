"""What `cuse-scullv info` says of a jobserver."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from cuse_scullv.cli._types import columns
from cuse_scullv.jobserver.control import Control
from cuse_scullv.jobserver.gate import memory
from cuse_scullv.params import human_bytes
from cuse_scullv.procfs import shown_name


def fields_of(jobserver: Control) -> dict[str, Any]:
    """All that can be known of it, with the machine's own figures beside its limits."""
    state = jobserver.state()
    return {
        "tokens": state.tokens,
        "held": state.held,
        "load": os.getloadavg()[0],
        "load_limit": state.load or None,
        "memory": memory("MemAvailable"),
        "min_memory": state.min_memory or None,
        "shut": bool(state.is_shut),
        "handed": state.handed,
        "refused": state.refused,
        "holders": [
            {"pid": pid, "name": _name(pid), "tokens": tokens}
            for pid, tokens in sorted(jobserver.holders().items())
        ],
    }


def jobserver_table(fields: dict[str, Any]) -> str:
    """The same for a person."""
    load, least = fields["load_limit"], fields["min_memory"]
    rows = [
        ("tokens", f"{fields['held']} of {fields['tokens']} are out"),
        ("load", f"{fields['load']:.2f}, " + (f"at most {load:g}" if load else "no limit")),
        (
            "memory",
            f"{human_bytes(fields['memory'])} available, "
            + (f"at least {human_bytes(least)}" if least else "no limit"),
        ),
        ("handed out", str(fields["handed"])),
        ("refused", f"{fields['refused']} bytes that were no tokens"),
    ]
    if fields["shut"]:
        rows.insert(3, ("shut", "one token at a time, until load and memory allow more"))
    rows += [
        (str(holder["pid"]) if holder["pid"] else "unseen", f"{holder['tokens']} {holder['name']}")
        for holder in fields["holders"]
    ]
    return columns(rows)


def _name(pid: int) -> str:
    """Of the process, if it is there and can be seen."""
    with suppress(OSError):
        return shown_name(Path(f"/proc/{pid}"))
    return ""
