"""Files of the view that the kernel reads, writes and maps by itself, against what it does with a
tmpfs file."""

from __future__ import annotations

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import FAULT, FRESH, OVERWRITE, READ, Case
from cuse_scullv.bench.target import our_files, tmpfs_files
from cuse_scullv.bench.transfers import Transfers

PASSTHROUGH = ("--backing", "memfd", "--view", "passthrough")
PAGE = 4096


def plan(lab: Lab) -> Plan:
    """One client, as there is no server between."""
    cases = [Case(f, block) for f in (FRESH, OVERWRITE, READ) for block in lab.scale.blocks]
    cases.append(Case(FAULT, PAGE))
    return Plan(
        cases,
        [
            Transfers("passthrough", lab, lambda: our_files(lab, *PASSTHROUGH)),
            Transfers("tmpfs", lab, lambda: tmpfs_files(lab)),
            Transfers("anon", lab, lambda: our_files(lab)),
        ],
    )
