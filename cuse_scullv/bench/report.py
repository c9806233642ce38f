"""All samples of a run with where it ran, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cuse_scullv.bench.figures import Row, rows
from cuse_scullv.bench.sample import Sample

VERSION = 1
"""Of the report: raised when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one suite. The first server is the one the others are peers of."""

    suite: str
    title: str
    servers: Sequence[str]
    samples: Sequence[Sample]

    @property
    def rows(self) -> list[Row]:
        return rows(self.samples, self.suite, self.servers)


def as_json(
    environment: Mapping[str, object], outcomes: Sequence[Outcome], settings: Mapping[str, object]
) -> str:
    """One object: `samples` are all measurements, `suites` their medians and ratios."""
    report = {
        "version": VERSION,
        "environment": environment,
        "settings": settings,
        "suites": [suite_of(outcome) for outcome in outcomes],
        "samples": [sample.as_dict() for outcome in outcomes for sample in outcome.samples],
    }
    return json.dumps(report, indent=1) + "\n"


def suite_of(outcome: Outcome) -> dict[str, object]:
    """A suite's medians, and how many times better its first server is than each peer."""
    first, *peers = outcome.servers
    figures = [
        {
            **asdict(row.case),
            "medians": dict(zip(outcome.servers, row.medians, strict=True)),
            "ratios": dict(zip(peers, row.ratios, strict=True)),
        }
        for row in outcome.rows
    ]
    return {"suite": outcome.suite, "title": outcome.title, "server": first, "figures": figures}


def write_text(path: Path, text: str) -> None:
    """The whole file or none: a report that was there stays until the new one is complete."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)
