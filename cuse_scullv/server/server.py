"""The server: the keeper of `cuse-scullv serve`. It opens /dev/cuse and /dev/fuse, makes the nodes,
their links and the mount; its workers are of service.py."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from cuse_scullv import cuse
from cuse_scullv.capability import has_sys_admin
from cuse_scullv.cuse.filters import Filters
from cuse_scullv.cuse.node import gid_of, uid_of
from cuse_scullv.cuse.nodes import Nodes
from cuse_scullv.device import MemDevice, ScullDevice
from cuse_scullv.processes import privileges
from cuse_scullv.processes.background import let_go, name_process
from cuse_scullv.processes.keeper import END_S, READY_S, Keeper
from cuse_scullv.processes.messages import send
from cuse_scullv.processes.process import work
from cuse_scullv.processes.worker import Ends, Worker
from cuse_scullv.registry import DEV
from cuse_scullv.server import fdstore
from cuse_scullv.server.daemon import (
    ServeError,
    Settings,
    check_node,
    make_devices,
    require_cuse,
    symlink,
    take_over_link,
)
from cuse_scullv.server.metrics_server import MetricsPlace
from cuse_scullv.server.request_log import open_log
from cuse_scullv.server.service import Holdings, Service
from cuse_scullv.server.takeover import NOTE, Taken, TakeoverError, check_program
from cuse_scullv.state import Place, State, UnknownStateError
from cuse_scullv.view import mount
from cuse_scullv.view.looker import look
from cuse_scullv.view.mappings import is_mapped_by_somebody
from cuse_scullv.view.passthrough import hand_over

logger = logging.getLogger(__name__)


class Server(Keeper):
    """Context manager: from entry to exit, what the settings ask for can be opened.

    Entering raises ServeError besides what a Keeper's does.
    """

    def __init__(self, settings: Settings, taken: Taken | None = None) -> None:
        """`taken`: what a server before, which has become this one, holds."""
        super().__init__(settings.recover)
        self.settings = settings
        self._taken = taken
        self._folder = taken.folder if taken is not None else str(Path.cwd())
        self._served = settings.served_from(self._folder)
        self.devices: list[ScullDevice] = []
        self._nodes = Nodes([])
        self._in_background = taken is not None and taken.in_background
        self._metrics: MetricsPlace | None = None
        self._note = -1
        """What the service manager has of this (fdstore.py); -1: nothing."""

    # --- what it holds

    def _hold(self, stack: ExitStack) -> None:
        settings = self.settings
        user, self.unseparated = privileges.separate(settings.user, settings.drop)
        taken = self._taken
        if taken is not None:
            state = self._state_of(taken)
        else:
            state = State.create(settings.devices, settings.devices + 2)
        stack.callback(state.close)
        if taken is None:
            self._put_filters(state)
        self.devices = make_devices(settings, state if settings.recover else None, taken)
        for device in self.devices:
            stack.callback(device.close)
        self.held = Holdings(
            self.devices,
            [],
            state,
            settings.workers,
            settings.recover,
            settings.io_view,
            user=user,
            drop=settings.drop,
            numbers=taken.numbers if taken is not None else [],
            deaths=self.deaths.read,
        )
        if settings.metrics is not None:
            self._hold_metrics(settings.metrics, stack)
        if settings.log_requests is not None:
            self._hold_log(settings.log_requests, stack)
        if settings.node:
            if taken is None:
                require_cuse()
            self._hold_nodes(stack)
        if settings.files is not None:
            self._hold_mount(stack)

    def _hold_metrics(self, where: str, stack: ExitStack) -> None:
        settings = self.settings
        uid, gid = uid_of(settings.owner), gid_of(settings.group)
        self._metrics = MetricsPlace(where, stack, settings.mode, uid, gid)
        self.held.metrics = self._metrics.socket

    def _hold_log(self, path: Path, stack: ExitStack) -> None:
        try:
            self.held.request_log = open_log(str(path))
        except OSError as error:
            raise ServeError(
                f"--log-requests {path}: {error.strerror}: type a file's path that you may write"
            ) from None
        stack.callback(os.close, self.held.request_log)

    def _keep_metrics_file(self, place: MetricsPlace, stack: ExitStack) -> None:
        ours, theirs = socket.socketpair()

        def keep() -> None:
            ours.close()
            place.keep_file(theirs)

        pid = self._aside(keep, lambda status: None)
        theirs.close()
        stack.callback(self._end_aside, pid)
        stack.callback(ours.close)

    def _state_of(self, taken: Taken) -> State:
        if taken.served != self._served or not self.settings.recover:
            raise ServeError(
                "the server before, which died, served something else: type 'systemctl stop' with"
                " this unit's name, and start it anew"
            )
        try:
            return State(taken.state)
        except UnknownStateError as error:
            raise ServeError(str(error)) from None

    def _put_filters(self, state: State) -> None:
        """Where every worker finds them, with what they have come to."""
        for number in range(self.settings.devices):
            Filters(self.settings.filters, place=Place(state, number))

    def _hold_nodes(self, stack: ExitStack) -> None:
        settings = self.settings
        served: list[cuse.Device] = list(self.devices)
        if settings.mem_node:
            served.append(
                MemDevice(
                    f"{settings.name}mem",
                    self.devices,
                    mode=settings.mode & 0o444,
                    owner=settings.owner,
                    group=settings.group,
                )
            )
        taken = self._taken
        if taken is None:
            take_over_link(DEV / settings.name)
            self._nodes = stack.enter_context(Nodes.opened(served))
        else:
            self._nodes = stack.enter_context(Nodes.adopted(served, taken.nodes, taken.made))
        self.held.nodes = self._nodes.held

    def _hold_mount(self, stack: ExitStack) -> None:
        assert self.settings.files is not None
        if self._taken is not None and self._taken.mount is not None:
            self.held.fuse, self.held.mounted = self._taken.fuse, self._taken.mount
            directory = Path(self._taken.mount.directory)
        else:
            directory = self.settings.files.resolve()
            mount.check(directory)
            self.held.fuse, self.held.mounted = mount.mount(directory)
        stack.callback(self._leave_mount)
        self._start_looker(directory, stack)

    def _leave_mount(self) -> None:
        """Where it is still mounted, nobody answers any more: its requests fail with the last
        descriptor."""
        os.close(self.held.fuse)
        assert self.held.mounted is not None
        mount.unmount(self.held.mounted)

    def _start_looker(self, directory: Path, stack: ExitStack) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def answer() -> None:
            ours.close()
            let_go()
            name_process("scullv-looker")
            look(directory, theirs)

        pid = self._aside(answer, lambda status: None)
        theirs.close()
        self.held.looker = ours.detach()
        stack.callback(os.close, self.held.looker)
        stack.callback(self._end_aside, pid)

    def _channels(self) -> Iterable[int]:
        return (fd for fd in (self.held.fuse, *self._nodes.descriptors) if fd >= 0)

    def _work(self, ends: Ends) -> NoReturn:
        held = self.held
        work(Service(held, ends).run, ends, held.user, held.drop)

    def _begin(self, stack: ExitStack) -> None:
        self._start()
        if self._metrics is not None and self._metrics.file is not None:
            self._keep_metrics_file(self._metrics, stack)
        if self._taken is None:
            self._nodes.appear(READY_S)
        for node in self._nodes:
            complaint = self._aside_and_wait(partial(check_node, node.path))
            if complaint is not None:
                raise ServeError(complaint)
        if self.settings.node and self.settings.devices > 1:
            stack.enter_context(symlink(DEV / self.settings.name, self.settings.names[0]))
        if self.settings.recover:
            self._store(stack)

    def _store(self, stack: ExitStack) -> None:
        """Where a service manager keeps descriptors, even our own death is survived."""
        handed_on = self._handed_on()
        self._note = handed_on.note()
        stack.callback(os.close, self._note)
        stack.callback(fdstore.forget, [NOTE, *handed_on.descriptors])
        if self._taken is None:
            fdstore.store(handed_on.descriptors)
        else:  # the server before did that
            fdstore.forget([NOTE])
        fdstore.store({NOTE: self._note})

    # --- reload

    def reload(self) -> None:
        """Becomes the program as it is installed now; where that cannot be, stays what it is and
        says why."""
        try:
            if not self.settings.recover:
                raise TakeoverError("only a server with --recover outlives its program")
            check_program(self._folder, self._served)
        except (TakeoverError, OSError, subprocess.TimeoutExpired) as error:
            logger.error("not reloaded: %s", error)
            return
        self._become()

    def _become(self) -> NoReturn:
        self._ending = True
        self._spare.drop()
        if self._worker is not None:
            self._worker.close()
        for pid in list(self._asides):
            self._end_aside(pid)
        if self._metrics is not None:
            self._metrics.forget()
        self._handed_on().become()

    def _handed_on(self) -> Taken:
        mounted = self.held.mounted
        return Taken(
            state=self.held.state.fd,
            files=[device.store.descriptor for device in self.devices],
            limited=self.devices[0].shared.ground.limited,
            nodes=[fd for _, fd in self.held.nodes],
            made=self._nodes.made,
            fuse=self.held.fuse,
            mounted=dataclasses.asdict(mounted) if mounted is not None else None,
            numbers=self.held.numbers,
            in_background=self._in_background,
            folder=self._folder,
            served=self._served,
        )

    # --- what its worker asks

    def _heed(self, worker: Worker, message: dict[str, Any]) -> None:
        super()._heed(worker, message)
        if "hand_over" in message:
            self._hand_over()
            send(worker.questions, numbers=self.held.numbers)
        if "is_admin" in message:
            send(worker.questions, admin=has_sys_admin(message["is_admin"]))
        if "is_mapped" in message:
            self._look(worker, *message["is_mapped"])

    def _hand_over(self) -> None:
        files = [device.store.file for device in self.devices]
        self.held.numbers = hand_over(self.held.fuse, files)
        self._renew_spare()
        if self._note >= 0:
            self._handed_on().write(self._note)

    def _look(self, worker: Worker, device: str, inode: int) -> None:
        def answer(status: int) -> None:
            with contextlib.suppress(OSError):
                send(worker.questions, mapped=status != 0)

        self._aside(lambda: os._exit(int(is_mapped_by_somebody(device, inode))), answer)

    # --- the end

    def _before_end(self) -> None:
        if self._worker is not None and self.held.mounted is not None:
            self._unmount(self._worker)

    def _unmount(self, worker: Worker) -> None:
        mounted = self.held.mounted
        assert mounted is not None
        worker.order("forget")
        self._await(lambda: worker.done == "forget" or worker is not self._worker, END_S, "")
        self._aside_and_wait(lambda: mount.unmount(mounted), END_S)
