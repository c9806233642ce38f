"""What following the client gains, and what it costs where it cannot: several clients, and a busy
loop on every CPU."""

from __future__ import annotations

from typing import Literal

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import OVERWRITE, READ, Case
from cuse_scullv.bench.target import example, example_name, ours
from cuse_scullv.bench.transfers import Transfers


def plan(lab: Lab) -> Plan:
    """This server with and without following, and libfuse's example, which leaves it to the
    scheduler as well."""
    scale = lab.scale
    blocks = sorted({512, *scale.few_blocks})
    besides: tuple[Literal["", "hogs"], ...] = ("", "hogs")
    cases = [
        Case(figure, block, clients, beside=beside)
        for beside in besides
        for figure in (OVERWRITE, READ)
        for clients in scale.clients
        for block in blocks
    ]
    follow = Transfers("follow", lab, lambda: ours(lab, "--placement", "follow"))
    none = Transfers("none", lab, lambda: ours(lab, "--placement", "none"))
    peer = Transfers(example_name(lab), lab, lambda: example(lab))
    return Plan(cases, [follow, none, peer])
