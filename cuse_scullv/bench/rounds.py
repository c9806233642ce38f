"""Measuring in rounds: every case with every contender in each, so that a machine that gets slower
or faster meanwhile does so for all of them alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from cuse_scullv.bench.meter import Meter
from cuse_scullv.bench.sample import Case, Sample


class Contender(ABC):
    """Something that can be measured: a server with its clients."""

    def __init__(self, name: str) -> None:
        self.name = name

    def can(self, case: Case) -> bool:
        """Whether the case means anything for it."""
        return True

    @abstractmethod
    def start(self, stack: ExitStack) -> None:
        """Makes it ready; what is to be undone goes on the stack. Raises BenchError."""

    @abstractmethod
    def measure(self, case: Case) -> float:
        """One measurement, in the unit of the case. Raises BenchError."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a suite measures. The first contender is the one that the others are peers of."""

    cases: Sequence[Case]
    contenders: Sequence[Contender]

    @property
    def steps(self) -> int:
        """Measurements of one round."""
        return sum(each.can(case) for case in self.cases for each in self.contenders)


def rotated(contenders: Sequence[Contender], turn: int) -> list[Contender]:
    """The contenders in the order of that turn: each is first in its turn."""
    start = turn % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def measure(suite: str, plan: Plan, rounds: int, meter: Meter) -> list[Sample]:
    """All samples of a suite, sorted by round."""
    samples: list[Sample] = []
    with ExitStack() as stack:
        for contender in plan.contenders:
            meter.doing(f"{suite}: starting {contender.name}")
            contender.start(stack)
        for number in range(rounds):
            for case in plan.cases:
                for contender in rotated(plan.contenders, number):
                    if contender.can(case):
                        meter.doing(f"{suite}: {contender.name}: {case.describe()}")
                        value = contender.measure(case)
                        samples.append(Sample(suite, contender.name, case, number, value))
                        meter.did()
    order = {contender.name: place for place, contender in enumerate(plan.contenders)}
    places = {case: place for place, case in enumerate(plan.cases)}
    return sorted(samples, key=lambda each: (each.round, places[each.case], order[each.server]))
