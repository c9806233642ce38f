"""What the running kernel changes for nodes and for the file view: docs/kernels.md, as far as it
concerns this machine. Its sources are there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Version: TypeAlias = tuple[int, int, int]

VIEW_PAGES = 256
"""Of the largest request of a view: 1 MiB."""

_PARAMETERS = Path("proc/sys/fs/fuse")
_ENABLE_URING = Path("sys/module/fuse/parameters/enable_uring")


def version_of(release: str, version: str) -> Version:
    """Of uname(2)'s fields. Debian's `release` has no third number (6.1.0-50-amd64), but its
    `version` names the package. Zeros: they say nothing of the kind."""
    debian = re.search(r"\bDebian (\d+)\.(\d+)\.(\d+)", version)
    found = debian or re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if found is None:
        return 0, 0, 0
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)


def running() -> Version:
    """The version of the kernel that runs; zeros: it has none that is known here."""
    name = os.uname()
    return version_of(name.release, name.version)


def has_fault(version: Version, since: Version, *mended: Version) -> bool:
    """Whether a kernel has a fault that came with `since` and was mended in these versions, one of
    each series that got it, the mainline's last."""
    if version < since:
        return False
    own = [fix for fix in mended if fix[:2] == version[:2]]
    return version < (own or [mended[-1]])[0]


def notes(version: Version, root: Path = Path("/")) -> Iterator[str]:
    """What is good to know, one line each. `root`: of /proc and /sys."""
    yield from _lacks(version)
    yield from _faults(version, root)
    yield from _settings(root)


def _lacks(version: Version) -> Iterator[str]:
    if version < (6, 6, 0):
        yield "direct I/O and mappings do not go together: the kernel caches the view (6.6)"
    if version < (6, 9, 0):
        yield "no passthrough (6.9); --recover works all the same"
    if version >= (7, 3, 0):
        yield "the kernel wakes a server with a hint: figures of docs/performance.md are of 6.1"


def _faults(version: Version, root: Path) -> Iterator[str]:
    if has_fault(version, (6, 6, 0), (6, 9, 0)):
        yield "faults in mappings of the view: update to 6.9 or later"
    if has_fault(version, (6, 9, 0), (6, 11, 6)):
        yield "with passthrough a file may seem too short after a write: update to 6.11.6"
    if has_fault(version, (6, 6, 0), (6, 12, 64)):
        yield "a mapping of a served view may keep old bytes beside a write: update to 6.12.64"
    if has_fault(version, (0, 0, 0), (6, 1, 178), (6, 12, 96)):
        yield "where memory runs out at the start a node may stay behind: update the kernel"
    old = has_fault(version, (6, 1, 107), (6, 1, 188), (6, 2, 0))
    if old or has_fault(version, (6, 8, 0), (6, 12, 110), (6, 18, 52), (7, 2, 6)):
        yield "no rmmod cuse right after a server has ended (CVE-2026-90140): update the kernel"
    if has_fault(version, (6, 14, 0), (7, 2, 6)) and _read(root / _ENABLE_URING) == "Y":
        yield f"fuse.enable_uring is on (CVE-2026-90095): type 'echo N >/{_ENABLE_URING}' as root"


def _settings(root: Path) -> Iterator[str]:
    for name in ("default_request_timeout", "max_request_timeout"):
        seconds = _read(root / _PARAMETERS / name)
        if seconds not in ("", "0"):
            yield f"fs.fuse.{name} is {seconds} s: a view that does not answer so long is ended"
    pages = _read(root / _PARAMETERS / "max_pages_limit")
    if pages and int(pages) < VIEW_PAGES:
        yield f"fs.fuse.max_pages_limit is {pages}: requests of the view are below 1 MiB"


def _read(path: Path) -> str:
    """Empty where there is no such file."""
    with suppress(OSError):
        return path.read_text().strip()
    return ""
