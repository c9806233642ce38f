"""Real CUSE nodes: this server against Debian's own libfuse example cuse.c.

The example has no fresh write: it keeps no position, so each system call of a client moves the
first bytes of a buffer that is already there. Its figures are those of writing over and reading
the same block, which stays in the CPU's cache, again and again."""

from __future__ import annotations

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import FRESH, OVERWRITE, READ, Case
from cuse_scullv.bench.target import example_nodes, our_nodes
from cuse_scullv.bench.transfers import Transfers


def cases(lab: Lab) -> list[Case]:
    """For each figure all block sizes with all clients on one device, then a few of them with a
    device for each client."""
    scale = lab.scale
    found: list[Case] = []
    for figure in (FRESH, OVERWRITE, READ):
        found += [Case(figure, block, many) for many in scale.clients for block in scale.blocks]
        found += [
            Case(figure, block, many, layout="each")
            for many in scale.clients[1:]
            for block in scale.few_blocks
        ]
    return found


def plan(lab: Lab) -> Plan:
    """This server's nodes against the example's."""
    ours = Transfers("cuse-scullv", lab, lambda: our_nodes(lab))
    return Plan(cases(lab), [ours, Transfers("libfuse cuse.c", lab, lambda: example_nodes(lab))])
