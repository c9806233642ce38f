"""Whether finding a quantum stays cheap: the end of a large device of the smallest quanta and sets
against a small one of the default geometry. The book walks its list of sets from the head."""

from __future__ import annotations

from cuse_scullv.bench.lab import KIB, MIB, Lab
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import OVERWRITE, READ, Case
from cuse_scullv.bench.target import ours
from cuse_scullv.bench.transfers import Transfers

SPAN = 8 * MIB
BLOCKS = (512, 4 * KIB, 128 * KIB)


def plan(lab: Lab) -> Plan:
    """Both move 8 MiB over and over: the last ones of the large device."""
    large = lab.scale.large

    small_quanta = Transfers(
        f"order 0, qset 1, {lab.large_text}",
        lab,
        lambda: ours(lab, "--order", "0", "--qset", "1", span=large, devices=1),
        start=large - SPAN,
        span=SPAN,
    )
    default = Transfers("default, 8 MiB", lab, lambda: ours(lab, span=SPAN, devices=1), span=SPAN)
    blocks = [block for block in BLOCKS if block in lab.scale.blocks]
    cases = [Case(figure, block) for figure in (OVERWRITE, READ) for block in blocks]
    return Plan(cases, [small_quanta, default])
