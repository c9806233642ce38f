"""serve --metrics: what Prometheus and node_exporter find; and the same by the STATISTICS ioctl."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import FAKE, REAL, serving
from cuse_scullv import client, ioctl
from cuse_scullv.counts import BOUNDS_S, SIZE, Count, Counts
from cuse_scullv.cuse.statistics import LATENCY_S
from cuse_scullv.cuse.statistics import OPERATIONS as COUNTED
from cuse_scullv.server.metrics_file import ask
from cuse_scullv.server.metrics_server import located
from nodes import NAME, RealServer, Serve, until
from shell import inside, refused
from views import FilesServer

SERVE = ("serve", "--no-node", "--files", "/nonexistent/never")


def samples(exposition: bytes) -> dict[str, float]:
    """By name and labels; what is no OpenMetrics fails."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    found = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture
def view(tmp_path: Path) -> Path:
    path = tmp_path / "view"
    path.mkdir()
    return path


# --- serve --metrics


@pytest.mark.mount
def test_metrics_outlive_the_worker_that_answers_for_them(view: Path, tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # by a server that died
    server = FilesServer(view, "--recover", "--mode", "0640", "--metrics", f"unix:{path}")
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        taken = refused(*SERVE, "--metrics", f"unix:{path}", run=inside)
        assert taken == f"cuse-scullv: no metrics at {path}: Address already in use"
        (view / "scullv").write_bytes(bytes(3 << 16))
        with client.open(view / "scullv") as file:
            before = samples(ask(path))
            assert before["scullv_memory_bytes{device=scullv}"] == 3 << 16
            assert before["scullv_used_bytes"] == 3 << 16
            assert before["scullv_size_bytes{device=scullv}"] == 3 << 16
            assert before["scullv_open_files{device=scullv}"] == 1
            assert before["scullv_worker_deaths_total"] == 0
            opens = f"cuse_requests_seconds_count{{device={view},operation=open}}"
            assert before[opens] == 2
            os.kill(server.worker, signal.SIGKILL)
            after = samples(ask(path))  # waits for the next worker
            assert after["scullv_worker_deaths_total"] == 1
            assert after["scullv_memory_bytes{device=scullv}"] == 3 << 16
            assert file.statistics(view=True).deaths == 1
            assert opens not in after
    finally:
        assert server.stop() == 0
    assert not path.exists()


@pytest.mark.mount
def test_a_file_of_metrics_is_whole_and_goes_with_the_server(
    view: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    path = tmp_path / "scullv.prom"
    server = FilesServer(view, "--recover", "--metrics", str(path))
    try:
        until(lambda: path.stat().st_size)
        assert samples(path.read_bytes())["scullv_limit_bytes"] > 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        path.unlink()
        server.process.send_signal(signal.SIGUSR2)  # it becomes the program anew
        # Of its program before nothing is left.
        until(lambda: path.exists() and len(list((tmp_path / "tmp").iterdir())) == 1)
    finally:
        assert server.stop() == 0
    assert {*tmp_path.rglob("*")} == {view, tmp_path / "tmp"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("somewhere", "type HOST:PORT, a port as 9100, unix:PATH, or a file's path"),
        ("unix:", "type HOST:PORT"),
        ("127.0.0.1:65536", "type HOST:PORT"),
        ("-1", "type HOST:PORT"),
        ("0", "type HOST:PORT"),
        ("no.such.host.invalid:9100", "no metrics at no.such.host.invalid:9100: "),
        ("203.0.113.1:9100", "no metrics at 203.0.113.1:9100: Cannot assign requested address"),
        ("/nonexistent/scullv.prom", "No such file or directory: type a path that you may write"),
        ("unix:/nonexistent/metrics", "no metrics at /nonexistent/metrics: No such file"),
        (f"unix:{__file__}", f"no metrics at {__file__}: Address already in use"),
        ("/", "type a path"),
    ],
)
def test_what_is_no_place_for_metrics_is_refused(where: str, said: str) -> None:
    assert said in refused(*SERVE, "--metrics", where, run=inside)
    assert Path(__file__).exists()


def test_places_do_not_move_with_the_folder() -> None:
    assert located("unix:m") == f"unix:{Path.cwd()}/m"
    assert located("./m") == f"{Path.cwd()}/m"
    assert located("9100") == "9100"


def test_without_prometheus_client_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    said = refused(*SERVE, "--metrics", "9100", run=inside)
    assert said.endswith("type pip install 'cuse-scullv[metrics]'")


@pytest.mark.real
def test_nodes_have_metrics_at_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = RealServer("--recover", "--metrics", str(port))
    try:
        Path(f"/dev/{NAME}").write_bytes(b"hello")
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            with connection.makefile() as answer:
                said = answer.read()
        write = f'cuse_requests_bytes_total{{device="{NAME}",operation="write"}} 5.0'
        assert write in said
    finally:
        assert server.stop() == 0


# --- the ioctl


@pytest.fixture(params=[FAKE, REAL])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    yield from serving(request)


def test_a_client_can_ask_what_was_answered(serve: Serve) -> None:
    served = serve(devices=1)
    with served.open(os.O_RDWR) as file:

        def counts() -> Counts:
            return Counts.unpack(file.ioctl(ioctl.STATISTICS, bytes(SIZE)).data)

        before = counts()
        assert file.write(bytes(1000)) == 1000
        with pytest.raises(OSError):
            file.ioctl(0x1234)
        # An answer in C is on its way before it is counted.
        until(lambda: counts().operations["write"].requests > before.operations["write"].requests)
        after = counts()
    write = after.operations["write"].since(before.operations["write"])
    assert (write.requests, write.bytes, write.errors) == (1, 1000, 0)
    asked = after.operations["ioctl"].since(before.operations["ioctl"])
    assert asked.requests >= 2
    assert asked.errors == 1
    assert 0 < asked.quantile(0.5) <= asked.quantile(1) < 60
    assert after.placement in ("none", "follow", "spin", "spinners", "crew", "free")


def test_counts_survive_the_wire_and_are_the_channel_s() -> None:
    counts = Counts(
        {name: Count(n, n + 1, n + 2, tuple(range(n, n + 28))) for n, name in enumerate(COUNTED)},
        7,
        "spin",
        3,
    )
    assert Counts.unpack(counts.pack()) == counts
    assert BOUNDS_S == LATENCY_S


def test_a_new_process_counts_anew() -> None:
    old, new = Count(bytes=9, latency=(5,) * 28), Count(bytes=2, latency=(1,) * 28)
    assert new.since(old) == new
    assert old.since(new).bytes == 7
    assert Count().quantile(0.99) == 0


def test_the_header_numbers_every_operation() -> None:
    header = (Path(__file__).parent.parent / "csrc" / "scullv_ioctl.h").read_text()
    named = re.findall(r"SCULLV_COUNT_(\w+) (\d)", header)
    assert [name.lower() for name, _ in named] == list(COUNTED)
    assert [int(number) for _, number in named] == list(range(len(COUNTED)))
