"""A channel of /dev/cuse without libfuse or the server: what the kernel itself says and does."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

IN_HEADER = struct.Struct("<IIQQIIIHH")  # struct fuse_in_header
OUT_HEADER = struct.Struct("<IiQ")  # struct fuse_out_header
_INIT_OUT = struct.Struct("<IIIIIIII40x")  # struct cuse_init_out
_MESSAGE_MAX = (1 << 17) + 4096
_MAX_WRITE = 1 << 17


class RawChannel:
    """Context manager: the device NAME, all of whose requests the test has to answer."""

    def __init__(self, name: str) -> None:
        self.path = Path(f"/dev/{name}")
        self.fd = os.open("/dev/cuse", os.O_RDWR | os.O_CLOEXEC)
        unique = IN_HEADER.unpack_from(os.read(self.fd, _MESSAGE_MAX))[2]
        init = _INIT_OUT.pack(7, 31, 0, 1, _MAX_WRITE, _MAX_WRITE, 0, 0)
        self.answer(unique, init + f"DEVNAME={name}\0".encode())
        deadline = time.monotonic() + 20.0
        while not self.path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __enter__(self) -> RawChannel:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)

    def answer(self, unique: int, data: bytes = b"", error: int = 0) -> int:
        """Bytes that the kernel took; OSError where it took none."""
        out = OUT_HEADER.pack(OUT_HEADER.size + len(data), error, unique)
        return os.write(self.fd, out + data)
