"""Serves a device both ways: to a fake kernel in this process, and as a file of the directory that
is its argument. Does with the node what each line on stdin says (tests/views.py: NodeAndFile)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from cuse_scullv import cuse, ioctl
from cuse_scullv.cuse.testing import FakeKernel
from cuse_scullv.server.daemon import make_devices
from cuse_scullv.view.fileview import FileView
from nodes import seek, to_settings


class Node:
    """The device's node, as a client has it open."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._file = kernel.open(os.O_RDWR)

    def write(self, offset: int, data: str) -> int:
        seek(self._file, offset)
        return self._file.write(bytes.fromhex(data))

    def read(self, offset: int, size: int) -> str:
        seek(self._file, offset)
        return self._file.read(size).hex()

    def trim(self) -> None:
        self._file.ioctl(ioctl.TRIM)

    def punch(self, offset: int, length: int) -> None:
        self._file.ioctl(ioctl.PUNCH, ioctl.pack_range(offset, length))

    def hammer(self, seconds: float) -> int:
        end = time.monotonic() + seconds
        rounds = 0

        def trims() -> None:
            with contextlib.closing(self._kernel.open(os.O_RDWR)) as file:
                while time.monotonic() < end:
                    file.ioctl(ioctl.TRIM)

        other = threading.Thread(target=trims)
        other.start()
        while time.monotonic() < end:
            seek(self._file, 0)
            self._file.write(bytes([rounds % 255 + 1]) * 100_000)
            rounds += 1
        other.join()
        return rounds

    def close(self) -> None:
        self._file.close()


def main() -> None:
    with contextlib.ExitStack() as stack:
        (device,) = make_devices(to_settings())
        stack.callback(device.close)
        kernel = stack.enter_context(FakeKernel())
        stack.enter_context(cuse.Channel(device, fd=kernel.server_fd))
        kernel.init()
        stack.enter_context(FileView([device], sys.argv[1]))
        node = stack.enter_context(contextlib.closing(Node(kernel)))
        print(json.dumps(device.name), flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            operation: Callable[..., Any] = getattr(node, name)
            print(json.dumps(operation(*arguments)), flush=True)


if __name__ == "__main__":
    main()
