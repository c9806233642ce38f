"""What a channel has answered: counted in C, and shown to Prometheus."""

from __future__ import annotations

import builtins
import errno
import itertools
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.exposition import parse_address
from cuse_scullv.cuse.metrics import Collector, Metrics, check_metrics
from cuse_scullv.cuse.statistics import LATENCY_S, Operation, Statistics
from nodes import Serve, until

NAME = "cusestatistics"
SET = cuse.IOW("s", 1, 8)
GET = cuse.IOR("s", 2, 4)
OLD = 0x7703


class Counted(cuse.Device):
    def read(self, file: cuse.File, size: int) -> bytes:
        if size == 13:
            raise OSError(errno.ENXIO, "thirteen")
        if size == 7:
            time.sleep(0.02)
        return bytes(size)

    def write(self, file: cuse.File, data: memoryview) -> int:
        return len(data) // 2

    def poll(self, file: cuse.File) -> int:
        return select.POLLIN

    @cuse.ioctl(SET)
    def set_it(self, file: cuse.File, value: bytes) -> None: ...

    @cuse.ioctl(GET)
    def get_it(self, file: cuse.File) -> bytes:
        return bytes(4)

    @cuse.ioctl(OLD)
    def old(self, file: cuse.File, arg: int) -> None:
        raise OSError(errno.EINVAL, "old")


class AsyncCounted(Counted):
    async def read(self, file: cuse.File, size: int) -> bytes:
        return super().read(file, size)


class Pooled(Counted):
    def __init__(self, name: str) -> None:
        super().__init__(name, timeout=30)


KINDS = pytest.mark.parametrize("kind", [Counted, AsyncCounted, Pooled])


def use(kernel: testing.FakeKernel) -> None:
    with kernel.open() as file:
        for size in (1, 2, 3):
            file.read(size)
        with pytest.raises(OSError):
            file.read(13)
        file.write(bytes(10))
        file.ioctl(SET, bytes(8))
        file.ioctl(SET, bytes(8))
        file.ioctl(GET, b"")
        for command in (OLD, 0x1234):
            with pytest.raises(OSError):
                file.ioctl(command, 0)
        file.poll()


def counts(operation: Operation) -> tuple[int, int, int]:
    return operation.requests, operation.errors, operation.bytes


@KINDS
def test_requests_errors_and_bytes_are_counted(kind: type[Counted]) -> None:
    with testing.FakeKernel() as kernel:
        channel = cuse.Channel(kind(NAME), fd=kernel.server_fd)
        assert channel.statistics() == Statistics()
        with channel:
            use(kernel)
            statistics = channel.statistics()
        assert {name: counts(one) for name, one in statistics.operations.items()} == {
            "open": (1, 0, 0),
            "read": (4, 1, 6),
            "write": (1, 0, 5),
            "ioctl": (5, 2, 20),
            "poll": (1, 0, 0),
            "release": (1, 0, 0),
        }
        assert {command: counts(one) for command, one in statistics.ioctls.items()} == {
            SET: (2, 0, 16),
            GET: (1, 0, 4),
            OLD: (1, 1, 0),
        }
        assert (statistics.requests, statistics.errors, statistics.bytes) == (13, 3, 31)
        assert channel.statistics().operations == statistics.operations  # though it is closed


@KINDS
def test_the_time_of_a_request_is_in_its_bucket(kind: type[Counted]) -> None:
    with testing.FakeKernel() as kernel:
        with cuse.Channel(kind(NAME), fd=kernel.server_fd) as channel:
            kernel.open().read(7)
            read = channel.statistics().operations["read"]
    assert sum(read.latency) == 1
    bucket = read.latency.index(1)
    assert LATENCY_S[bucket - 1] <= read.seconds < LATENCY_S[bucket]
    assert read.seconds >= 0.02


def test_the_buckets_are_powers_of_two_from_a_microsecond_on() -> None:
    assert LATENCY_S[0] == 1.024e-6
    assert all(high == 2 * low for low, high in itertools.pairwise(LATENCY_S[:-1]))
    assert 68 < LATENCY_S[-2] < 69
    assert LATENCY_S[-1] == float("inf")
    assert len(Operation().latency) == len(LATENCY_S)


