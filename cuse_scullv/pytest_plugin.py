"""pytest fixtures for those who test a driver: loaded by pytest where cuse-scullv is installed.

    def test_rot13(cuse_device):
        with cuse_device(Rot13("rot13")).open() as file:
            file.write(b"hello")
            assert file.read(5) == b"uryyb"

A fault that the driver's methods had, which the log names, fails the test as well; mark it
`@pytest.mark.logs_errors` where the fault is what it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from cuse_scullv.cuse.device import Device
    from cuse_scullv.cuse.fake.kernel import FakeKernel
    from cuse_scullv.cuse.workers import Workers

ServeDevice: TypeAlias = "Callable[..., FakeKernel]"
LOGGER = "cuse_scullv"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "logs_errors: the test is about faults, which the log of cuse_scullv names"
    )


class _Keep(logging.Handler):
    """Keeps what a driver's faults leave in the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def cuse_log(request: pytest.FixtureRequest) -> Iterator[list[logging.LogRecord]]:
    """The warnings and errors in the log of cuse_scullv so far. Any at the end of the test fail
    it, but where it is marked `logs_errors`."""
    keep = _Keep()
    logger = logging.getLogger(LOGGER)
    logger.addHandler(keep)
    try:
        yield keep.records
    finally:
        logger.removeHandler(keep)
    if request.node.get_closest_marker("logs_errors") is None and keep.records:
        said = "\n".join(logging.Formatter().format(record) for record in keep.records)
        pytest.fail(f"the log of {LOGGER} has:\n{said}", pytrace=False)


@pytest.fixture
def cuse_device(cuse_log: list[logging.LogRecord]) -> Iterator[ServeDevice]:
    """A function that serves a device over a fake kernel until the test ends, and returns the
    kernel: `cuse_device(device, workers=None).open(flags)`."""
    # Not at the top: pytest loads this file for every project of the environment.
    from cuse_scullv.cuse.testing import serve

    with ExitStack() as stack:

        def serve_device(device: Device, workers: Workers | None = None) -> FakeKernel:
            return stack.enter_context(serve(device, workers))

        yield serve_device
