"""FileView: the devices as files of a mounted directory, which a client can seek and map.

The kernel gives a CUSE node no position and no mmap; a FUSE file has both. The bytes are the same:
the files are answered from the devices' stores, in C (csrc/view/fileview.c). Here is what Python
says to them: a session of the CUSE binding for each file, as for a node, and what emptying a file
means.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cuse_scullv import cuse
from cuse_scullv._native import ffi, lib
from cuse_scullv.backing import AUTO, DIRECT, PASSTHROUGH
from cuse_scullv.capability import has_sys_admin
from cuse_scullv.cuse.native import NativeChannel, warn_refused
from cuse_scullv.cuse.node import gid_of, uid_of
from cuse_scullv.cuse.session import Session
from cuse_scullv.device import MemDevice, ScullDevice
from cuse_scullv.state import Place, new_ledger
from cuse_scullv.view import mount
from cuse_scullv.view.devicefile import DeviceFile
from cuse_scullv.view.looker import look
from cuse_scullv.view.mappings import is_mapped_by_somebody
from cuse_scullv.view.mount import MountError
from cuse_scullv.view.passthrough import hand_over, is_passed, why_no_passthrough

if TYPE_CHECKING:
    from cuse_scullv._native import Call

logger = logging.getLogger(__name__)

TEXT_NAME = "scullvmem"
READY_S = 30.0
"""How long the kernel may take to begin, seconds; it needs milliseconds."""
GRACE_S = 1.0
"""How long calls that are under way may take to end with the view, seconds."""


@dataclass(frozen=True)
class Held:
    """What of a view is a keeper's, and done by it."""

    mounted: mount.Mount
    looker: int
    """A socket to the looker (looker.py), which the view takes a copy of."""
    place: Place
    owner: tuple[int, int]
    is_admin: bool
    """Whether the keeper has CAP_SYS_ADMIN."""
    hand_over: Callable[[list[int]], list[int]]
    """As the function of that name, of this view."""
    is_mapped: Callable[[str, int], bool]
    """As `is_mapped_by_somebody`."""