def test_what_is_not_answered_is_under_way() -> None:
    class Waits(cuse.Device):
        go = cuse.Condition()

        def read(self, file: cuse.File, size: int) -> bytes:
            with self.go:
                self.go.wait()
            return b""

    device = Waits(NAME)
    with testing.FakeKernel() as kernel:
        with cuse.Channel(device, fd=kernel.server_fd) as channel:
            call = kernel.start(kernel.open().read, 1)
            until(lambda: device.go._waiters)
            assert channel.statistics().under_way == 1
            with device.go:
                device.go.notify()
            assert call.result() == b""
            until(lambda: channel.statistics().under_way == 0)


def test_unknown_commands_do_not_fill_the_table() -> None:
    with testing.FakeKernel() as kernel:
        with cuse.Channel(Counted(NAME), fd=kernel.server_fd) as channel:
            file = kernel.open()
            for command in range(200):
                with pytest.raises(OSError):
                    file.ioctl(command, 0)
            file.ioctl(SET, bytes(8))
            statistics = channel.statistics()
    assert list(statistics.ioctls) == [SET]
    assert counts(statistics.operations["ioctl"]) == (201, 200, 8)


def test_more_commands_than_there_is_room_for_are_counted_with_the_rest() -> None:
    device = cuse.Device(NAME, ioctl=lambda file, request: 0)
    with testing.FakeKernel() as kernel:
        with cuse.Channel(device, fd=kernel.server_fd) as channel:
            file = kernel.open()
            for command in range(100):
                file.ioctl(0x4000 + 64 * command, 0)  # all to the same place at first
            statistics = channel.statistics()
    assert len(statistics.ioctls) == 64
    assert statistics.operations["ioctl"].requests == 100


def test_an_ioctl_that_comes_again_for_memory_is_counted_once() -> None:
    device = Counted(NAME)
    device.unrestricted = True
    with testing.FakeKernel() as kernel:
        with cuse.Channel(device, fd=kernel.server_fd) as channel:
            assert kernel.open().ioctl(SET, kernel.memory.alloc(bytes(8))).result == 0
            statistics = channel.statistics()
    assert counts(statistics.operations["ioctl"]) == (1, 0, 8)


def test_many_threads_lose_no_count() -> None:
    with testing.FakeKernel() as kernel:
        with cuse.Channel(Counted(NAME), fd=kernel.server_fd) as channel:
            asking = threading.Event()

            def ask() -> None:
                while not asking.is_set():
                    channel.statistics()

            asker = threading.Thread(target=ask)
            asker.start()

            def read() -> None:
                with kernel.open() as file:
                    for _ in range(200):
                        file.read(3)

            for call in [kernel.start(read) for _ in range(20)]:
                call.result()
            asking.set()
            asker.join()
            assert counts(channel.statistics().operations["read"]) == (4000, 0, 12000)


def test_reads_and_writes_in_c_are_counted_too(serve_fake: Serve) -> None:
    """Of the server scullv: by the same counters."""
    served: Any = serve_fake(devices=1)
    with served.open(os.O_RDWR) as file:
        assert file.write(bytes(1000)) == 1000
    with served.open(os.O_RDONLY) as file:
        assert len(file.read(600)) == 600
        assert len(file.read(600)) == 400
    # An answer in C is on its way before it is counted.
    until(lambda: channel_of(served).statistics().bytes == 2000)
    statistics = channel_of(served).statistics()
    assert counts(statistics.operations["read"]) == (2, 0, 1000)
    assert counts(statistics.operations["write"]) == (1, 0, 1000)
    assert counts(statistics.operations["open"])[0] == 2


def channel_of(served: Any) -> cuse.Channel:
    channel: cuse.Channel = served.channels[0]
    return channel


# --- for Prometheus -----------------------------------------------------------------------------


