"""The book's own module, in the kernel, beside this server: what a driver in user space costs.

CUSE_SCULLV_MODULE names a scullv.ko that was built for the running kernel, from the book's
examples. It is loaded for the run. Its quanta are of a MiB, as it moves no more than one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.lab import Lab, node_trouble
from cuse_scullv.bench.process import finish
from cuse_scullv.bench.rounds import Plan
from cuse_scullv.bench.sample import FRESH, OVERWRITE, READ, Case
from cuse_scullv.bench.target import DEVICES, Target, our_nodes, tmpfs_files
from cuse_scullv.bench.transfers import Transfers
from cuse_scullv.procfs import lines_of

VARIABLE = "CUSE_SCULLV_MODULE"
NAME = "scullv"
_ORDER = 8
"""Of its quanta, 4 KiB << order."""


def trouble() -> str | None:
    file = os.environ.get(VARIABLE)
    if not file or not Path(file).is_file():
        return f"it needs the book's module: set {VARIABLE} to a scullv.ko built for this kernel"
    if _major() is not None:
        return "the module is loaded already: type 'rmmod scullv'"
    return node_trouble()


def plan(lab: Lab) -> Plan:
    """One client."""
    return Plan(
        [Case(f, block) for f in (FRESH, OVERWRITE, READ) for block in lab.scale.blocks],
        [
            Transfers("cuse-scullv", lab, lambda: our_nodes(lab)),
            Transfers("scullv.ko", lab, lambda: module_nodes(lab)),
            Transfers("tmpfs", lab, lambda: tmpfs_files(lab)),
        ],
    )


@contextmanager
def module_nodes(lab: Lab) -> Iterator[Target]:
    """Nodes of the module, which is loaded meanwhile."""
    _do("insmod", os.environ[VARIABLE], f"scullv_order={_ORDER}", f"scullv_devs={DEVICES}")
    paths = [lab.folder / f"module{minor}" for minor in range(DEVICES)]
    try:
        for minor, path in enumerate(paths):
            _do("mknod", str(path), "c", str(_major()), str(minor))
        yield Target(tuple(map(str, paths)), "file", "open")
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
        _do("rmmod", NAME)


def _do(*command: str) -> None:
    done = finish(command)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")


def _major() -> int | None:
    """The number that the kernel gave the module; None: it is not loaded."""
    for line in lines_of(Path("/proc/devices")):
        if line.split()[1:] == [NAME]:
            return int(line.split()[0])
    return None
