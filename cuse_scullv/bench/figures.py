"""From samples to figures: medians, and ratios to peers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from cuse_scullv.bench.sample import LESS_IS_BETTER, Case, Sample, Unit


@dataclass(frozen=True, slots=True)
class Row:
    """A case's medians, by server, in the order of the servers asked for; None: not measured."""

    case: Case
    medians: tuple[float | None, ...]

    @property
    def ratios(self) -> tuple[float | None, ...]:
        """How many times better the first server is than each of the others."""
        first, *others = self.medians
        return tuple(ratio(first, other, self.case.unit) for other in others)


def ratio(ours: float | None, theirs: float | None, unit: Unit) -> float | None:
    """How many times better `ours` is: above 1 means faster, smaller or cheaper, as the unit has
    it. None where one of them is missing, or is 0 and so cannot be compared."""
    if ours is None or theirs is None or ours <= 0 or theirs <= 0:
        return None
    return theirs / ours if unit in LESS_IS_BETTER else ours / theirs


def rows(samples: Sequence[Sample], suite: str, servers: Sequence[str]) -> list[Row]:
    """A row for each case of the suite, in the order in which the cases first appear."""
    values: dict[Case, dict[str, list[float]]] = {}
    for sample in samples:
        if sample.suite == suite:
            values.setdefault(sample.case, {}).setdefault(sample.server, []).append(sample.value)
    return [
        Row(case, tuple(median(of[name]) if name in of else None for name in servers))
        for case, of in values.items()
    ]
