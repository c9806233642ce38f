"""Who has a device open: by /proc, as far as we may look into processes (proc(5): /proc/PID/fd)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cuse_scullv.procfs import shown_name


class Opener(NamedTuple):
    """A process, and a path that it has open."""

    pid: int
    name: str
    path: str
    files: int
    """Descriptors that lead there."""


def openers(paths: Collection[str], proc: Path = Path("/proc")) -> list[Opener]:
    """Of all processes but this one; `paths` without symbolic links, as this process names them."""
    found = []
    for process in proc.iterdir():
        if process.name.isdecimal() and process.name != str(os.getpid()):
            with suppress(OSError):  # it has ended, or is not ours to look into
                name = shown_name(process)
                opened = Counter(_targets(process / "fd"))
                found += [
                    Opener(int(process.name), name, path, opened[path])
                    for path in paths
                    if opened[path]
                ]
    return sorted(found)


def _targets(folder: Path) -> list[str]:
    targets = []
    for fd in os.listdir(folder):  # noqa: PTH208 - thousands of them: no objects
        with suppress(OSError):
            targets.append(os.readlink(folder / fd))  # noqa: PTH115
    return targets