def scrape(port: int, accept: str = "application/openmetrics-text") -> tuple[str, dict[str, float]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        kind, text = answer.headers["Content-Type"], answer.read().decode()
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return kind, {name: float(value) for name, _, value in samples}


def test_openmetrics_have_what_the_statistics_have() -> None:
    with testing.FakeKernel() as kernel:
        with cuse.Channel(Counted(NAME), fd=kernel.server_fd) as channel:
            use(kernel)
            until(lambda: channel.statistics().under_way == 0)  # the release
            with Metrics(0, [channel]) as metrics:
                kind, samples = scrape(metrics.port)
            total = channel.statistics().operations["read"].seconds
    assert kind.startswith("application/openmetrics-text")
    read = f'{{device="{NAME}",operation="read"}}'
    assert samples[f"cuse_requests_seconds_count{read}"] == 4
    assert samples[f"cuse_requests_seconds_sum{read}"] == total
    assert samples[f"cuse_requests_errors_total{read}"] == 1
    assert samples[f"cuse_requests_bytes_total{read}"] == 6
    ioctl = f'{{command="{int(SET):#x}",device="{NAME}",method="set_it"}}'
    ioctl_other = f'{{device="{NAME}",command="{int(SET):#x}",method="set_it"}}'
    assert 2 in (
        samples.get(f"cuse_ioctls_seconds_count{ioctl}"),
        samples.get(f"cuse_ioctls_seconds_count{ioctl_other}"),
    )
    assert samples[f'cuse_requests_under_way{{device="{NAME}"}}'] == 0
    buckets = [
        value
        for name, value in samples.items()
        if name.startswith("cuse_requests_seconds_bucket") and 'operation="read"' in name
    ]
    assert len(buckets) == len(LATENCY_S)
    assert buckets == sorted(buckets)
    assert buckets[-1] == 4


@pytest.mark.logs_errors
def test_what_devices_count_themselves_is_shown(cuse_log: list[logging.LogRecord]) -> None:
    def fail() -> dict[str, float]:
        raise ZeroDivisionError

    own = [
        lambda: {"jobs_total": 17, "jobs": 2.5},
        lambda: {"jobs_total": 4},
        lambda: {"no name": 1, "jobs": 1},
        fail,
    ]
    devices = [cuse.Device(f"{NAME}{n}", measures=each) for n, each in enumerate(own)]
    with ExitStack() as stack:
        channels = []
        for device in devices:
            kernel = stack.enter_context(testing.FakeKernel())
            channels.append(stack.enter_context(cuse.Channel(device, fd=kernel.server_fd)))
        with Metrics(0, channels) as metrics:
            _, samples = scrape(metrics.port)
    assert {name: value for name, value in samples.items() if name.startswith("jobs")} == {
        f'jobs_total{{device="{NAME}0"}}': 17,
        f'jobs{{device="{NAME}0"}}': 2.5,
        f'jobs_total{{device="{NAME}1"}}': 4,
    }
    assert {record.getMessage() for record in cuse_log} == {
        f"{NAME}2: measures() raised",
        f"{NAME}3: measures() raised",
    }


def test_the_exposition_can_be_parsed_by_the_clients_own_parser() -> None:
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    with testing.FakeKernel() as kernel:
        with cuse.Channel(Counted(NAME), fd=kernel.server_fd) as channel:
            use(kernel)
            registry = CollectorRegistry()
            registry.register(Collector([(NAME, channel.statistics, lambda command: "ioctl")]))
            text = generate_latest(registry).decode()
    families = {family.name for family in text_string_to_metric_families(text)}
    assert families == {
        f"cuse_{what}_{unit}"
        for what in ("requests", "ioctls")
        for unit in ("seconds", "errors", "bytes")
    } | {"cuse_requests_under_way"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (9100, ("127.0.0.1", 9100)),
        ("9100", ("127.0.0.1", 9100)),
        (":9100", ("127.0.0.1", 9100)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_addresses_are_of_this_machine_unless_they_say_so(
    text: str | int, address: tuple[str, int]
) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:port", "1:65536", -1, "1:-1"])
def test_what_is_no_address_is_said_before_anything_starts(text: str | int) -> None:
    with pytest.raises(cuse.DeviceError, match="no address for metrics") as caught:
        cuse.serve(cuse.Device(NAME), metrics=text)
    assert caught.value.errno == errno.EINVAL


def test_an_address_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(cuse.DeviceError, match=f"no metrics at 127.0.0.1:{port}: ") as caught:
            with Metrics(port, []):
                pass
    assert caught.value.errno == errno.EADDRINUSE


def test_without_prometheus_client_the_error_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real: Callable[..., Any] = builtins.__import__

    def missing(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "prometheus_client":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(cuse.DeviceError, match=r"pip install 'cuse-scullv\[metrics\]'"):
        check_metrics(9100)


@pytest.mark.real
@pytest.mark.parametrize("recover", [False, True])
def test_a_served_device_has_metrics(recover: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = (
        "from cuse_scullv import cuse\n"
        "from test_cuse_statistics import Counted\n"
        f"cuse.serve(Counted('{NAME}'), metrics={port}, recover={recover},"
        " on_ready=lambda: print(flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parent
    ) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            fd = os.open(f"/dev/{NAME}", os.O_RDWR)
            assert os.read(fd, 3) == bytes(3)
            read = f'cuse_requests_seconds_count{{device="{NAME}",operation="read"}}'
            assert scrape(port)[1][read] == 1
            os.close(fd)
        finally:
            server.terminate()
    assert server.returncode == 0
