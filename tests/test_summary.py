"""tools/summary.py: what the verdict over a run is made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL = '<properties><property name="real" value="yes"/></properties>'
PASSED_REAL = f'<testcase classname="t" name="node">{REAL}</testcase>'
PASSED = '<testcase classname="t" name="plain"/>'
FAILED = '<testcase classname="t" name="broken"><failure message="no"/></testcase>'
SKIPPED = '<testcase classname="t" name="away"><skipped message="no such kernel"/></testcase>'
RERUN = (
    '<testcase classname="t" name="noisy"/><testcase classname="t" name="noisy"><properties>'
    '<property name="rerun" value="late"/></properties></testcase>'
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path


def leave(results: Path, stage: str, *cases: str, status: int = 0) -> None:
    (results / f"{stage}.status").write_text(f"{status} 12\n")
    (results / f"{stage}.xml").write_text(f"<testsuites>{''.join(cases)}</testsuites>")


def summary(results: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "summary.py", results, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_run_in_which_all_passed_on_a_real_node_is_good(results: Path) -> None:
    leave(results, "host", PASSED)
    leave(results, "uml", PASSED_REAL)
    status, text = summary(results, "host", "uml")
    assert status == 0
    assert "total: 2 passed, 0 failed, 0 skipped" in text
    assert "1 passed with a real CUSE node" in text


def test_a_run_that_touched_no_real_node_fails(results: Path) -> None:
    leave(results, "uml", PASSED, SKIPPED)
    status, text = summary(results, "uml")
    assert status == 1
    assert "FAILED: no test touched a real CUSE node" in text


def test_a_failure_is_named_and_fails_the_run(results: Path) -> None:
    leave(results, "host", PASSED, FAILED, status=1)
    status, text = summary(results, "host")
    assert status == 1
    assert "failed: t::broken" in text


def test_a_skip_is_counted_with_its_reason(results: Path) -> None:
    leave(results, "host", SKIPPED)
    status, text = summary(results, "host")
    assert status == 0
    assert "skipped 1: no such kernel" in text


def test_what_passed_only_on_its_second_run_is_named_and_counted_once(results: Path) -> None:
    leave(results, "host", RERUN)
    status, text = summary(results, "host")
    assert status == 0
    assert "passed only on its second run: t::noisy (first: late)" in text
    assert "total: 1 passed, 0 failed, 0 skipped, 1 passed only on a second run" in text


def test_a_stage_that_left_no_results_died(results: Path) -> None:
    (results / "host.status").write_text("139 3\n")
    (results / "host.log").write_text("Segmentation fault\n")
    status, text = summary(results, "host")
    assert status == 1
    assert "the stage died with status 139 before it wrote results" in text
    assert "Segmentation fault" in text


def test_a_status_without_a_failed_test_fails_the_run(results: Path) -> None:
    leave(results, "host", PASSED, status=3)
    status, text = summary(results, "host")
    assert status == 1
    assert "the stage ended with status 3" in text


def test_a_stage_that_was_killed_fails_the_run(results: Path) -> None:
    assert summary(results, "host")[0] == 1


@pytest.mark.parametrize(("partial", "expected"), [((), 1), (("--partial",), 0)])
def test_a_stage_without_tests_is_good_only_in_a_partial_run(
    results: Path, partial: tuple[str, ...], expected: int
) -> None:
    leave(results, "host", status=5)
    assert summary(results, "host", *partial)[0] == expected


def test_checks_count_as_tests(results: Path) -> None:
    (results / "gates.status").write_text("1 2\n")
    (results / "gates.checks").write_text("passed ruff check\nfailed mypy --strict\n")
    status, text = summary(results, "gates")
    assert status == 1
    assert "failed: mypy --strict" in text
    assert "total: 1 passed, 1 failed" in text


def test_a_stage_that_could_not_be_tried_is_counted_as_skipped(results: Path) -> None:
    (results / "smoke-9.9.status").write_text("0 2\n")
    (results / "smoke-9.9.checks").write_text("skipped all: no kernel 9.9 is to be had\n")
    leave(results, "uml", PASSED_REAL)
    status, text = summary(results, "uml", "smoke-9.9")
    assert status == 0
    assert "skipped 1: no kernel 9.9 is to be had" in text
