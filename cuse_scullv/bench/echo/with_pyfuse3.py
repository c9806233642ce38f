"""An echo file on pyfuse3: FOLDER/echo."""

from __future__ import annotations

import errno
import os
import stat
import sys

import pyfuse3
import trio

FILE = pyfuse3.ROOT_INODE + 1
MODE = {pyfuse3.ROOT_INODE: stat.S_IFDIR | 0o755, FILE: stat.S_IFREG | 0o666}


class Echo(pyfuse3.Operations):
    """Each open file gives back what was written to it last."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[int, bytes] = {}

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = MODE[inode]
        return entry

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if name != b"echo":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(FILE, ctx)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        fh = len(self.last) + 1
        self.last[fh] = b""
        return pyfuse3.FileInfo(fh=fh, direct_io=True)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        self.last[fh] = bytes(buf)
        return len(buf)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return self.last[fh][:size]


def main(folder: str) -> None:
    options = set(pyfuse3.default_options)
    options.add("fsname=echo")
    pyfuse3.init(Echo(), folder, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main(os.path.realpath(sys.argv[1]))
