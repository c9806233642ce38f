"""Who has a file mapped."""

from __future__ import annotations

import threading
from pathlib import Path

from cuse_scullv.procfs import lines_of

SCAN_S = 1.0
"""How long to look for mappings in one process, seconds."""


def is_mapped_by_somebody(device: str, inode: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process that we can look into maps the file. `device`: "major:minor", decimal.

    Somebody who is just mapping or unmapping may keep us from looking for as long as his pages
    take, and they may wait for an answer of ours: who cannot be looked into in time has it mapped.
    """
    scan = _Scan(proc, device, inode)
    while scan.is_alive():
        before = scan.looked_into
        scan.join(SCAN_S)
        if scan.is_alive() and scan.looked_into == before:
            return True
    return scan.found


class _Scan(threading.Thread):
    """Looks into one process after the other, until one maps the file."""

    def __init__(self, proc: Path, device: str, inode: int) -> None:
        super().__init__(name="scullv-scan", daemon=True)
        major, minor = (int(part) for part in device.split(":"))
        self._wanted = [f"{major:02x}:{minor:02x}", str(inode)]
        self._proc = proc
        self.found = False
        self.looked_into = 0
        self.start()

    def run(self) -> None:
        for process in self._proc.iterdir():
            if process.name.isdecimal() and self._maps(process / "maps"):
                self.found = True
                return
            self.looked_into += 1

    def _maps(self, maps: Path) -> bool:
        try:
            lines = lines_of(maps)
        except OSError:
            return False  # it has ended, or is not ours to look into
        return any(line.split(None, 5)[3:5] == self._wanted for line in lines)
