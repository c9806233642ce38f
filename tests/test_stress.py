"""Processes on the nodes of one server, each of which checks all that it gets, and a kernel that
has nothing to complain of. Sixteen of them where it lasts."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from cuse_scullv import client
from nodes import RealServer
from torture import Load, check_exchanges

LONG_S = float(os.environ.get("CUSE_SCULLV_STRESS_S", "0"))
SECONDS = LONG_S or 2.0
COMPLAINT = re.compile(r"BUG|WARNING|Oops|hung task|blocked for more than|KASAN|UBSAN|lockdep")


def complaints() -> list[str]:
    """Of the kernel, since it was started."""
    log = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=True)
    return [line for line in log.stdout.splitlines() if COMPLAINT.search(line)]


def roles(nodes: list[Path]) -> list[tuple[str, Path]]:
    few = [("stream", nodes[0]), ("own", nodes[4]), ("own", nodes[4]), ("exchange", nodes[4])]
    if not LONG_S:
        return few
    return [
        *few,
        *[("stream", node) for node in nodes[1:4]],
        *[("own", nodes[4])] * 4,
        ("trim", nodes[5]),
        *[("exchange", nodes[4])] * 2,
        *[("wait", nodes[0]), ("wait", nodes[4])],
    ]


@pytest.mark.real
@pytest.mark.smp
@pytest.mark.timeout(SECONDS + 300)
def test_processes_that_check_each_other() -> None:
    before = complaints()
    server = RealServer("--max-bytes", "256M", "--devices", "6", "--order", "0")
    try:
        with client.open(server.paths[4]) as device:
            first = device.info().pending_qset
        load = Load(roles(server.paths))
        time.sleep(SECONDS)
        told = load.finish()
        with client.open(server.paths[4]) as device:
            check_exchanges(told, first, device.info().pending_qset)
        print(
            f"{len(told)} processes, {sum(each['operations'] for each in told)} operations in"
            f" {SECONDS:g} s, none wrong"
        )
    finally:
        assert server.stop() == 0
    assert complaints() == before
