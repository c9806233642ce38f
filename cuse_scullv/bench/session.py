"""A run of the benchmark: one suite after the other, with a meter over all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cuse_scullv.bench.lab import Lab, Scale
from cuse_scullv.bench.meter import Meter
from cuse_scullv.bench.report import Outcome
from cuse_scullv.bench.rounds import measure
from cuse_scullv.bench.suites import SUITES


def run(names: Sequence[str], scale: Scale, rounds: int, console: Console) -> list[Outcome]:
    """Measures the suites of these names; `console` is where the meter is shown. Raises
    BenchError, or OSError."""
    with tempfile.TemporaryDirectory(prefix="cuse-scullv-bench-") as folder:
        lab = Lab(Path(folder), scale)
        plans = {name: SUITES[name].plan(lab) for name in names}
        total = sum(plan.steps * rounds for plan in plans.values())
        outcomes: list[Outcome] = []
        with Meter(total, console) as meter:
            for name, plan in plans.items():
                servers = [contender.name for contender in plan.contenders]
                samples = measure(name, plan, rounds, meter)
                outcomes.append(Outcome(name, SUITES[name].title, servers, samples))
        return outcomes
