"""One summary over the stages of tools/test: what passed, failed, was skipped and why.

Reads, for each stage, RESULTS/STAGE.status ("exit status, seconds"), RESULTS/STAGE.xml (junit)
and RESULTS/STAGE.checks (lines "passed NAME", "failed NAME", "skipped NAME: WHY"). Exits 1 when
anything failed, when a stage died, and when guests were asked for and no test with a real CUSE node
passed.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

GUEST_STAGES = {"uml", "qemu", "smoke", "nodes", "real"}  # before the kernel's name
NO_TESTS = 5  # pytest's status for a selection without tests
LOG_LINES = 400


@dataclass
class Stage:
    """What one stage did. `problem` is why it counts as failed beside its failures."""

    name: str
    seconds: int = 0
    status: int | None = None
    passed: int = 0
    real_passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    rerun: list[tuple[str, str]] = field(default_factory=list)
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.failed and not self.problem


def read_junit(stage: Stage, path: Path) -> None:
    """A test that ran twice has two entries, and only its last run failed or passed it."""
    cases: dict[str, ElementTree.Element] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        cases[f"{case.get('classname', '')}::{case.get('name', '')}"] = case
    for name, case in cases.items():
        properties = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            stage.failed.append(name)
        elif skip is not None:
            stage.skipped.append((name, skip.get("message", "no reason given")))
        else:
            stage.passed += 1
            stage.real_passed += "real" in properties
            if "rerun" in properties:
                stage.rerun.append((name, properties["rerun"]))


def read_stage(results: Path, name: str, partial: bool) -> Stage:
    stage = Stage(name)
    try:
        words = (results / f"{name}.status").read_text().split()
        stage.status, stage.seconds = int(words[0]), int(words[1])
    except FileNotFoundError:
        stage.problem = "was ended before it was done"
    checks, junit = results / f"{name}.checks", results / f"{name}.xml"
    if checks.exists():
        for line in checks.read_text().splitlines():
            verdict, _, what = line.partition(" ")
            if verdict == "passed":
                stage.passed += 1
            elif verdict == "skipped":
                skipped, _, why = what.partition(": ")
                stage.skipped.append((skipped, why))
            else:
                stage.failed.append(what)
    if junit.exists():
        try:
            read_junit(stage, junit)
        except ElementTree.ParseError as error:
            stage.problem = f"left a broken {junit.name}: {error}"
    elif not checks.exists() and not stage.problem:
        stage.problem = f"died with status {stage.status} before it wrote results"
    if stage.status == NO_TESTS and not stage.failed:
        stage.problem = "" if partial else "found no tests"
    elif stage.status and stage.ok:
        stage.problem = f"ended with status {stage.status}"
    return stage


def print_log(results: Path, stage: Stage) -> None:
    log = results / f"{stage.name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    shown = lines[-LOG_LINES:] if not stage.ok else lines[-1:]
    print(f"----- {stage.name}: {log}")
    if len(shown) < len(lines) and not stage.ok:
        print(f"[{len(lines) - len(shown)} lines before]")
    print("\n".join(shown))


def print_summary(stages: list[Stage]) -> None:
    print("\n===== summary")
    for stage in stages:
        counts = f"{stage.passed} passed, {len(stage.failed)} failed, {len(stage.skipped)} skipped"
        verdict = "ok    " if stage.ok else "FAILED"
        print(f"{verdict} {stage.name:6} {stage.seconds:4} s  {counts}")
        if stage.problem:
            print(f"         the stage {stage.problem}")
        for name in stage.failed:
            print(f"         failed: {name}")
        for reason, count in Counter(reason for _, reason in stage.skipped).items():
            print(f"         skipped {count}: {reason}")
        for name, failure in stage.rerun:
            print(f"         passed only on its second run: {name} (first: {failure})")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--partial", action="store_true", help="a selection of tests was asked for")
    parser.add_argument("results", type=Path)
    parser.add_argument("stages", nargs="+")
    options = parser.parse_args()
    stages = [read_stage(options.results, name, options.partial) for name in options.stages]
    for stage in stages:
        print_log(options.results, stage)
    print_summary(stages)

    real = sum(stage.real_passed for stage in stages)
    passed, failed = sum(s.passed for s in stages), sum(len(s.failed) for s in stages)
    skipped, rerun = sum(len(s.skipped) for s in stages), sum(len(s.rerun) for s in stages)
    died = sum(bool(s.problem) for s in stages)
    print(
        f"total: {passed} passed, {failed} failed, {skipped} skipped, {rerun} passed only on a"
        f" second run, {died} stages died; {real} passed with a real CUSE node"
    )
    ok = all(stage.ok for stage in stages)
    kinds = {name.partition("-")[0] for name in options.stages}
    if not real and GUEST_STAGES & kinds and not options.partial:
        print("FAILED: no test touched a real CUSE node")
        ok = False
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
