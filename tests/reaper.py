"""Has workers die at the kill points of csrc/base/killpoint.h."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from pathlib import Path

from cuse_scullv._native import ffi, lib
from torture import seconds_for

ROOT = Path(__file__).parent.parent
HEADER = (ROOT / "csrc/base/killpoint.h").read_text()
POINTS = re.findall(r"^    KILL_(\w+),", HEADER, re.M)[1:]  # without NOWHERE
DEATHS = re.findall(r"DEATH_BY_(\w+)", HEADER)


class Reaper:
    """Has a keeper's workers die at one kill point after the other."""

    def __init__(self, keeper: int, points: list[str]) -> None:
        self._points = points
        for link in Path(f"/proc/{keeper}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if "scullv-state" in str(link.readlink()):
                    self._fd = os.open(link, os.O_RDWR)
        self._state = lib.state_open(self._fd)
        assert self._state != ffi.NULL
        self.reached = Counter[str]()

    def run(self, deaths: int) -> list[float]:
        """Goes round until so many have died, and one at least at each point; when that was."""
        times: list[float] = []
        end = time.monotonic() + seconds_for(deaths)
        while len(times) < deaths or len(self.reached) < len(self._points):
            missing = set(self._points) - set(self.reached)
            assert time.monotonic() < end, f"{len(times)} of {deaths} deaths, none at {missing}"
            for point in self._points:
                if self._dies_at(point):
                    times.append(time.monotonic())
                    self.reached[point] += 1
                time.sleep(0.02)
        lib.state_kill_at(self._state, 0, 0)
        return times

    def kill_at(self, point: str, death: str) -> None:
        """The next to come by dies so, one of DEATHS."""
        lib.state_kill_at(self._state, POINTS.index(point) + 1, DEATHS.index(death))

    def _dies_at(self, point: str) -> bool:
        self.kill_at(point, "SIGNAL")
        end = time.monotonic() + 5.0
        while not lib.state_was_killed(self._state) and time.monotonic() < end:
            time.sleep(0.001)
        return bool(lib.state_was_killed(self._state))
