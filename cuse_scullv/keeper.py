"""The keeper: the process that was started. It holds what needs privilege, and waits.

It opens /dev/cuse and /dev/fuse, makes the nodes, their links and the mount, and forks a worker
(service.py) that serves them. It has no threads and answers no request, so that nothing that a
client does can end it; and as the channels are its own, nothing that a worker does ends the
devices. With `recover` a worker that dies is followed by another, which finds in the state
(state.py) what the one before had come to; without, its end is the end of all.

What may take long, or may need an answer of the worker's, is done aside, in a process of its own:
so the keeper always notices that a worker has died.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from cuse_scullv import cuse, mount, privileges
from cuse_scullv.background import let_go, name_process
from cuse_scullv.capability import has_sys_admin
from cuse_scullv.cuse.host import open_cuse
from cuse_scullv.cuse.node import Node
from cuse_scullv.daemon import (
    ServeError,
    Settings,
    check_node,
    make_devices,
    require_cuse,
    symlink,
)
from cuse_scullv.device import MemDevice, ScullDevice
from cuse_scullv.fileview import hand_over
from cuse_scullv.looker import look
from cuse_scullv.mappings import is_mapped_by_somebody
from cuse_scullv.registry import DEV
from cuse_scullv.service import Holdings, send
from cuse_scullv.state import State
from cuse_scullv.supervise import WAKE
from cuse_scullv.takeover import Taken, TakeoverError, check_program
from cuse_scullv.worker import WORDS_MAX, Worker

READY_S = 30.0
"""How long a worker may take to begin, seconds; it needs milliseconds."""
END_S = 1.5
"""How long it may take to end; handlers have one second of it."""
DEATHS, DEATHS_S = 5, 10.0
"""So many deaths within so many seconds are too many."""
_QUICK_S = 0.05  # who dies so soon after he was forked is followed by the next one later
_WAIT_MOST_S = 0.5
_SIGNALS = {signal.SIGCHLD, WAKE}

logger = logging.getLogger(__name__)


class Keeper:
    """Context manager: from entry to exit, what the settings ask for can be opened.

    Signals of supervise.WAITED are blocked meanwhile: a Supervisor's context has been entered.
    Entering raises ServeError, DeviceError, or OSError, and leaves nothing behind.
    """

    def __init__(self, settings: Settings, taken: Taken | None = None) -> None:
        """`taken`: what a keeper before, which has become this one, holds."""
        self.settings = settings
        self._taken = taken
        self._folder = taken.folder if taken is not None else str(Path.cwd())
        self.devices: list[ScullDevice] = []
        self.why = ""
        """Why all has ended, if it has."""
        self.unseparated = ""
        """Why the worker has the privileges of the keeper; empty: it has not."""
        self._nodes: list[Node] = []
        self._worker: Worker | None = None
        self._left: list[Worker] = []
        self._ending = False
        self._most = int(os.environ.get("CUSE_SCULLV_DEATHS", DEATHS))  # for tests
        self._deaths: deque[float] = deque()
        self._quick = 0
        self._asides: dict[int, Callable[[int], None]] = {}
        self._in_background = taken is not None and taken.in_background

    # --- life

    def __enter__(self) -> Keeper:
        with ExitStack() as stack:
            self._hold(stack)
            stack.callback(self._end)
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending = True
        self._stack.close()

    def _hold(self, stack: ExitStack) -> None:
        settings = self.settings
        user = self._user()
        taken = self._taken
        if taken is not None:
            state = State(taken.state)
        else:
            state = State.create(settings.devices, settings.devices + 2)
        stack.callback(state.close)
        self.devices = make_devices(settings, state if settings.recover else None, taken)
        for device in self.devices:
            stack.callback(device.close)
        self.held = Holdings(
            self.devices,
            [],
            state,
            settings.workers,
            settings.recover,
            settings.view,
            user=user,
            drop=settings.drop,
            numbers=taken.numbers if taken is not None else [],
        )
        if settings.node:
            if taken is None:
                require_cuse()
            self._hold_nodes(stack)
        if settings.files is not None:
            self._hold_mount(stack)

    def _user(self) -> privileges.User | None:
        settings = self.settings
        if not settings.drop:
            self.unseparated = "--no-drop"
        elif os.geteuid() != 0:
            self.unseparated = "not started by root"
        else:
            try:
                return privileges.user_named(settings.user)
            except privileges.NoUserError as error:
                raise ServeError(str(error)) from None
        return None

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
        for number, device in enumerate(served):
            node = Node(device)
            if self._taken is not None:
                node.adopt(self._taken.made[number])
                fd = self._taken.nodes[number]
            else:
                node.check_free()
                fd = open_cuse()
            self.held.nodes.append((device, fd))
            self._nodes.append(node)
            stack.callback(self._close_node)

    def _close_node(self) -> None:
        """Of the last node that is left: with its channel's last descriptor the kernel takes it
        away."""
        _, fd = self.held.nodes.pop()
        os.close(fd)
        self._nodes.pop().remove()

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

    def _end_aside(self, pid: int) -> None:
        if self._asides.pop(pid, None) is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _begin(self, stack: ExitStack) -> None:
        self._fork()
        self._await(lambda: self._current.ready, READY_S, "no worker has begun")
        for node in self._nodes:
            if self._taken is None:
                node.appear(READY_S)
            complaint = self._aside_and_wait(partial(check_node, node.path))
            if complaint is not None:
                raise ServeError(complaint)
        if self.settings.node and self.settings.devices > 1:
            stack.enter_context(symlink(DEV / self.settings.name, self.settings.names[0]))

    def let_go(self) -> None:
        """The worker, and those that follow, leave the terminal alone."""
        self._in_background = True
        worker = self._current
        worker.order("let_go")
        self._await(lambda: worker.done == "let_go" or worker is not self._worker, READY_S, "")

    def reload(self) -> None:
        """Becomes the program as it is installed now; where that cannot be, stays what it is and
        says why."""
        try:
            if not self.settings.recover:
                raise TakeoverError("only a server with --recover outlives its program")
            check_program(self._folder)
        except (TakeoverError, OSError, subprocess.TimeoutExpired) as error:
            logger.error("not reloaded: %s", error)
            return
        self._become()

    def _become(self) -> NoReturn:
        self._ending = True
        if self._worker is not None:
            self._worker.close()
        for pid in list(self._asides):
            self._end_aside(pid)
        mounted = self.held.mounted
        Taken(
            state=self.held.state.fd,
            files=[device.store.descriptor for device in self.devices],
            limited=self.devices[0].shared.ground.limited,
            nodes=[fd for _, fd in self.held.nodes],
            made=[node.is_made for node in self._nodes],
            fuse=self.held.fuse,
            mounted=dataclasses.asdict(mounted) if mounted is not None else None,
            numbers=self.held.numbers,
            in_background=self._in_background,
            folder=self._folder,
        ).become()

    # --- the worker

    @property
    def _current(self) -> Worker:
        assert self._worker is not None
        return self._worker

    def _fork(self) -> None:
        self._worker = Worker(self.held)

    def ended(self) -> bool:
        """Sees to what has happened. Whether all has ended by itself; then `why` says why. After
        every signal of supervise.WAITED."""
        self._reap_asides()
        self._left = [worker for worker in self._left if not worker.forgotten()]
        worker = self._worker
        if worker is None:
            return bool(self.why)
        is_dead = worker.reap()
        for message in worker.news():
            self._heed(worker, message)
        if is_dead:
            self._died(worker)
        return bool(self.why)

    def _heed(self, worker: Worker, message: dict[str, Any]) -> None:
        worker.ready = worker.ready or "ready" in message
        worker.failed = message.get("failed", worker.failed)
        worker.done = message.get("done", worker.done)
        if "hung_up" in message and worker.ready and not self._ending:
            self.why = message["hung_up"]
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

    def _look(self, worker: Worker, device: str, inode: int) -> None:
        def answer(status: int) -> None:
            with contextlib.suppress(OSError):
                send(worker.questions, mapped=status != 0)

        self._aside(lambda: os._exit(int(is_mapped_by_somebody(device, inode))), answer)

    def _died(self, worker: Worker) -> None:
        self._worker = None
        how = worker.last_words()
        worker.close()
        if worker.is_left:
            self._left.append(worker)
        if self._ending:
            return
        if worker.failed or not self.settings.recover:
            self.why = worker.failed or f"the worker died: {how}"
            return
        if self._is_too_much(worker):
            self.why = f"{self._most} workers died within {DEATHS_S:g} s, the last: {how}"
            return
        logger.error("the worker died, and another takes its place: %s", how)
        self._fork()

    def _is_too_much(self, worker: Worker) -> bool:
        """Counts its death; waits a while if workers die as soon as they are there."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - DEATHS_S:
            self._deaths.popleft()
        if len(self._deaths) >= self._most:
            return True
        self._quick = self._quick + 1 if now - worker.born < _QUICK_S else 0
        if self._quick > 1 and self._most == DEATHS:
            time.sleep(min(_WAIT_MOST_S, 0.02 * 2**self._quick))
        return False

    # --- waiting

    def _await(self, done: Callable[[], bool], seconds: float, otherwise: str) -> bool:
        """Until `done`. Raises ServeError where all has ended by itself before, or, if there is an
        `otherwise`, where it takes too long; False: it does."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                if otherwise:
                    raise ServeError(otherwise)
                return False
            signal.sigtimedwait(_SIGNALS, min(left, 1.0))
            if self.ended() and not self._ending:
                raise ServeError(self.why)
        return True

    def _aside(self, work: Callable[[], None], ended: Callable[[int], None]) -> int:
        """Does `work` in a process of its own, whose channels are closed; `ended` gets its exit
        status."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for fd in (self.held.fuse, *(fd for _, fd in self.held.nodes)):
                    if fd >= 0:
                        os.close(fd)
                work()
                status = 0
            finally:
                os._exit(status)
        self._asides[pid] = ended
        return pid

    def _reap_asides(self) -> None:
        for pid in list(self._asides):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                self._asides.pop(pid)(os.waitstatus_to_exitcode(status))

    def _aside_and_wait(self, work: Callable[[], None], seconds: float = READY_S) -> str | None:
        """None: it ended well; else why not."""
        words = os.memfd_create("scullv-aside", os.MFD_CLOEXEC)

        def report() -> None:
            try:
                work()
            except Exception as error:
                os.write(words, str(error).encode())
                raise

        statuses: list[int] = []
        try:
            pid = self._aside(report, statuses.append)
            if not self._await(lambda: bool(statuses), seconds, ""):
                os.kill(pid, signal.SIGKILL)
                return "it takes too long"
            return None if statuses == [0] else os.pread(words, WORDS_MAX, 0).decode()
        finally:
            os.close(words)

    # --- the end

    def _end(self) -> None:
        """The worker ends, while it still answers what that asks for."""
        self._ending = True
        worker = self._worker
        if worker is not None and self.held.mounted is not None:
            self._unmount(worker)
        worker = self._worker
        if worker is not None:
            worker.order("quit")
            self._await(lambda: self._worker is None, END_S, "")
        if self._worker is not None:
            logger.error("the worker does not end: it is killed")
            self._worker.close()
            self._worker = None

    def _unmount(self, worker: Worker) -> None:
        mounted = self.held.mounted
        assert mounted is not None
        worker.order("forget")
        self._await(lambda: worker.done == "forget" or worker is not self._worker, END_S, "")
        self._aside_and_wait(lambda: mount.unmount(mounted), END_S)
