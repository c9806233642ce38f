"""Reports as tables for a document: `python -m cuse_scullv.bench.markdown REPORT.json…`.

The tables of docs/performance.md are made by it, so that none of them is typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cuse_scullv.bench.figures import Row
from cuse_scullv.bench.sample import Case
from cuse_scullv.bench.table import cells


def row_of(figure: Mapping[str, Any]) -> Row:
    """A row of a table, from an object of the report's `figures`."""
    case = Case(**{field.name: figure[field.name] for field in fields(Case)})
    return Row(case, tuple(figure["medians"].values()))


def table_of(suite: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a suite's table."""
    figures = suite["figures"]
    heads = ["figure", "block", "clients", *(figures[0]["medians"] if figures else ())]
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for figure in figures:
        case, first, others = cells(row_of(figure))
        words = (" ".join(cell.split()) for cell in (*case, first, *others))
        yield f"| {' | '.join(words)} |"


def document(report: Mapping[str, Any]) -> Iterator[str]:
    """All suites of a report, each below its title and the command that measured it."""
    where, settings = report["environment"], report["settings"]
    quick = " --quick" if settings["quick"] else ""
    for suite in report["suites"]:
        yield f"### {suite['title']}"
        yield ""
        command = f"cuse-scullv bench {suite['suite']} --rounds {settings['rounds']}{quick}"
        yield f"`{command}`: Linux {where['kernel']}, {where['cpus']} CPUs, {where['cpu']}."
        yield ""
        yield from table_of(suite)
        yield ""


def main(paths: list[str]) -> None:
    for path in paths:
        print("\n".join(document(json.loads(Path(path).read_text()))))


if __name__ == "__main__":
    main(sys.argv[1:])
