"""Metrics: the statistics of channels for Prometheus, as OpenMetrics, by prometheus-client.

The client library is an extra, `pip install 'cuse-scullv[metrics]'`, and is imported only where
metrics are asked for."""

from __future__ import annotations

import errno
import itertools
import logging
import math
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import DeviceError
from .exposition import Exposition, Listening, parse_address
from .statistics import LATENCY_S, Operation, Statistics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from .channel import Channel
    from .device import Device

logger = logging.getLogger("cuse_scullv.cuse")

Sample = tuple[str, Callable[[], Statistics], Callable[[int], str]]
"""A device's name, its statistics, and the name of the method for a command."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Measures:
    """A collector of what devices count themselves: Device.measures()."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._devices = list(devices)

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for device in self._devices:
            for name, value in self._of(device).items():
                if name not in families:
                    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                    families[name] = kind(name, f"{name} of the device", labels=["device"])
                families[name].add_metric([device.name], value)
        yield from families.values()

    def _of(self, device: Device) -> dict[str, float]:
        try:
            measures = {name: float(value) for name, value in device.measures().items()}
            bad = [name for name in measures if not _NAME.fullmatch(name)]
            if bad:
                raise ValueError(f"{bad[0]!r} is no name: take letters, digits and _")
        except Exception:
            logger.exception("%s: measures() raised", device.name)
            return {}
        return measures


class Collector:
    """What a registry of prometheus-client asks."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        labels = ["device", "operation"]
        taken = [(device, ask(), name) for device, ask, name in self._samples]
        operations = [
            ([device, operation], counted)
            for device, statistics, _ in taken
            for operation, counted in statistics.operations.items()
        ]
        yield from _families("cuse_requests", "Requests answered", labels, operations)
        ioctls = [
            ([device, f"{command:#x}", name(command)], counted)
            for device, statistics, name in taken
            for command, counted in statistics.ioctls.items()
        ]
        labels = ["device", "command", "method"]
        yield from _families("cuse_ioctls", "ioctls answered, by command", labels, ioctls)
        under_way = GaugeMetricFamily(
            "cuse_requests_under_way", "Requests not answered yet", labels=["device"]
        )
        for device, statistics, _ in taken:
            under_way.add_metric([device], statistics.under_way)
        yield under_way


def _families(
    name: str, what: str, labels: list[str], counted: list[tuple[list[str], Operation]]
) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    seconds = HistogramMetricFamily(f"{name}_seconds", f"{what}: seconds each", labels=labels)
    errors = CounterMetricFamily(f"{name}_errors", f"{what} with an errno", labels=labels)
    size = CounterMetricFamily(f"{name}_bytes", f"{what}: bytes of payload", labels=labels)
    for values, operation in counted:
        seconds.add_metric(values, _buckets(operation), operation.seconds)
        errors.add_metric(values, operation.errors)
        size.add_metric(values, operation.bytes)
    yield from (seconds, errors, size)


def _buckets(operation: Operation) -> list[tuple[str, float]]:
    """Cumulative, as the format has them."""
    bounds = ("+Inf" if math.isinf(bound) else repr(bound) for bound in LATENCY_S)
    return list(zip(bounds, itertools.accumulate(operation.latency), strict=True))


def check_metrics(address: str | int | None) -> None:
    """Raises DeviceError for an address that is none, or where prometheus-client is missing. All of
    it is imported then: a worker may not read what its keeper could."""
    if address is None:
        return
    parse_address(address)
    try:
        import prometheus_client
        import prometheus_client.core  # noqa: F401
    except ImportError:
        raise DeviceError(
            errno.ENOPKG,
            "metrics need prometheus-client: type pip install 'cuse-scullv[metrics]'",
        ) from None


def exposition(
    listening: socket.socket,
    samples: Iterable[Sample],
    devices: Iterable[Device],
    *collectors: Any,
) -> Exposition:
    """Of `samples`, of what `devices` count themselves, and of more `collectors`."""
    from prometheus_client import CollectorRegistry, make_wsgi_app

    registry = CollectorRegistry()
    for collector in (Collector(samples), Measures(devices), *collectors):
        registry.register(collector)
    return Exposition(listening, make_wsgi_app(registry))


def channels_exposition(listening: socket.socket, channels: Iterable[Channel]) -> Exposition:
    """Of the statistics of `channels`, and of what their devices count."""
    channels = list(channels)
    samples = [sample_of(channel) for channel in channels]
    return exposition(listening, samples, [channel.device for channel in channels])


class Metrics:
    """Context manager: from entry to exit, http://ADDRESS/metrics has what the channels' statistics
    say when it is asked. Entering raises DeviceError, as Listening does."""

    def __init__(self, address: str | int, channels: Iterable[Channel]) -> None:
        self._listening = Listening(address)
        self._channels = list(channels)
        self._stack = ExitStack()

    @property
    def port(self) -> int:
        """That it listens at."""
        return int(self._listening.socket.getsockname()[1])

    def __enter__(self) -> Metrics:
        with ExitStack() as stack:
            listening = stack.enter_context(self._listening)
            stack.enter_context(channels_exposition(listening.socket, self._channels))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def sample_of(channel: Channel) -> Sample:
    return channel.device.name, channel.statistics, _namer(channel)


def _namer(channel: Channel) -> Callable[[int], str]:
    ioctls: Mapping[int, Any] = channel.device._ioctls

    def name(command: int) -> str:
        declared = ioctls.get(command)
        return "ioctl" if declared is None else str(declared.name)

    return name
