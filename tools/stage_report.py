"""pytest plugin of tools/test: puts into the junit file what tools/summary.py asks for.

A test's properties then say that it passed only on a second run (`rerun`, with the first failure),
and that it is one that needs a real CUSE node (`real`).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WHY_MAX = 400  # letters
_first_failures: dict[str, str] = {}
_real_tests: set[str] = set()


def pytest_configure() -> None:
    """The sanitizers preloaded over the ordinary build would find nothing, and say nothing."""
    expected = os.environ.get("CUSE_SCULLV_EXPECT_NATIVE")
    if expected:
        from cuse_scullv import _native

        if not Path(_native.__file__).is_relative_to(expected):
            raise pytest.UsageError(f"testing {_native.__file__}, not the build in {expected}")


def _why(report: pytest.TestReport) -> str:
    """Where it failed, and on what, in one line: the second run leaves nothing else of it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report.longreprtext.strip().rpartition("\n")[2]
    why = " / ".join(crash.message.splitlines())
    return f"{Path(crash.path).name}:{crash.lineno}: {why[:WHY_MAX]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _real_tests.update(item.nodeid for item in items if item.get_closest_marker("real"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Before the junit writer, which takes a test's properties from its last report."""
    if str(report.outcome) == "rerun":
        _first_failures[report.nodeid] = _why(report)
    if report.when == "teardown":
        if report.nodeid in _first_failures:
            report.user_properties.append(("rerun", _first_failures[report.nodeid]))
        if report.nodeid in _real_tests:
            report.user_properties.append(("real", "yes"))
