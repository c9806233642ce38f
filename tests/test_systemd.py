"""The unit of docs/reliability.md under a real systemd, in a guest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client
from nodes import child_named, until
from reaper import ROOT

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = Path("/run/systemd/system")
NODE = Path("/dev/scullv")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SYSTEMD.exists(), reason="needs systemd: apt-get install systemd"),
]


class Systemd:
    """In a PID namespace of its own, with nothing but the unit of the documentation."""

    def __init__(self) -> None:
        text = (ROOT / "docs/reliability.md").read_text()
        unit = re.findall(r"^```ini\n(.*?)^```$", text, re.M | re.S)[0]
        here = f"{sys.executable} -m cuse_scullv"
        UNITS.mkdir(parents=True, exist_ok=True)
        (UNITS / "scullv.service").write_text(
            unit.replace("/usr/bin/cuse-scullv", here) + f"WorkingDirectory={ROOT}\n"
        )
        (UNITS / "nothing.target").write_text("[Unit]\nDescription=nothing\n")
        words = ["unshare", "--pid", "--fork", "--mount-proc", "env", "container=guest"]
        words += [str(SYSTEMD), "--unit=nothing.target", "--log-target=null"]
        self._process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: child_named(self._process.pid, "systemd"))
        self.pid = child_named(self._process.pid, "systemd")
        until(lambda: self._call("systemctl", "list-units").returncode == 0)

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-p", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    def do(self, verb: str) -> None:
        done = self._call("systemctl", verb, "scullv.service")
        assert done.returncode == 0, done.stderr

    def show(self, what: str) -> str:
        return self._call(
            "systemctl", "show", "scullv.service", "-p", what, "--value"
        ).stdout.strip()

    def kill_keeper(self) -> None:
        restarts = int(self.show("NRestarts"))
        assert self._call("kill", "-9", self.show("MainPID")).returncode == 0
        until(lambda: int(self.show("NRestarts")) == restarts + 1)
        until(lambda: self.show("ActiveState") == "active")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # and with it all of its namespace
        self._process.wait(20)


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    made = Systemd()
    yield made
    made.close()


def test_a_service_outlives_its_keeper_and_its_program(systemd: Systemd) -> None:
    systemd.do("start")
    kept = systemd.show("NFileDescriptorStore")
    with client.open(NODE, "r+") as device:
        device.write(b"one ")
        systemd.kill_keeper()
        device.write(b"two ")
        systemd.do("reload")
        device.write(b"three ")
        systemd.kill_keeper()
        device.write(b"four")
        assert device.tell() == 18
        until(lambda: systemd.show("NFileDescriptorStore") == kept)
    assert NODE.read_bytes() == b"one two three four"
    systemd.do("stop")
    assert not NODE.exists()
    assert systemd.show("NFileDescriptorStore") == "0"
    systemd.do("start")
    assert NODE.read_bytes() == b""
    systemd.do("stop")
