"""The looker: looks names of a file view up, so that the kernel learns the sizes of the files.

It is a client of the view, and may have to wait for the next worker to be answered. So it is no
part of a worker, which could neither be answered then nor end; and it may look where a worker may
not.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

_NUMBER = 8  # bytes
_MESSAGE = 512


def look(directory: Path, questions: socket.socket) -> None:
    """Answers questions until the other end is closed (csrc/view/invalidate.c asks them)."""
    with contextlib.suppress(ConnectionError):
        while question := questions.recv(_MESSAGE):
            with contextlib.suppress(OSError):  # somebody unmounts just now
                (directory / os.fsdecode(question[_NUMBER:])).lstat()
            questions.send(question[:_NUMBER])
