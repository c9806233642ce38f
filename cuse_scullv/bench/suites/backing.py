"""Devices that are files: the server's reads and writes of one, against memory of its own."""

from __future__ import annotations

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import FRESH, OVERWRITE, READ, Case
from cuse_scullv.bench.target import our_files, our_nodes, tmpfs_files
from cuse_scullv.bench.transfers import Transfers

MEMFD = ("--backing", "memfd", "--view", "direct")


def plan(lab: Lab) -> Plan:
    """One client. Nodes where the kernel has them, else the file view."""
    make = our_nodes if lab.has_nodes else our_files
    cases = [Case(f, block) for f in (FRESH, OVERWRITE, READ) for block in lab.scale.blocks]
    return Plan(
        cases,
        [
            Transfers("memfd", lab, lambda: make(lab, *MEMFD)),
            Transfers("anon", lab, lambda: make(lab)),
            Transfers("tmpfs", lab, lambda: tmpfs_files(lab)),
        ],
    )
