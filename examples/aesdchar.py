"""aesdchar of the course Advanced Embedded Software Development: the last ten commands written.

A command ends with a newline; what does not waits for its rest. All ten are read as one text, of
which AESDCHAR_IOCSEEKTO names a place: which command, and which byte of it.

    sudo .venv/bin/python examples/aesdchar.py &
    echo swim > /dev/aesdchar; echo bike > /dev/aesdchar; cat /dev/aesdchar
"""

import ctypes
import errno
import threading
from collections import deque

from cuse_scullv import cuse

COMMANDS = 10  # AESDCHAR_MAX_WRITE_OPERATIONS_SUPPORTED


class SeekTo(ctypes.Structure):
    """struct aesd_seekto of the course's aesd_ioctl.h."""

    _fields_ = (("write_cmd", ctypes.c_uint32), ("write_cmd_offset", ctypes.c_uint32))


SEEK_TO = cuse.IOWR(0x16, 1, SeekTo)  # AESDCHAR_IOCSEEKTO


class AesdChar(cuse.Device):
    def __init__(self, name: str = "aesdchar") -> None:
        super().__init__(name, mode=0o666)
        self.lock = threading.Lock()
        self.commands = deque[bytes](maxlen=COMMANDS)
        self.begun = b""  # a command that has no newline yet

    def open(self, file: cuse.File) -> int:
        return 0  # file.state: its position

    def read(self, file: cuse.File, size: int) -> bytes:
        with self.lock:
            data = b"".join(self.commands)[file.state : file.state + size]
            file.state += len(data)
            return data

    def write(self, file: cuse.File, data: memoryview) -> None:
        with self.lock:
            self.begun += bytes(data)
            if self.begun.endswith(b"\n"):
                self.commands.append(self.begun)
                self.begun = b""

    @cuse.ioctl(SEEK_TO)
    def seek_to(self, file: cuse.File, place: SeekTo) -> SeekTo:
        with self.lock:
            sizes = [len(command) for command in self.commands]
            if not place.write_cmd_offset < dict(enumerate(sizes)).get(place.write_cmd, 0):
                raise OSError(errno.EINVAL, "no such byte")
            file.state = sum(sizes[: place.write_cmd]) + place.write_cmd_offset
        return place


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "aesdchar").parse_args()
    cuse.serve(AesdChar(asked.name), daemon=asked.daemon)
