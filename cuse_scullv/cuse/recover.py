"""Recovery: devices in Python that outlive the process that serves them.

The keeper (processes/keeper.py) is the process that called `serve(recover=True)`; it holds the
channels. Each of its workers is a fork of it, with the devices as they were at the start, which
restore() brings up to date.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NoReturn

from cuse_scullv.processes import privileges
from cuse_scullv.processes.keeper import READY_S, Keeper, KeeperError
from cuse_scullv.processes.process import obey, tell, work
from cuse_scullv.processes.worker import Ends
from cuse_scullv.state import Place, State

from .channel import Channel, start_all
from .device import Device
from .errors import DeviceError
from .exposition import Listening
from .filters import Filters
from .filterspec import FilterSpec
from .metrics import channels_exposition
from .nodes import Nodes
from .workers import Workers


class DeviceKeeper(Keeper):
    """Context manager: from entry to exit the devices can be opened, whoever dies."""

    def __init__(
        self,
        devices: Sequence[Device],
        workers: Workers | None,
        nodes: Nodes,
        metrics: str | int | None = None,
        filters: Sequence[FilterSpec] = (),
        recover: bool = True,
        user: privileges.User | None = None,
        drop: bool = False,
    ) -> None:
        """`nodes`: of the devices; the keeper's from entry on. `metrics`: as of serve; each worker
        begins to count anew. `filters`: of each device. `user`, `drop`: as of process.work."""
        super().__init__(recover)
        self._user = user
        self._drop = drop
        self._devices = devices
        self._workers = workers
        self._nodes = nodes
        self._filters = filters
        self._listening = Listening(metrics) if metrics is not None else None

    def __enter__(self) -> DeviceKeeper:
        try:
            return super().__enter__()
        except KeeperError as error:
            raise DeviceError(errno.ENODEV, str(error)) from None

    def _hold(self, stack: ExitStack) -> None:
        stack.enter_context(self._nodes)
        if self._listening is not None:
            stack.enter_context(self._listening)
        self._state = State.create(0, len(self._devices))
        stack.callback(self._state.close)
        for number in range(len(self._devices)):
            Filters(self._filters, place=Place(self._state, number))  # every worker finds them

    def _channels(self) -> Iterable[int]:
        return self._nodes.descriptors

    def _begin(self, stack: ExitStack) -> None:
        self._start()
        self._nodes.appear(READY_S)

    # --- in a worker

    def _work(self, ends: Ends) -> NoReturn:
        work(lambda: self._serve(ends), ends, self._user, self._drop)

    def _serve(self, ends: Ends) -> None:
        obey(ends, lambda stack: self._prepare(stack, ends), {})

    def _prepare(self, stack: ExitStack, ends: Ends) -> Callable[[], None]:
        channels: list[Channel] = []
        for number, (device, fd) in enumerate(self._nodes.held):
            channel = Channel(
                device,
                os.dup(fd),
                self._workers,
                on_end=partial(
                    tell, ends, hung_up=f"the device {device.name!r} was ended by the kernel"
                ),
                place=Place(self._state, number),
            )
            channel.prepare()
            stack.callback(channel.close)
            channels.append(channel)
        return lambda: self._open(stack, channels)

    def _open(self, stack: ExitStack, channels: Sequence[Channel]) -> None:
        self._state.settle(len(self._devices))
        start_all(channels)
        for channel in channels:
            channel.wait_ready()
        if self._listening is not None:
            stack.enter_context(channels_exposition(self._listening.socket, channels))
