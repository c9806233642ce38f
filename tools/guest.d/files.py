"""The streams of a command that was not started at a terminal: it reads nothing, and what it writes
goes by files of the control folder, which survive whatever becomes of the guest."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Tail:
    """Copies what is appended to a file of the control folder to one of our own descriptors."""

    def __init__(self, path: Path, target: int) -> None:
        path.touch()
        self.source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.target = target

    def copy(self) -> bool:
        moved = False
        while data := os.read(self.source, 1 << 20):
            moved = True
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self.target, view) :]
            except OSError:  # nobody reads: `tools/guest … | head`
                self.target = os.open(os.devnull, os.O_WRONLY)
        return moved


class Files:
    """stdout and stderr, by the files `out` and `err`."""

    def __init__(self, control: Path) -> None:
        self.guest_end = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._tails = [Tail(control / "out", 1), Tail(control / "err", 2)]

    def begin(self, control: Path) -> None:
        pass

    def move(self, pause: float) -> bool:
        moved = [tail.copy() for tail in self._tails]
        if not any(moved):
            time.sleep(pause)
        return any(moved)

    def close(self) -> None:
        os.close(self.guest_end)
        for tail in self._tails:
            os.close(tail.source)
