"""Gate: whether the machine can do with another job."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cuse_scullv.memory import field_of

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
    return field_of(MEMINFO, field)
