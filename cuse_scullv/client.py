"""A scullv device for programs: a file-like object on its node, or on its file in a file view.

    from cuse_scullv import client

    with client.open("/dev/scullv", "r+") as device:
        device.write(b"hello")
        device.seek(0)
        device.read(5)

A CUSE node has no lseek: the kernel answers 0 and does nothing. `seek` and `tell` here ask the
device itself, by the SEEK ioctl; on a file view they are lseek(2).

What is read and written is not buffered. `io.BufferedRandom(client.open(…))` buffers.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import struct
from typing import TYPE_CHECKING

from cuse_scullv import ioctl
from cuse_scullv.counts import Counts
from cuse_scullv.ioctl import NUMBERS, Information
from cuse_scullv.params import SCULLV, Geometry, quantum_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

PARAMETERS = ("order", "quantum", "qset")
"""What `get` and `set` take: pages as a power of two, bytes, quanta of a set."""

_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w": os.O_WRONLY | os.O_TRUNC,
    "w+": os.O_RDWR | os.O_TRUNC,
    "a": os.O_RDWR,
    "a+": os.O_RDWR,
}
_INT = struct.Struct("=i")
_OWN = {"order": "SCULLV_IOCSORDER", "quantum": "SCULL_IOCSQUANTUM", "qset": "SCULLV_IOCSQSET"}


class Scullv(io.RawIOBase):
    """An open scullv device. Made by `open`; closes its file descriptor when it is closed.

    Every method raises OSError as the system call under it does. ENOTTY: not a scullv device.
    """

    def __init__(self, fd: int, name: str | os.PathLike[str] | int) -> None:
        """Takes `fd` over. `name` is for error messages."""
        self.name = name
        self._fd = fd
        self._access = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        self.is_node = stat.S_ISCHR(os.fstat(fd).st_mode)
        """Whether it is a node; else a file of a file view."""

    # --- io.RawIOBase

    def fileno(self) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._fd

    def readable(self) -> bool:
        return self._access != os.O_WRONLY

    def writable(self) -> bool:
        return self._access != os.O_RDONLY

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Bytes read at the position, which moves on; 0 at the end."""
        return os.readv(self.fileno(), [buffer])

    def write(self, data: ReadableBuffer, /) -> int:
        """Bytes written at the position, which moves on: fewer than given at the memory limit."""
        return os.write(self.fileno(), data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves the position and returns it, in bytes. `whence` may be SEEK_DATA or SEEK_HOLE."""
        if not self.is_node:
            return os.lseek(self.fileno(), offset, whence)
        return ioctl.unpack_seek(self._ioctl(ioctl.SEEK, ioctl.pack_seek(offset, whence)))

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None, /) -> int:
        """Cuts or extends to `size` bytes (None: to the position). Only a file view can."""
        size = self.tell() if size is None else size
        if self.is_node:
            raise io.UnsupportedOperation("a node cannot be truncated: trim() it")
        os.ftruncate(self.fileno(), size)
        return size

    # --- scullv's own

    def trim(self) -> None:
        """Empties the device: its memory goes back, and it adopts the pending parameters.

        EPERM unless the file is open for writing or the caller has CAP_SYS_ADMIN; EBUSY while
        the device is known to be mapped."""
        self._ioctl(ioctl.TRIM)

    def punch(self, offset: int, length: int) -> None:
        """Makes `length` bytes from `offset` read as zeros; whole quanta give their memory back.
        EPERM as `trim`."""
        if offset < 0 or length <= 0:
            raise ValueError("punch: the offset must be 0 or more and the length 1 or more")
        self._ioctl(ioctl.PUNCH, ioctl.pack_range(offset, length))

    def info(self) -> Information:
        """The state of the device."""
        return Information.unpack(self._ioctl(ioctl.INFO, bytes(ioctl.INFO >> 16 & 0x3FFF)))

    def statistics(self, *, view: bool = False) -> Counts:
        """What was answered since the process that serves began: of the node, or of the file view
        of all devices together."""
        command = ioctl.VIEW_STATISTICS if view else ioctl.STATISTICS
        return Counts.unpack(self._ioctl(command, bytes(command >> 16 & 0x3FFF)))

    def text(self) -> str:
        """The book's scullvmem text about this device: its items, and the quanta of the last."""
        pieces: list[bytes] = []
        offset = 0
        while not pieces or pieces[-1]:
            reply = self._ioctl(ioctl.TEXT, ioctl.pack_text(offset))
            pieces.append(ioctl.unpack_text(reply))
            offset += len(pieces[-1])
        return b"".join(pieces).decode("ascii")

    def get(self, parameter: str) -> int:
        """A pending parameter: "order", "quantum" (bytes) or "qset"."""
        if parameter not in PARAMETERS:
            raise ValueError(_no_parameter(parameter))
        info = self.info()
        pending = Geometry(info.pending_quantum, info.pending_qset)
        return {"order": pending.order, "quantum": pending.quantum, "qset": pending.qset}[parameter]

    def set(self, parameter: str, value: int) -> None:
        """Changes a pending parameter, which every device of the server adopts at its next trim.

        Raises ValueError for a value that no device can have; OSError: EPERM as `trim`."""
        check_parameter(parameter, value)
        if parameter != "qset" and self.info().flags & ioctl.FLAG_BYTES:
            quantum = quantum_of(value) if parameter == "order" else value
            self._set("SCULLV_IOCSORDER", quantum)
            return
        try:
            self._set(_OWN[parameter], value)
        except OSError as error:
            # By the book's rules (--ldd3) a device answers only one family of ioctls.
            if error.errno != errno.ENOTTY:
                raise
            self._set(*_translate(parameter, value))

    def reset(self) -> None:
        """Puts the pending parameters back to the preset's. EPERM as `trim`."""
        try:
            self._ioctl(NUMBERS["SCULLV_IOCRESET"])
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            self._ioctl(NUMBERS["SCULL_IOCRESET"])

    def _set(self, command: str, value: int) -> None:
        self._ioctl(NUMBERS[command], _INT.pack(value))

    def _ioctl(self, command: int, data: bytes | None = None) -> bytes:
        try:
            if data is None:
                fcntl.ioctl(self.fileno(), command)
                return b""
            room = bytearray(data)  # more than 1,024 bytes are copied into it (fcntl.ioctl)
            fcntl.ioctl(self.fileno(), command, room)
            return bytes(room)
        except OSError as error:
            reason = error.strerror
            if error.errno == errno.ENOTTY:
                reason = "not a scullv device"
            raise OSError(error.errno, reason, self.name) from None


def open(path: str | os.PathLike[str], mode: str = "r") -> Scullv:
    """Opens the device at `path`, a node or a file of a file view.

    `mode` is as for the built-in open, always binary: "r", "r+", and "w", which trims the device
    (so does "w+"); "a" starts at the end. Raises OSError, and ValueError for another mode.
    """
    kind = mode.replace("b", "", 1)
    if kind not in _MODES:
        raise ValueError(f"mode {mode!r}: give one of {', '.join(_MODES)}, with or without b")
    device = Scullv(os.open(path, _MODES[kind] | os.O_CLOEXEC), path)
    try:
        if kind == "w+":
            device.trim()  # which only opening for writing alone does by itself
        if kind.startswith("a"):
            device.seek(0, os.SEEK_END)
    except BaseException:
        device.close()
        raise
    return device


def check_parameter(parameter: str, value: int) -> None:
    """Raises ValueError, of one line, unless a device can have `value` as `parameter`."""
    if parameter not in PARAMETERS:
        raise ValueError(_no_parameter(parameter))
    change = {
        "order": SCULLV.geometry.with_order,
        "quantum": SCULLV.geometry.with_quantum,
        "qset": SCULLV.geometry.with_qset,
    }
    change[parameter](value)


def _translate(parameter: str, value: int) -> tuple[str, int]:
    """The command and value that say the same in the other family of ioctls."""
    if parameter == "qset":
        return "SCULL_IOCSQSET", value
    if parameter == "order":
        return "SCULL_IOCSQUANTUM", quantum_of(value)
    geometry = SCULLV.geometry.with_quantum(value)
    if not geometry.is_order:
        raise ValueError(
            f"this device has quanta of a power of two of pages: no quantum of {value} bytes"
        )
    return "SCULLV_IOCSORDER", geometry.order


def _no_parameter(name: str) -> str:
    return f"no parameter {name!r}: give one of {', '.join(PARAMETERS)}"
