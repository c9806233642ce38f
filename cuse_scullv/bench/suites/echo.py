"""Operations a second of an echo device in Python: cuse_scullv.cuse as a node against the same
written with pyfuse3 and mfusepy as files, uncached. A peer that is not installed is left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from cuse_scullv.bench.lab import KIB, Lab
from cuse_scullv.bench.load import Load
from cuse_scullv.bench.process import can_open, python, running
from cuse_scullv.bench.rounds import Contender, Plan
from cuse_scullv.bench.sample import Case
from cuse_scullv.bench.target import DEV

MODULES = "cuse_scullv.bench.echo"
PEERS = {"pyfuse3": "with_pyfuse3", "mfusepy": "with_mfusepy"}
BLOCKS = (64, 4 * KIB, 128 * KIB)


class Server(Protocol):
    """Runs a module of cuse_scullv.bench.echo; the path that clients open."""

    def __call__(self, lab: Lab, module: str) -> AbstractContextManager[Path]: ...


@contextmanager
def node(lab: Lab, module: str) -> Iterator[Path]:
    """A module that makes a node."""
    path = DEV / lab.name()
    with running(f"the echo device {module}", python(f"{MODULES}.{module}", path.name)) as process:
        process.wait_until(lambda: can_open(path))
        yield path


@contextmanager
def mounted(lab: Lab, module: str) -> Iterator[Path]:
    """A module that mounts a folder with a file `echo`."""
    with lab.mount_point() as folder:
        path = folder / "echo"
        command = python(f"{MODULES}.{module}", str(folder))
        with running(f"the echo file {module}", command) as process:
            process.wait_until(lambda: can_open(path))
            yield path


class Echo(Contender):
    """System calls a second: a client writes a block, and reads it back."""

    def __init__(self, name: str, lab: Lab, server: Server, module: str) -> None:
        super().__init__(name)
        self.lab = lab
        self._server = server
        self._module = module

    def start(self, stack: ExitStack) -> None:
        self._path = stack.enter_context(self._server(self.lab, self._module))

    def measure(self, case: Case) -> float:
        result = Load(
            "echo",
            [str(self._path)],
            clients=case.clients,
            block=case.block,
            span=case.block,
            seconds=self.lab.scale.seconds,
            position="none",
        ).run(self.lab.client)
        return result.operations / result.seconds


def missing_peers() -> list[str]:
    """Peers that are not installed here."""
    return [name for name in PEERS if find_spec(name) is None]


def plan(lab: Lab) -> Plan:
    """This binding, with functions and with coroutines, against the peers that there are."""
    blocks = BLOCKS if len(lab.scale.blocks) > 2 else BLOCKS[1:]
    cases = [
        Case("write and read back", block, clients, unit="1/s")
        for clients in lab.scale.clients
        for block in blocks
    ]
    contenders = [
        Echo("cuse_scullv.cuse", lab, node, "device"),
        Echo("cuse, async def", lab, node, "coroutines"),
    ]
    missing = missing_peers()
    contenders += [
        Echo(name, lab, mounted, module) for name, module in PEERS.items() if name not in missing
    ]
    return Plan(cases, contenders)
