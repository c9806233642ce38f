"""scullv's devices: what Python decides about them. READ and WRITE never come here.

Opening for writing only trims a device, which then adopts the pending parameters; ioctls are
judged by the pure table of ioctl.py, and what it asks for is done here. The node (through CUSE)
and the file view use the same device: both call `opened` and `control`.

Lock order: Shared.lock is held while parameters are decided and put in force, and around nothing
else; the store has locks of its own, which are not taken under it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cuse_scullv import cuse
from cuse_scullv._native import ffi, lib
from cuse_scullv.backing import Ground
from cuse_scullv.capability import has_sys_admin
from cuse_scullv.counts import Count, Counts
from cuse_scullv.cuse.filters import Filters
from cuse_scullv.ioctl import (
    FLAG_BYTES,
    FLAG_LDD3,
    FLAG_PASSTHROUGH,
    Action,
    Answer,
    Info,
    Information,
    Punch,
    Request,
    Seek,
    Statistics,
    Text,
    Trim,
    decide,
)
from cuse_scullv.params import Geometry, Params
from cuse_scullv.scullvmem import scullvmem
from cuse_scullv.state import State
from cuse_scullv.store import Budget, Store

if TYPE_CHECKING:
    from cuse_scullv._native import CData

logger = logging.getLogger(__name__)

_TEXT_QUANTUM = 1 << 16  # bytes


class Shared:
    """What all devices of a server share: the pending parameters, and the memory limit."""

    def __init__(self, params: Params, ground: Ground, state: State | None = None) -> None:
        """`state`: where the parameters outlive this process."""
        self.lock = threading.Lock()
        self._state = state
        self.params = params  # under lock
        self.ground = ground
        self.devices = 0  # how many; set while they are made
        self.is_admin: Callable[[int], bool] = has_sys_admin
        """Whether the thread of this number has CAP_SYS_ADMIN: not everybody may look."""
        self.view_statistics: Callable[[], cuse.Statistics] = cuse.Statistics
        """Of the channel of the file view, if there is one."""
        self.deaths: Callable[[], int] = int
        """Of workers that were followed by another."""

    def decide(self, request: Request) -> Answer | Action:
        """`ioctl.decide` with the parameters in force, atomically. Raises its OSError."""
        with self.lock:
            replayed = self._state.replayed_pending() if self._state is not None else None
            if replayed is not None:
                return decide(request, self.params.with_pending(replayed))
            before = self.params
            verdict = decide(request, before)
            if not isinstance(verdict, Answer) or verdict.params == before:
                return verdict
            pending = verdict.params.pending
            if self._state is not None:
                self._state.set_pending(before.pending, pending)
            self.params = verdict.params
        logger.info("pending: quantum %d, qset %d", pending.quantum, pending.qset)
        return verdict

    def recall(self) -> None:
        """Takes over the parameters that a worker before this one has left."""
        pending = self._state.pending if self._state is not None else None
        if pending is not None:
            self.params = self.params.with_pending(pending)


@dataclass
class OpenFile:
    """A file open on a scullv device."""

    handle: Any
    """The `struct handle *` with the position; the channel's, which frees it after release."""
    text: bytes = field(default=b"", repr=False)
    """The scullvmem text that TEXT is in the midst of handing out."""


