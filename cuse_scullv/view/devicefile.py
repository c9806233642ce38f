"""DeviceFile: what Python says to a device's file in a view."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from cuse_scullv import cuse, ioctl
from cuse_scullv.device import OpenFile, ScullDevice

if TYPE_CHECKING:
    from cuse_scullv._native import CData


class DeviceFile(cuse.DataPathDevice):
    """A device by way of its file. A file is a file: opening it for writing empties nothing, and
    its position is the kernel's."""

    def __init__(self, device: ScullDevice) -> None:
        super().__init__(device.name)
        self._device = device

    def open(self, file: cuse.File) -> OpenFile:
        writes = file.flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)
        return self._device.opened(os.O_RDWR if writes else os.O_RDONLY)  # what does not trim

    def reopen(self, file: cuse.File) -> OpenFile:
        return self._device.reopened()

    def handle(self, file: cuse.File) -> CData:
        return file.state.handle

    def release(self, file: cuse.File) -> None:
        self._device.released()

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        if request.cmd == ioctl.SEEK:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return self._device.controlled(file, request)
