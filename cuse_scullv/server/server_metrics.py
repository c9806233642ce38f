"""Metrics of a server: what `serve --metrics` shows beside what its channels have answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cuse_scullv import ioctl
from cuse_scullv.device import Shared

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_COMMANDS = {number: name for name, number in ioctl.NUMBERS.items()}


def name_of(command: int) -> str:
    """Of an ioctl, as csrc/scullv_ioctl.h has it."""
    return _COMMANDS.get(command, "ioctl")


class ServerMeasures:
    """A collector for prometheus-client of what all devices of a server share."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        ground = self._shared.ground
        yield GaugeMetricFamily(
            "scullv_used_bytes", "Of the limit, by all devices together", ground.used
        )
        yield GaugeMetricFamily(
            "scullv_limit_bytes", "For all devices together; 0: none", ground.limit
        )
        yield CounterMetricFamily(
            "scullv_worker_deaths",
            "Processes that served and died, each followed by another",
            self._shared.deaths(),
        )
