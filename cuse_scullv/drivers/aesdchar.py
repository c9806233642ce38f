"""aesdchar, of the course Advanced Embedded Software Development: the last ten commands written.

A command ends with a newline; what does not waits for its rest. All ten are read as one text, of
which AESDCHAR_IOCSEEKTO names a place: which command, and which byte of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections import deque
from typing import Any

from cuse_scullv import cuse

COMMANDS = 10
"""AESDCHAR_MAX_WRITE_OPERATIONS_SUPPORTED"""
COMMAND_MAX = 256 << 10
"""Bytes of one, so that a client that writes no newline fills no memory. ENOMEM."""


class SeekTo(ctypes.Structure):
    """struct aesd_seekto of the course's aesd_ioctl.h."""

    _fields_ = (("write_cmd", ctypes.c_uint32), ("write_cmd_offset", ctypes.c_uint32))


SEEK_TO = cuse.IOWR(0x16, 1, SeekTo)  # AESDCHAR_IOCSEEKTO


class AesdChar(cuse.Device):
    def __init__(self, name: str = "aesdchar", **node: Any) -> None:
        super().__init__(name, **node)
        self._lock = threading.Lock()  # guards what follows
        self._commands = deque[bytes](maxlen=COMMANDS)
        self._begun = b""  # a command that has no newline yet

    def open(self, file: cuse.File) -> int:
        return 0  # file.state: its position

    def read(self, file: cuse.File, size: int) -> bytes:
        with self._lock:
            data = b"".join(self._commands)[file.state : file.state + size]
            file.state += len(data)
            return data

    def write(self, file: cuse.File, data: memoryview) -> None:
        with self._lock:
            if len(self._begun) + len(data) > COMMAND_MAX:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            self._begun += data
            if self._begun.endswith(b"\n"):
                self._commands.append(self._begun)
                self._begun = b""

    @cuse.ioctl(SEEK_TO)
    def seek_to(self, file: cuse.File, place: SeekTo) -> SeekTo:
        """EINVAL: there is no such command, or no such byte in it."""
        with self._lock:
            sizes = [len(command) for command in self._commands]
            if not place.write_cmd_offset < dict(enumerate(sizes)).get(place.write_cmd, 0):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            file.state = sum(sizes[: place.write_cmd]) + place.write_cmd_offset
        return place

    def save(self, file: cuse.File | None) -> bytes:
        if file is not None:
            return int(file.state).to_bytes(8, "little")
        with self._lock:
            texts = (*self._commands, self._begun)
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        if file is not None:
            file.state = int.from_bytes(data, "little")
            return
        texts = []
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            texts.append(data[4:end])
            data = data[end:]
        *commands, self._begun = texts
        self._commands.extend(commands)
