"""An echo device on cuse_scullv.cuse: a node, with plain functions as methods."""

from __future__ import annotations

import sys

from cuse_scullv import cuse


class Echo(cuse.Device):
    """Each open file gives back what was written to it last."""

    def open(self, file: cuse.File) -> list[bytes]:
        return [b""]

    def write(self, file: cuse.File, data: memoryview) -> int:
        file.state[0] = bytes(data)
        return len(data)

    def read(self, file: cuse.File, size: int) -> bytes:
        last: bytes = file.state[0]
        return last[:size]


if __name__ == "__main__":
    cuse.serve(Echo(sys.argv[1]))
