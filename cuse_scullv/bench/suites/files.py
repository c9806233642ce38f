"""The file view on the kernel that is there: the same data path without a guest.

libfuse's passthrough_ll.c runs over a tmpfs, with nothing cached by the kernel, as the file view
does; the tmpfs itself has no server, and memcpy not even a system call."""

from __future__ import annotations

from cuse_scullv.bench.lab import Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.suites import nodes
from cuse_scullv.bench.target import memory, our_files, passthrough_files, tmpfs_files
from cuse_scullv.bench.transfers import Transfers


def plan(lab: Lab) -> Plan:
    """This server's files against what else keeps bytes in memory."""
    return Plan(
        nodes.cases(lab),
        [
            Transfers("cuse-scullv", lab, lambda: our_files(lab)),
            Transfers("passthrough_ll", lab, lambda: passthrough_files(lab)),
            Transfers("tmpfs", lab, lambda: tmpfs_files(lab)),
            Transfers("memcpy", lab, lambda: memory(lab), max_clients=1),
        ],
    )
