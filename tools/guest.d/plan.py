"""What guest.d/init is to do: written into the control folder, which it mounts."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from cache import ROOT
from terminal import size

COVERED = ("/tmp", "/run", "/dev", "/proc", "/sys")  # the guest has its own
PASSED_ON = ("TERM", "COLUMNS", "PYTEST_ADDOPTS", "HYPOTHESIS_PROFILE", "CI")


def python_prefix() -> Path | None:
    """Where the interpreter behind .venv lies: it may be in a place the guest covers."""
    with contextlib.suppress(OSError):
        return (ROOT / ".venv" / "bin" / "python").resolve(strict=True).parent.parent
    return None


def guest_environment() -> dict[str, str]:
    environment = {
        "PATH": f"{ROOT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp/home",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/sh",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
        "RUFF_NO_CACHE": "true",
        "CUSE_SCULLV_IN_GUEST": "1",
    }
    kept = {n: v for n, v in os.environ.items() if n in PASSED_ON or n.startswith("CUSE_SCULLV_")}
    environment.update(kept)
    # The checkout is read-only: pytest would warn that it cannot keep its cache.
    added = f"{environment.get('PYTEST_ADDOPTS', '')} -p no:cacheprovider"
    environment["PYTEST_ADDOPTS"] = added.strip()
    return environment


def is_covered(path: Path) -> bool:
    return any(str(path).startswith(f"{top}/") for top in COVERED)


def write_plan(options: argparse.Namespace, control: Path, sources: dict[Path, str]) -> None:
    """`sources` has the mount source of each shared folder."""
    records: list[str] = []
    cwd = Path.cwd()
    shown: list[Path] = []
    for path in [ROOT, python_prefix(), cwd]:
        known = [*shown, *sources]
        if path and is_covered(path) and not any(path.is_relative_to(other) for other in known):
            shown.append(path)
            records.append(f"behind {path}")
    for path, source in sources.items():
        records += [f"share {source}", str(path)]
    records.append(f"cwd {cwd}")
    if options.terminal:
        records.append("terminal {} {}".format(*size()))
    with contextlib.suppress(OSError):  # one of them may be closed
        if os.path.sameopenfile(1, 2):
            records.append("merge yes")
    records += [f"env {name}={value}" for name, value in guest_environment().items()]
    records += [f"arg {word}" for word in options.command]
    (control / "plan").write_bytes(b"".join(os.fsencode(record) + b"\0" for record in records))
