"""What it costs that nothing is lost when a worker dies: one device with --recover, and without."""

from __future__ import annotations

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import OVERWRITE, READ, Case
from cuse_scullv.bench.suites.backing import MEMFD
from cuse_scullv.bench.target import our_files, our_nodes
from cuse_scullv.bench.transfers import Transfers


def plan(lab: Lab) -> Plan:
    """One client. Nodes where the kernel has them, else the file view."""
    make = our_nodes if lab.has_nodes else our_files
    cases = [Case(figure, block) for figure in (OVERWRITE, READ) for block in lab.scale.blocks]
    return Plan(
        cases,
        [
            Transfers("recover", lab, lambda: make(lab, *MEMFD, "--recover")),
            Transfers("memfd", lab, lambda: make(lab, *MEMFD)),
        ],
    )
