"""Who comes before others for a CPU: the keeper and a worker that follows, until it serves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodes import until
from views import FilesServer

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may come first"),
]


@contextmanager
def serving(view: Path, *under: str) -> Iterator[FilesServer]:
    server = FilesServer(view, "--recover", "--max-bytes", "64M", under=under)
    try:
        until(lambda: server.spare)
        yield server
    finally:
        assert server.stop() == 0


def nice_of(pid: int) -> set[int]:
    """Of all its threads."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


def test_who_follows_comes_first_until_it_serves(view: Path) -> None:
    with serving(view) as server:
        for _ in range(2):
            until(lambda: server.spare)
            assert os.getpriority(os.PRIO_PROCESS, server.process.pid) == -20
            assert os.getpriority(os.PRIO_PROCESS, server.spare) == -20
            assert nice_of(server.worker) == {0}
            server.kill_worker()
            assert server.files[0].read_bytes() == b""


@pytest.mark.parametrize(
    ("under", "nice"),
    [
        (("nice", "-n", "5"), 5),
        (("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"), 0),
    ],
    ids=["of its own", "not allowed"],
)
def test_otherwise_it_takes_turns(view: Path, under: tuple[str, ...], nice: int) -> None:
    if not shutil.which(under[0]):
        pytest.skip(f"needs {under[0]}")
    with serving(view, *under) as server:
        for pid in (server.process.pid, server.spare, server.worker):
            assert nice_of(pid) == {nice}
        server.kill_worker()
        assert server.files[0].read_bytes() == b""