class FileView:
    """Shows `devices` as files of `directory`, from entry to exit of the context.

    Each device's file has its name, owner and mode; besides, there is the text scullvmem. Without
    root, only the user who serves gets at them, unless /etc/fuse.conf says user_allow_other.
    """

    def __init__(
        self,
        devices: Sequence[ScullDevice],
        directory: Path | str,
        workers: cuse.Workers | None = None,
        *,
        mem: bool = True,
        view: str = AUTO,
        watch: Callable[[cuse.Device], None] = lambda device: None,
        fd: int | None = None,
        on_end: Callable[[], None] | None = None,
        held: Held | None = None,
    ) -> None:
        """`mem`: whether there is a file scullvmem. `view`: one of backing.VIEWS, who does the
        files' I/O. `watch` is told of the device that each file is, before that is served. `fd`: in
        place of a mount, a SEQPACKET socket with somebody who speaks FUSE at its other end.
        `on_end` is called, on some thread, when the view ended by itself: somebody unmounted it.
        `held`: the mount is a keeper's, and `fd` the descriptor of its requests."""
        self.devices = tuple(devices)
        # What is mounted already would ask us who it is.
        self.directory = Path(directory if held is not None else os.path.realpath(directory))
        self.workers = workers or cuse.Workers()
        self._mem = mem
        self._view = view
        self._watch = watch
        self._fd = fd
        self._number = -1  # of that descriptor, which is C's while there is a channel
        self._on_end = on_end
        self._held = held
        self._mount: mount.Mount | None = held.mounted if held is not None else None
        self._sessions: dict[int, Session] = {}  # by node
        self._closing = False
        self._ended = threading.Event()
        self._channel: NativeChannel | None = None
        self._ledger = ffi.NULL  # the channel's
        self._counting = threading.Lock()  # the channel does not end while it is asked
        self._counted: NativeChannel | None = None  # under it: the channel, until that ends

    def __enter__(self) -> FileView:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def paths(self) -> list[Path]:
        """The devices' files, in order."""
        return [self.directory / device.name for device in self.devices]

    @property
    def ended(self) -> bool:
        """The view ended by itself; close() is still to be called."""
        return self._ended.is_set()

    @property
    def requests(self) -> int:
        """Reads and writes that were answered in C."""
        return self._channel.requests if self._channel is not None else 0

    def statistics(self) -> cuse.Statistics:
        """What was answered since start(), of all files together. What the kernel does by itself
        (passthrough) is not among it."""
        with self._counting:
            return self._counted.statistics() if self._counted is not None else cuse.Statistics()

    # --- life

    def prepare(self) -> None:
        """Makes all that start() needs, and serves nothing yet: start() is quick then. Raises what
        start() does."""
        with contextlib.ExitStack() as undo:
            uid, gid = self._owner()
            if self._fd is None:
                mount.check(self.directory)
                self._fd, self._mount = mount.mount(self.directory)
                undo.callback(mount.unmount, self._mount)
            self._make_sessions(undo)
            self._channel = self._open(uid, gid)
            undo.pop_all()

    def start(self) -> None:
        """Mounts, and returns when clients can open the files.

        Raises MountError, or DeviceError for an owner or a group that is not; nothing is left then.
        """
        if self._channel is None:
            self.prepare()
        assert self._channel is not None
        with contextlib.ExitStack() as undo:
            undo.callback(self._abandon, self._channel)
            self._begin(self._channel)
            undo.pop_all()

    def _begin(self, channel: NativeChannel) -> None:
        for session in self._sessions.values():
            session.restore(self._ledger)
        try:
            channel.begin()
        except OSError as error:
            raise self._no_files(error.errno or errno.EIO) from None
        code = channel.wait_ready(READY_S)
        if code:
            raise self._no_files(code)
        self._pass(channel)
        self._counted = channel
        if self.devices[0].ldd3:
            self._watch_mappings()

    def _abandon(self, channel: NativeChannel) -> None:
        """As if it had not been started."""
        self._close_channel(channel)
        if self._mount is not None and self._held is None:
            mount.unmount(self._mount)

    def _pass(self, channel: NativeChannel) -> None:
        """Hands the files to the kernel, if it can do their I/O."""
        hand_over = self._held.hand_over if self._held is not None else self._hand_over
        numbers = [0] * len(self.devices)
        if lib.fileview_can_pass(channel.pointer):
            numbers = hand_over([device.store.file for device in self.devices])
        lib.fileview_settle(channel.pointer, [max(number, 0) for number in numbers])
        if self._view == PASSTHROUGH and not is_passed(numbers):
            why = self._why_no_passthrough(-min(numbers))
            raise MountError(errno.EOPNOTSUPP, f"no passthrough: {why}")
        for device in self.devices:
            device.passthrough = is_passed(numbers)

    def _why_no_passthrough(self, error: int) -> str:
        held = self._held
        is_admin = held.is_admin if held is not None else has_sys_admin(os.getpid())
        return why_no_passthrough(self.devices, is_admin, error)

    def _hand_over(self, files: list[int]) -> list[int]:
        return hand_over(self._number, files)

    def close(self) -> None:
        """Unmounts. A client that still has a file open gets ENOTCONN from now on, and SIGBUS
        where it has one mapped. LeftMountedError: the mount
        stays; all else has ended."""
        channel = self._channel
        if channel is None:
            return
        for device in self.devices:
            device.is_mapped = lambda: False
            device.passthrough = False
        self.forget()
        try:
            if self._mount is not None and self._held is None:
                mount.unmount(self._mount)
        finally:
            self._close_channel(channel)

    def forget(self) -> None:
        """The kernel is told of no more changes. Before the unmounting, while all calls are still
        answered: both wait for pages to be written back."""
        self._closing = True
        if self._channel is not None:
            lib.fileview_forget(self._channel.pointer)

    def _owner(self) -> tuple[int, int]:
        """Who owns the files: as said for the node, else whoever serves."""
        uid, gid = uid_of(self.devices[0].owner), gid_of(self.devices[0].group)
        ours = self._held.owner if self._held is not None else (os.getuid(), os.getgid())
        return ours[0] if uid < 0 else uid, ours[1] if gid < 0 else gid

    def _make_sessions(self, undo: contextlib.ExitStack) -> None:
        files: list[cuse.DataPathDevice] = [DeviceFile(device) for device in self.devices]
        served: dict[int, cuse.DataPathDevice] = dict(enumerate(files, start=lib.VIEW_FIRST))
        if self._mem:
            served[lib.VIEW_TEXT] = MemDevice(TEXT_NAME, self.devices)
        for node, file in served.items():
            self._watch(file)
            self._sessions[node] = Session(file, 1, self._hung_up)
            self._sessions[node].node = node
        for node, device in enumerate(self.devices, start=lib.VIEW_FIRST):
            if device.filters is not None:
                self._sessions[node].heed(device.filters)
        undo.callback(self._finish_sessions)

    def _open(self, uid: int, gid: int) -> NativeChannel:
        names = [ffi.new("char[]", os.fsencode(device.name)) for device in self.devices]
        text = ffi.new("char[]", TEXT_NAME.encode())
        files = ffi.new("struct fileview_file[]", len(names))
        for file, name, device in zip(files, names, self.devices, strict=True):
            file.name, file.store = name, device.store.pointer
            file.filters = device.filters.pointer if device.filters is not None else ffi.NULL
        setup = ffi.new("struct fileview_setup *")
        setup.files, setup.n_files = files, len(names)
        setup.text_name = text if self._mem else ffi.NULL
        setup.looker = self._looker()
        setup.budget = self.devices[0].shared.ground.budget.pointer
        setup.passthrough = self._view != DIRECT
        self._ledger = self._held.place.ledger() if self._held is not None else new_ledger()
        setup.ledger = self._ledger
        setup.uid, setup.gid, setup.mode = uid, gid, self.devices[0].mode
        assert self._fd is not None
        fd, self._fd = self._fd, None  # C closes it, also where it fails
        self._number = fd
        options = self.workers.options()
        try:
            return NativeChannel(self, lambda owner: lib.fileview_open(fd, setup, options, owner))
        except OSError as error:
            raise self._no_files(error.errno or errno.EIO) from None

    def _looker(self) -> int:
        if self._held is not None:
            return os.dup(self._held.looker)
        if self._mount is None:
            return -1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threading.Thread(target=look, args=(self.directory, theirs), daemon=True).start()
        return ours.detach()

    def _no_files(self, code: int) -> MountError:
        return MountError(code, f"no files in {self.directory}: {os.strerror(code)}")

    def _close_channel(self, channel: NativeChannel) -> None:
        self._channel = None
        with self._counting:
            self._counted = None
        for session in self._sessions.values():
            session.stop(0)
        channel.close(GRACE_S, self._complain)
        self._finish_sessions()

    def _complain(self) -> None:
        logger.error("%s: a call hangs; its thread is left behind", self.directory)

    def _finish_sessions(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.finish()

    # --- calls

    def upcall(self, call: Call) -> None:
        """Answers a call, on the view's one thread for calls."""
        if call.kind == lib.CALL_HANGUP:
            self._hung_up()
        elif call.kind == lib.CALL_REFUSED:
            warn_refused(logger, self.directory, call)
        elif call.kind in (lib.CALL_RESIZE, lib.CALL_REMOVE):
            lib.call_reply_error(call, self._empty(call.node))
        else:
            self._sessions[call.node].upcall(call)

    def _empty(self, node: int) -> int:
        """The file is truncated to nothing, or removed: its device is trimmed. An errno, or 0."""
        try:
            self.devices[node - lib.VIEW_FIRST].trim()
        except OSError as error:
            return error.errno or errno.EIO
        except Exception:
            logger.exception("emptying a file")
            return errno.EIO
        return 0

    def _hung_up(self) -> None:
        if self._closing:
            return
        self._ended.set()
        logger.warning("%s was unmounted", self.directory)
        if self._on_end is not None:
            self._on_end()

    # --- mappings

    def _watch_mappings(self) -> None:
        for node, device in enumerate(self.devices, start=lib.VIEW_FIRST):
            device.is_mapped = self._asker(node)

    def _asker(self, node: int) -> Callable[[], bool]:
        def is_mapped() -> bool:
            session = self._sessions.get(node)
            if session is None or not session.files or self._mount is None:
                return False  # a mapping keeps its file open
            look = self._held.is_mapped if self._held is not None else is_mapped_by_somebody
            return look(self._mount.device, node)

        return is_mapped
