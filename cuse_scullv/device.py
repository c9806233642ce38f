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
from typing import Any

from cuse_scullv import cuse
from cuse_scullv._native import ffi, lib
from cuse_scullv.backing import Ground
from cuse_scullv.capability import has_sys_admin
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
    Text,
    Trim,
    decide,
)
from cuse_scullv.params import Geometry, Params
from cuse_scullv.scullvmem import scullvmem

logger = logging.getLogger(__name__)


class Shared:
    """What all devices of a server share: the pending parameters, and the memory limit."""

    def __init__(self, params: Params, ground: Ground) -> None:
        self.lock = threading.Lock()
        self.params = params  # under lock
        self.ground = ground
        self.devices = 0  # how many; set while they are made

    def decide(self, request: Request) -> Answer | Action:
        """`ioctl.decide` with the parameters in force, atomically. Raises its OSError."""
        with self.lock:
            verdict = decide(request, self.params)
            if isinstance(verdict, Answer):
                before, self.params = self.params, verdict.params
        if isinstance(verdict, Answer) and verdict.params != before:
            pending = verdict.params.pending
            logger.info("pending: quantum %d, qset %d", pending.quantum, pending.qset)
        return verdict


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
        if self.shared.ground.read_only and flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if flags & os.O_ACCMODE == os.O_WRONLY:
            self._trim_on_open()
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
                if offset == 0:
                    file.text = self.text()
                return self._done(verdict.reply(file.text))
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

    def open(self, file: cuse.File) -> OpenFile:
        return self.opened(file.flags)

    def handle(self, file: cuse.File) -> Any:
        return file.state.handle

    def release(self, file: cuse.File) -> None:
        self.released()

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        caller = file.caller.pid
        answer = self.control(
            file.state,
            Request(
                cmd=request.cmd,
                arg=request.arg,
                data=request.data,
                writable=file.writable,
                is_admin=lambda: has_sys_admin(caller),
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


class MemDevice(cuse.Device):
    """The node /dev/NAMEmem: the scullvmem text, made when it is opened."""

    def __init__(self, name: str, devices: Iterable[ScullDevice], **node: Any) -> None:
        super().__init__(name, **node)
        self._devices = tuple(devices)

    def open(self, file: cuse.File) -> _Snapshot:
        if file.writable:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return _Snapshot(scullvmem_text(self._devices))

    def read(self, file: cuse.File, size: int) -> bytes:
        assert isinstance(file.state, _Snapshot)
        return file.state.take(size)


class _Snapshot:
    """A text that is read piece by piece. A CUSE node has no position but the server's."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._position = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bytes:
        with self._lock:
            piece = self._text[self._position : self._position + size]
            self._position += len(piece)
            return piece
