"""Keeping: what a device in Python is, kept where the next worker finds it.

Handlers of a device that is kept run one at a time but where they wait (cuse.Condition,
cuse.sleep, await); when one has ended, what the device and the open file have become is saved with
its answer, by one store (csrc/channel/saved.c). So nothing is ever saved of a handler that has not
answered, but what it did before it waited."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cuse_scullv._native import ffi, lib
from cuse_scullv.state import open_files

from .device import WHOLE, Device, handlers, overrides
from .errors import DeviceError
from .file import File
from .request import Request

if TYPE_CHECKING:
    from cuse_scullv._native import CData

logger = logging.getLogger("cuse_scullv.cuse")

_AGAIN = ("release", "poll")  # nobody waits for more than that, and to ask changes nothing

_Method = TypeVar("_Method", bound=Callable[..., Any])


def retry(method: _Method) -> _Method:
    """Decorator of a handler that may be called again, from its start, with the same arguments,
    when the worker that ran it has died (`serve(recover=True)`). Without it its client gets EIO."""
    method._cuse_retry = True  # type: ignore[attr-defined]
    return method


class Keeping:
    """Of one device, as long as a worker serves it."""

    def __init__(self, device: Device, ledger: CData) -> None:
        """DeviceError (EINVAL) for a device that cannot be kept."""
        own = handlers(device)
        if overrides(device, "client_gone"):
            own.append(device.client_gone)
        kinds = {inspect.iscoroutinefunction(handler) for handler in own}
        if len(kinds) > 1:
            raise DeviceError(
                errno.EINVAL,
                f"the device {device.name!r} has both def and async def methods: to recover,"
                " write all of them in one way",
            )
        if device.transfers == WHOLE:
            raise DeviceError(
                errno.EINVAL,
                f"the device {device.name!r} has transfers = {WHOLE!r}, and cannot recover: a next"
                " worker would not know which parts of a system call it has taken",
            )
        self.lock = threading.Lock() if kinds == {False} else None
        """Held while a handler runs; None: they are all of the loop's."""
        self._device = device
        self._ledger = ledger
        self._saves = overrides(device, "save")

    def may_repeat(self, request: Request) -> bool:
        """Whether the request's handler, which a worker before had begun, may be called again."""
        if request.handler in _AGAIN:
            return True
        handler = getattr(self._device, request.handler)
        if request.handler == "ioctl" and request.call.cmd in self._device._ioctls:
            handler = getattr(self._device, self._device._ioctls[request.call.cmd].name)
        return getattr(handler, "_cuse_retry", False)

    # --- saving

    def save(self, request: Request) -> None:
        """What the device and the request's open file are counts with the answer that this thread
        gives next."""
        self._keep(request.file, request.handler, has_gone=request.handler == "release")

    def save_now(self, request: Request) -> None:
        """As save, of what no client waits for."""
        self._keep(request.file, request.handler, has_gone=False)
        lib.ledger_commit(self._ledger)

    def forget(self, file: File) -> None:
        """Of an open file that its client has never had."""
        self._keep(file, "open", has_gone=True)
        lib.ledger_commit(self._ledger)
        lib.ledger_disown(self._ledger, file._number)

    def _keep(self, file: File, handler: str, *, has_gone: bool) -> None:
        number = file._number
        if number and has_gone:
            lib.ledger_forget(self._ledger, number)
        try:
            self._put(0, self._saved(None))
            if number and not has_gone:
                self._put(number, self._saved(file))
        except Exception:
            logger.exception(
                "%s: not saved: after a death the device is what it was before %s()",
                self._device.name,
                handler,
            )

    def _saved(self, file: File | None) -> bytes:
        return bytes(self._device.save(file)) if self._saves else b""

    def _put(self, number: int, data: bytes) -> None:
        code = lib.ledger_save(self._ledger, number, ffi.from_buffer(data), len(data))
        if code < 0:
            what = "the device" if number == 0 else "an open file"
            raise OSError(-code, f"save() gave {len(data)} bytes for {what}: {os.strerror(-code)}")

    # --- restoring

    def restore(self, make: Callable[[int, int], File]) -> list[File]:
        """What the worker before has saved; `make` makes an open file of (number, flags)."""
        device = self._get(0)
        if device is not None and self._saves:
            self._device.restore(None, device)
        files = []
        for found in open_files(self._ledger):
            data = self._get(found.number)
            if data is None:  # its open() was not answered, or its release() was
                lib.ledger_disown(self._ledger, found.number)
                continue
            file = make(found.number, found.flags)
            if self._saves:
                self._device.restore(file, data)
            files.append(file)
        return files

    def _get(self, number: int) -> bytes | None:
        size = ffi.new("size_t *")
        data = lib.ledger_saved(self._ledger, number, size)
        return None if data == ffi.NULL else bytes(ffi.buffer(data, size[0]))
