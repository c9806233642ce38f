"""What the worker of a server does: it serves. All that it needs is open already, and it may open
no more.

Its process is of processes/process.py. It does what the keeper (server.py) says until it says
"quit". Two sockets lead there: orders, which come from the keeper and are answered in turn, with
news of ours in between; and questions of ours, for what needs privilege.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cuse_scullv import cuse
from cuse_scullv._native import lib
from cuse_scullv.capability import has_sys_admin
from cuse_scullv.cuse.channel import start_all
from cuse_scullv.cuse.exposition import Exposition
from cuse_scullv.cuse.filters import Filters
from cuse_scullv.cuse.metrics import Sample, exposition
from cuse_scullv.device import ScullDevice
from cuse_scullv.processes import privileges
from cuse_scullv.processes.messages import send
from cuse_scullv.processes.process import hear, obey, tell
from cuse_scullv.processes.worker import Ends
from cuse_scullv.server.request_log import RequestLog
from cuse_scullv.server.server_metrics import ServerMeasures, name_of
from cuse_scullv.state import NOWHERE, Place, State
from cuse_scullv.view.fileview import FileView, Held
from cuse_scullv.view.mount import Mount
from cuse_scullv.view.passthrough import is_passed


@dataclass
class Holdings:
    """What the keeper holds for its workers."""

    devices: list[ScullDevice]
    nodes: list[tuple[cuse.Device, int]]
    """The devices that have nodes, with their channels, in order of their places in the state."""
    state: State
    workers: cuse.Workers
    recover: bool
    view: str
    fuse: int = -1
    """The view's channel; -1: there is no view."""
    mounted: Mount | None = None
    looker: int = -1
    """A socket to the view's looker (looker.py)."""
    user: privileges.User | None = None
    """Whom a worker becomes; None: nobody else."""
    drop: bool = True
    owner: tuple[int, int] = field(default_factory=lambda: (os.getuid(), os.getgid()))
    """Of the files of the view: who started the keeper."""
    is_admin: bool = field(default_factory=lambda: has_sys_admin(os.getpid()))
    """Whether the keeper has CAP_SYS_ADMIN."""
    deaths: Callable[[], int] = int
    """How many workers were followed by another."""
    metrics: socket.socket | None = None
    """Where they are asked for, by Prometheus."""
    request_log: int = -1
    """What requests are logged to; -1: they are not."""
    numbers: list[int] = field(default_factory=list)
    """What the kernel calls the files that it was handed; empty: it was not asked yet."""

    def place(self, number: int) -> Place:
        return Place(self.state, number if self.recover else NOWHERE)


class Service:
    """In the worker: what is served, from start to end."""

    def __init__(self, held: Holdings, ends: Ends) -> None:
        self._held = held
        self._ends = ends
        self._asking = threading.Lock()
        self._channels: list[cuse.Channel] = []
        self._view: FileView | None = None
        self._stack = ExitStack()
        self._watch: Callable[[cuse.Device], None] = lambda device: None

    def run(self) -> None:
        """Serves until it is told to quit."""
        obey(self._ends, self._prepare, {"forget": self._forget})

    def _forget(self) -> None:
        if self._view is not None:
            self._view.forget()

    def _prepare(self, stack: ExitStack) -> Callable[[], None]:
        held = self._held
        if held.user is not None:
            held.devices[0].shared.is_admin = self._is_admin
        held.devices[0].shared.deaths = held.deaths
        if held.request_log >= 0:
            log = RequestLog(held.request_log)
            for device, _ in held.nodes:
                log.watch(device, "node")
            self._watch = partial(log.watch, by="files")
        for number, scull in enumerate(held.devices):
            stack.callback(scull.close)
            scull.filter(Filters(place=Place(held.state, number)))
        for number, (device, fd) in enumerate(held.nodes):
            channel = self._make_channel(number, device, fd)
            stack.callback(channel.close)
            self._channels.append(channel)
        if held.mounted is not None:
            self._view = self._make_view(held.mounted)
            stack.callback(self._view.close)
            held.devices[0].shared.view_statistics = self._view.statistics
        self._stack = stack
        return self._start

    def _start(self) -> None:
        """All that a worker before this one may still have changed is looked at here."""
        held = self._held
        if held.recover:
            held.state.settle(len(held.nodes) + 1)
            held.devices[0].shared.recall()
            for number, scull in enumerate(held.devices):
                lib.store_keep(scull.store.pointer, held.state.pointer, number)
        start_all(self._channels)
        if self._view is not None:
            self._view.start()
        for channel in self._channels:
            channel.wait_ready()
        if held.metrics is not None:
            self._stack.enter_context(self._exposition(held.metrics))

    def _exposition(self, listening: socket.socket) -> Exposition:
        """For Prometheus: all is asked for as it is then."""
        devices = self._held.devices
        samples: list[Sample] = [
            (channel.device.name, channel.statistics, name_of) for channel in self._channels
        ]
        if self._view is not None:
            samples.append((str(self._view.directory), self._view.statistics, name_of))
        return exposition(listening, samples, devices, ServerMeasures(devices[0].shared))

    def _make_channel(self, number: int, device: cuse.Device, fd: int) -> cuse.Channel:
        channel = cuse.Channel(
            device,
            os.dup(fd),
            self._held.workers,
            on_end=lambda: tell(self._ends, hung_up="a device was ended by the kernel"),
            filters=device.filters or () if isinstance(device, ScullDevice) else (),
            place=self._held.place(number),
        )
        channel.prepare()
        if isinstance(device, ScullDevice):
            device.statistics = channel.statistics
        return channel

    def _make_view(self, mounted: Mount) -> FileView:
        held = self._held
        for scull in held.devices:  # who asks at once is told what is so already
            scull.passthrough = is_passed(held.numbers)
        view = FileView(
            held.devices,
            mounted.directory,
            held.workers,
            view=held.view,
            watch=self._watch,
            fd=os.dup(held.fuse),
            on_end=lambda: tell(self._ends, hung_up="the files were unmounted"),
            held=Held(
                mounted,
                held.looker,
                held.place(len(held.nodes)),
                held.owner,
                held.is_admin,
                self._hand_over,
                self._is_mapped,
            ),
        )
        view.prepare()
        return view

    # --- the keeper

    def _ask(self, **question: Any) -> dict[str, Any]:
        with self._asking:
            send(self._ends.questions, **question)
            return hear(self._ends.questions)

    def _hand_over(self, files: list[int]) -> list[int]:
        if self._held.numbers:
            return self._held.numbers
        return list(self._ask(hand_over=True).get("numbers") or [0] * len(files))

    def _is_admin(self, pid: int) -> bool:
        return bool(self._ask(is_admin=pid).get("admin"))

    def _is_mapped(self, device: str, inode: int) -> bool:
        return bool(self._ask(is_mapped=[device, inode]).get("mapped", True))
