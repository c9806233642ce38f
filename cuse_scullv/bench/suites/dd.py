"""The same figures by plain dd, since that is what people type. A dd reads /dev/zero as it writes,
which costs a copy, and starts anew for each figure."""

from __future__ import annotations

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import FRESH, OVERWRITE, READ, Case
from cuse_scullv.bench.target import example, example_name, ours, tmpfs_files
from cuse_scullv.bench.transfers import DdTransfers


def plan(lab: Lab) -> Plan:
    """This server, libfuse's example, and a tmpfs file."""
    cases = [
        Case(figure, block) for figure in (FRESH, OVERWRITE, READ) for block in lab.scale.blocks
    ]
    return Plan(
        cases,
        [
            DdTransfers("cuse-scullv", lab, lambda: ours(lab, devices=1)),
            DdTransfers(example_name(lab), lab, lambda: example(lab, devices=1)),
            DdTransfers("tmpfs", lab, lambda: tmpfs_files(lab, devices=1)),
        ],
    )
