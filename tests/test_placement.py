"""Where the threads of a server run: moved to a client where that pays, else left alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cuse_scullv.cuse.workers import threads_for_cpus
from nodes import until
from views import FilesServer, served

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(
        len(os.sched_getaffinity(0)) < 2, reason="one CPU: there is nowhere to go, and nobody goes"
    ),
]
CPUS = frozenset(os.sched_getaffinity(0))
KEPT = ("--no-drop",)
"""Where RLIMIT_NICE cannot be raised (a container without CAP_SYS_RESOURCE) an unprivileged worker
may not leave SCHED_IDLE, so it does not enter it; what placement does besides is what is tested
here."""
Post = tuple[int, frozenset[int]]
"""A thread's scheduling policy, and the CPUs it may run on."""


def posts(server: FilesServer) -> list[Post]:
    threads = [int(each.name) for each in Path(f"/proc/{server.worker}/task").iterdir()]
    return [post_of(thread) for thread in threads]


def post_of(thread: int) -> Post:
    def look() -> Post:
        # The first thread came before others until it served (priority.py).
        policy = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
        return policy, frozenset(os.sched_getaffinity(thread))

    post = look()
    while (again := look()) != post:  # it was being moved
        post = again
    return post


def read_on(path: Path, until: Callable[[], bool], cpus: frozenset[int] = CPUS) -> None:
    os.sched_setaffinity(threading.get_native_id(), cpus)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        while not until():
            for _ in range(100):
                os.pread(file.fileno(), 512, 0)


def is_crowded() -> bool:
    """Whether others than this thread have something to run on each CPU (proc(5))."""
    runnable = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
    return runnable > os.sysconf("SC_NPROCESSORS_ONLN")


def seen_while_reading(
    server: FilesServer, seconds: float, clients: int = 1, cpus: frozenset[int] = CPUS
) -> set[Post]:
    """What posts there were while clients, which run on `cpus`, read."""
    with open(server.files[0], "r+b", buffering=0) as file:  # noqa: PTH123
        file.write(b"x" * 4096)
    end = time.monotonic() + seconds
    reader = [
        threading.Thread(
            target=read_on, args=(server.files[0], lambda: time.monotonic() > end, cpus)
        )
        for _ in range(clients)
    ]
    seen: set[Post] = set()
    for each in reader:
        each.start()
    while time.monotonic() < end:
        seen.update(posts(server))
        time.sleep(0.002)
    for each in reader:
        each.join()
    return seen


def test_a_single_client_is_followed(tmp_path: Path) -> None:
    """Though not while others want every CPU (test_busy.py), as on a machine that tests much."""
    followed = {(os.SCHED_IDLE, frozenset([cpu])) for cpu in CPUS}
    seen: set[Post] = set()
    crowded = []
    with served(tmp_path / "files", *KEPT) as server:
        while not followed & seen and len(crowded) < 40:
            seen |= seen_while_reading(server, 1.0)
            crowded.append(is_crowded())
    if not followed & seen and sum(crowded) > len(crowded) / 2:
        pytest.skip("others want every CPU")
    assert followed & seen
    assert {cpus for policy, cpus in seen if policy == os.SCHED_OTHER} == {CPUS}


def test_workers_go_where_all_of_a_few_clients_are_and_to_a_cpu_each(tmp_path: Path) -> None:
    cpu = min(CPUS)
    with served(tmp_path / "files", *KEPT) as server:
        seen = seen_while_reading(server, 2.0, 2, frozenset([cpu]))
    bound = {cpus for policy, cpus in seen if policy == os.SCHED_OTHER and len(cpus) == 1}
    assert frozenset([cpu]) in bound
    assert len(bound) > 1


def test_with_none_nobody_is_moved(tmp_path: Path) -> None:
    with served(tmp_path / "files", *KEPT, "--placement", "none") as server:
        assert seen_while_reading(server, 0.5) == {(os.SCHED_OTHER, CPUS)}


def test_with_a_list_workers_stay_on_it(tmp_path: Path) -> None:
    cpu = max(CPUS)
    with served(tmp_path / "files", *KEPT, "--placement", str(cpu), "--threads", "3") as server:
        until(lambda: posts(server).count((os.SCHED_OTHER, frozenset([cpu]))) == 3)
        now = posts(server)
        assert seen_while_reading(server, 0.3) == set(now)


def test_workers_are_as_many_as_cpus(tmp_path: Path) -> None:
    with (
        served(tmp_path / "files", *KEPT) as few,
        served(tmp_path / "more", *KEPT, "--threads", "9") as more,
    ):
        assert len(posts(more)) - len(posts(few)) == 9 - threads_for_cpus()


@pytest.mark.parametrize("options", [[], ["--spin-us", "1000"], ["--placement", "none"]])
def test_an_idle_server_uses_no_cpu(tmp_path: Path, options: list[str]) -> None:
    with served(tmp_path / "files", *KEPT, *options) as server:
        seen_while_reading(server, 0.5)
        time.sleep(0.1)
        clock = ~server.worker << 3 | 2  # as clock_getcpuclockid(3) makes it
        before = time.clock_gettime(clock)
        time.sleep(1.0)
        assert time.clock_gettime(clock) - before < 0.02


def test_clients_that_come_and_go_are_all_served(tmp_path: Path) -> None:
    with served(tmp_path / "files", *KEPT) as server:
        for clients in (1, 4, 1, 2, 3):
            assert seen_while_reading(server, 0.25, clients)