class ScullDevice(cuse.DataPathDevice):
    """One device of scullv: a store, and the rules it is opened and controlled by."""

    def __init__(self, name: str, shared: Shared, number: int = 0, **node: Any) -> None:
        """`number`: among the devices of `shared`, from 0. `node`: as `cuse.Device` takes it."""
        super().__init__(name, **node)
        self.shared = shared
        self.number = number
        self.ldd3 = shared.params.ldd3
        pending = shared.params.pending
        self.store = shared.ground.store(number, pending)
        self.passthrough = False
        """Whether the kernel does the file view's I/O by itself."""
        self.is_mapped: Callable[[], bool] = lambda: False
        """Whether the device is known to be mapped: it is not trimmed then, as in the book."""
        self.filters: Filters | None = None
        """What befalls requests of the node and of the file; None: nothing."""
        self.statistics: Callable[[], cuse.Statistics] = cuse.Statistics
        """Of the channel of the node, if there is one."""
        self._opens = 0
        self._opens_lock = threading.Lock()
        shared.devices += 1

    def close(self) -> None:
        """Gives the store back, whose bytes are safe then if it is a file. No channel or file view
        may serve the device any more."""
        try:
            self.store.sync()
        except OSError as error:
            logger.error("%s: its last bytes may be lost: %s", self.name, error.strerror)
        self.store.close()

    # --- what the node and the file view have in common

    def opened(self, flags: int) -> OpenFile:
        """An open file; `flags` as in open(2). Its position is 0.

        Only the access mode matters: O_WRONLY trims. O_TRUNC and O_APPEND say nothing to the
        book's device. Raises OSError: ENOMEM; EROFS, to a writer of what can only be read.
        """
        if self.shared.ground.read_only and flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if flags & os.O_ACCMODE == os.O_WRONLY:
            self._trim_on_open()
        return self.reopened()

    def reopened(self) -> OpenFile:
        """An open file, of one that was opened by a worker before. Raises OSError: ENOMEM."""
        handle = lib.handle_new(self.store.pointer, self.ldd3)
        if handle == ffi.NULL:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        with self._opens_lock:
            self._opens += 1
        return OpenFile(handle)

    def released(self) -> None:
        """An open file has gone."""
        with self._opens_lock:
            self._opens -= 1

    def filter(self, filters: Filters) -> None:
        """Requests come by these, before it is served. Who may change them is asked as who may
        change parameters; nobody while the kernel does the file's I/O without us."""
        filters.is_admin = lambda pid: self.shared.is_admin(pid)
        filters.forbids = lambda: errno.EOPNOTSUPP if self.passthrough else 0
        self.filters = filters

    def trim(self) -> None:
        """Empties the device, which gives its memory back and adopts the pending parameters.

        Raises OSError: EBUSY while it is mapped, as far as that is known; ENOMEM. Nothing changes
        then.
        """
        if self.is_mapped():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        pending = self.shared.params.pending
        self.store.trim(pending.quantum, pending.qset)
        logger.info("%s: trimmed: quantum %d, qset %d", self.name, pending.quantum, pending.qset)

    def control(self, file: OpenFile, request: Request) -> Answer:
        """Does what an ioctl asks for. Raises OSError, and nothing has changed."""
        verdict = self.shared.decide(request)
        match verdict:
            case Answer():
                return verdict
            case Seek(offset, whence):
                position = lib.handle_seek(file.handle, offset, whence)
                if position < 0:
                    raise OSError(-position, os.strerror(-position))
                return self._done(verdict.reply(position))
            case Trim():
                self.trim()
                self.store.sync()
            case Punch(offset, length):
                self.store.punch(offset, length)
            case Info():
                return self._done(self.information().pack())
            case Text(offset):
                if offset == 0 or not file.text:
                    file.text = self.text()
                return self._done(verdict.reply(file.text))
            case Statistics(view):
                return self._done(self.counts(view).pack())
        return self._done()

    def information(self) -> Information:
        """The state of the device, as INFO tells it."""
        store = self.store.info()
        params = self.shared.params
        return Information(
            size=store.size,
            quantum=store.quantum,
            region_bytes=store.region_bytes,
            regions=store.regions,
            resident_bytes=store.resident,
            limit=self.shared.ground.limit,
            used=self.shared.ground.used,
            index_bytes=store.index_bytes,
            pending_quantum=params.pending.quantum,
            qset=store.qset,
            pending_qset=params.pending.qset,
            order=Geometry(store.quantum, store.qset).order,
            page_size=os.sysconf("SC_PAGE_SIZE"),
            flags=self._flags(),
            number=self.number,
            devices=self.shared.devices,
            opens=self._opens,
        )

    def counts(self, view: bool) -> Counts:
        """What was answered, as STATISTICS tells it: by the file view, or by the node."""
        counted = self.shared.view_statistics() if view else self.statistics()
        operations = {
            name: Count(each.bytes, each.errors, round(each.seconds * 1e9), each.latency)
            for name, each in counted.operations.items()
        }
        return Counts(operations, counted.under_way, counted.placement, self.shared.deaths())

    def measures(self) -> dict[str, float]:
        """For Prometheus. Counts no quanta, which would take long."""
        store = self.store.info(count=False)
        return {
            "scullv_size_bytes": store.size,
            "scullv_memory_bytes": store.resident,
            "scullv_index_bytes": store.index_bytes,
            "scullv_open_files": self._opens,
        }

    def _flags(self) -> int:
        by_bytes = self.shared.params.preset.orders_are_bytes
        return (
            (FLAG_LDD3 if self.ldd3 else 0)
            | (FLAG_BYTES if by_bytes else 0)
            | (FLAG_PASSTHROUGH if self.passthrough else 0)
            | self.shared.ground.flags
        )

    def text(self) -> bytes:
        """The scullvmem text of this device."""
        store = self.store.info()
        geometry = Geometry(store.quantum, store.qset)
        lines = scullvmem(self.number, geometry, store.size, self.store.next_quantum)
        return "".join(lines).encode("ascii")

    # --- the node

    def open(self, file: cuse.File) -> Any:
        return self.opened(file.flags)

    def reopen(self, file: cuse.File) -> OpenFile:
        return self.reopened()

    def handle(self, file: cuse.File) -> Any:
        return file.state.handle

    def release(self, file: cuse.File) -> None:
        self.released()

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        return self.controlled(file, request)

    def controlled(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        """Does what a client's ioctl asks for, of a node or of a file. Raises OSError."""
        caller = file.caller.pid
        answer = self.control(
            file.state,
            Request(
                cmd=request.cmd,
                arg=request.arg,
                data=request.data,
                writable=file.writable,
                is_admin=lambda: self.shared.is_admin(caller),
            ),
        )
        return cuse.IoctlReply(answer.result, answer.data)

    # --- inside

    def _trim_on_open(self) -> None:
        try:
            self.trim()
        except OSError as error:
            # The book: `scullv_trim(dev); /* ignore errors */`. To a caller who counts on an empty
            # device that is a trap, so only a mapping, which is no failure, is passed over.
            if error.errno != errno.EBUSY and not self.ldd3:
                raise

    def _done(self, data: bytes = b"") -> Answer:
        return Answer(self.shared.params, data=data)


def scullvmem_text(devices: Iterable[ScullDevice]) -> bytes:
    """The text of scullvmem for all devices of a server, in order."""
    return b"".join(device.text() for device in devices)


@dataclass
class OpenText:
    """A text that is read as a file: as it was at the moment of opening."""

    handle: CData

    @classmethod
    def of(cls, text: bytes) -> OpenText:
        """Raises OSError: ENOMEM."""
        # A store of its own, so that C answers the reads. The open file keeps it alive.
        store = Store(Budget(len(text) + _TEXT_QUANTUM), _TEXT_QUANTUM, 1)
        try:
            handle = ffi.NULL
            if lib.store_write(store.pointer, 0, text, len(text)) == len(text):
                handle = lib.handle_new(store.pointer, False)
        finally:
            store.close()
        if handle == ffi.NULL:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return cls(handle)


class MemDevice(cuse.DataPathDevice):
    """The text of scullvmem, made when it is opened: the node /dev/NAMEmem, and the file scullvmem
    of a view."""

    def __init__(self, name: str, devices: Iterable[ScullDevice], **node: Any) -> None:
        super().__init__(name, **node)
        self._devices = tuple(devices)

    def open(self, file: cuse.File) -> OpenText:
        if file.writable:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return self.reopen(file)

    def reopen(self, file: cuse.File) -> OpenText:
        return OpenText.of(scullvmem_text(self._devices))

    def handle(self, file: cuse.File) -> CData:
        return file.state.handle
