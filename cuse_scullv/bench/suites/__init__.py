"""The suites, by name: what `cuse-scullv bench SUITE` runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cuse_scullv.bench.lab import Lab, file_trouble, node_trouble
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.suites import (
    backing,
    before,
    costs,
    dd,
    echo,
    files,
    geometry,
    module,
    nodes,
    passthrough,
    placement,
    recover,
)
from cuse_scullv.capability import has_sys_admin, no_passthrough


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite. `trouble` says why it cannot run here, and what to type."""

    title: str
    plan: Callable[[Lab], Plan]
    trouble: Callable[[], str | None]


def no_device() -> str | None:
    """For suites that take nodes where they can, and files where they cannot."""
    return node_trouble() and file_trouble()


def passthrough_trouble() -> str | None:
    return no_passthrough(has_sys_admin(os.getpid())) or file_trouble()


SUITES = {
    "nodes": Suite("Nodes, against libfuse's example cuse.c", nodes.plan, node_trouble),
    "module": Suite("Nodes, against the book's module", module.plan, module.trouble),
    "files": Suite(
        "File view, against passthrough_ll.c, a tmpfs and memcpy", files.plan, file_trouble
    ),
    "backing": Suite("Devices that are files, served", backing.plan, file_trouble),
    "passthrough": Suite(
        "Devices that are files, by the kernel itself", passthrough.plan, passthrough_trouble
    ),
    "recover": Suite("What --recover costs", recover.plan, file_trouble),
    "geometry": Suite("Many small quanta against the default", geometry.plan, no_device),
    "placement": Suite("Placement of the workers", placement.plan, no_device),
    "before": Suite("This version, against another", before.plan, before.trouble),
    "costs": Suite("What it costs", costs.plan, no_device),
    "dd": Suite("Plain dd", dd.plan, no_device),
    "echo": Suite("An echo device in Python", echo.plan, node_trouble),
}
