"""Another version of this server beside this one: what a change gains, or costs.

CUSE_SCULLV_BEFORE names its program, as /somewhere/.venv/bin/cuse-scullv of another checkout."""

from __future__ import annotations

import os
import shutil

from cuse_scullv.bench.lab import Lab, file_trouble, node_trouble
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import OVERWRITE, READ, Case
from cuse_scullv.bench.target import ours
from cuse_scullv.bench.transfers import Transfers

VARIABLE = "CUSE_SCULLV_BEFORE"


def trouble() -> str | None:
    program = os.environ.get(VARIABLE)
    if not program or not shutil.which(program):
        return f"it needs another version: set {VARIABLE} to its cuse-scullv"
    return node_trouble() and file_trouble()


def plan(lab: Lab) -> Plan:
    """One client, where each microsecond shows."""
    program = (os.environ[VARIABLE],)
    return Plan(
        [Case(figure, block) for figure in (OVERWRITE, READ) for block in lab.scale.blocks],
        [
            Transfers("this", lab, lambda: ours(lab)),
            Transfers("before", lab, lambda: ours(lab, program=program)),
        ],
    )
