"""An echo file on mfusepy: FOLDER/echo."""

from __future__ import annotations

import errno
import itertools
import stat
import sys
from typing import Any

import mfusepy


class Echo(mfusepy.Operations):
    """Each open file gives back what was written to it last."""

    use_ns = True

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.last: dict[int, bytes] = {}

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != "/echo":
            raise mfusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1, "st_size": 0}

    def open(self, path: str, flags: int) -> int:
        fh = next(self.numbers)
        self.last[fh] = b""
        return fh

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self.last[fh] = data
        return len(data)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return self.last[fh][:size]


if __name__ == "__main__":
    mfusepy.FUSE(Echo(), sys.argv[1], foreground=True, direct_io=True)
