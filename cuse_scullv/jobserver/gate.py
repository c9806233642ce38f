"""Gate: whether the machine can do with another job."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Gate:
    """Limits; 0 is none."""

    load: float = 0.0
    """No job more while the load average of the last minute is above it (getloadavg(3))."""
    min_memory: int = 0
    """No job more while fewer bytes than that are available without swapping."""

    @property
    def is_open(self) -> bool:
        if self.load and os.getloadavg()[0] > self.load:
            return False
        return not self.min_memory or memory("MemAvailable") >= self.min_memory


def memory(field: str) -> int:
    """A field of /proc/meminfo, in bytes (proc(5)): MemAvailable, MemTotal."""
    for line in MEMINFO.read_bytes().splitlines():
        name, _, value = line.partition(b":")
        if name == field.encode():
            return int(value.split()[0]) << 10  # it says kB, and means KiB
    raise ValueError(f"{MEMINFO} has no {field}")
