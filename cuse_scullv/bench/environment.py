"""Where a benchmark ran: what its figures depend on."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cuse_scullv import __version__
from cuse_scullv.bench.programs import libfuse_version
from cuse_scullv.procfs import lines_of

PACKAGES = ("cffi", "pyfuse3", "mfusepy")


def environment() -> dict[str, object]:
    """Kernel, CPUs, memory, and the versions of what takes part."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "huge_pages": huge_pages(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of the project, Python, libfuse, and of what is installed of PACKAGES."""
    found = {
        "cuse-scullv": __version__,
        "python": platform.python_version(),
        "libfuse": libfuse_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU by name, as its maker has it; user-mode-linux says whose it is on."""
    for line in lines_of(cpuinfo):
        name, _, value = line.partition(":")
        if name.strip().lower() in ("model name", "host"):
            return value.strip()
    return platform.processor() or "unknown"


def huge_pages() -> str:
    """The setting of transparent huge pages; empty: this kernel has none."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return ""
    return text.partition("[")[2].partition("]")[0]


def one_line(facts: dict[str, object]) -> str:
    """The environment for a person."""
    return f"Linux {facts['kernel']} {facts['machine']}, {facts['cpus']} CPUs, {facts['cpu']}"
