"""Metrics: the statistics of channels for Prometheus, as OpenMetrics, by prometheus-client.

The client library is an extra, `pip install 'cuse-scullv[metrics]'`, and is imported only where
metrics are asked for."""

from __future__ import annotations

import errno
import itertools
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import DeviceError
from .statistics import LATENCY_S, Operation, Statistics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from .channel import Channel
    from .device import Device

logger = logging.getLogger("cuse_scullv.cuse")

HOST = "127.0.0.1"

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


def parse_address(text: str | int) -> tuple[str, int]:
    """Host and port of "HOST:PORT", ":PORT", "PORT" or a number; without a host, this machine
    alone. DeviceError (EINVAL) for what is none."""
    host, _, port = str(text).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise DeviceError(
            errno.EINVAL, f"no address for metrics {text!r}: take HOST:PORT, or a port, as 9100"
        )
    return host or HOST, int(port)


def check_metrics(address: str | int | None) -> None:
    """Raises DeviceError for an address that is none, or where prometheus-client is missing."""
    if address is None:
        return
    parse_address(address)
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise DeviceError(
            errno.ENOPKG,
            "metrics need prometheus-client: type pip install 'cuse-scullv[metrics]'",
        ) from None


class Metrics:
    """Context manager: from entry to exit, http://ADDRESS/metrics has what the channels' statistics
    say when it is asked. It has a thread of its own."""

    def __init__(self, address: str | int, channels: Iterable[Channel]) -> None:
        self._host, self._port = parse_address(address)
        channels = list(channels)
        self._samples = [
            (channel.device.name, channel.statistics, _namer(channel)) for channel in channels
        ]
        self._devices = [channel.device for channel in channels]
        self._server: Any = None
        self._thread: Any = None

    @property
    def port(self) -> int:
        """That it listens at."""
        return int(self._server.server_port)

    def __enter__(self) -> Metrics:
        """DeviceError: the address is taken, or is none of this machine's."""
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(Collector(self._samples))
        registry.register(Measures(self._devices))
        try:
            self._server, self._thread = start_http_server(self._port, self._host, registry)
        except OSError as error:
            raise DeviceError(
                error.errno or errno.EADDRINUSE,
                f"no metrics at {self._host}:{self._port}: {error.strerror or error}",
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _namer(channel: Channel) -> Callable[[int], str]:
    ioctls: Mapping[int, Any] = channel.device._ioctls

    def name(command: int) -> str:
        declared = ioctls.get(command)
        return "ioctl" if declared is None else str(declared.name)

    return name
