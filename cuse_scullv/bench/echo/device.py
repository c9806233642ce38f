"""An echo device on cuse_scullv.cuse: a node, with plain functions as methods."""

from __future__ import annotations

import sys

from cuse_scullv import cuse


class Echo(cuse.Device):
    """Each open file gives back what was written to it last."""

    def open(self, file: cuse.File) -> memoryview:
        return memoryview(b"")

    def write(self, file: cuse.File, data: memoryview) -> int:
        file.state = data
        return len(data)

    def read(self, file: cuse.File, size: int) -> memoryview:
        last: memoryview = file.state
        return last[:size]


if __name__ == "__main__":
    cuse.serve(Echo(sys.argv[1]))
