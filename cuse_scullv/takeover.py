"""Taking over: a keeper becomes a newer version of its program, and keeps what it holds.

The process stays, and with it its descriptors and its mount; what they are is told in a file
without a name, which the environment names. The worker is ended before, as if it had died: with
`--recover` no client notices.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from cuse_scullv._native import lib
from cuse_scullv.mount import Mount

VARIABLE = "CUSE_SCULLV_TAKEN"
ASK_S = 60.0
"""How long the new program may take to say which state it reads, seconds."""


class TakeoverError(Exception):
    """The new program cannot take over: one line."""


@dataclass
class Taken:
    """What is handed on: descriptors by number, and what is known of them."""

    state: int
    files: list[int]
    """Of the devices' stores, in order."""
    limited: bool
    """The limit is kept by us, and not by their file system."""
    nodes: list[int]
    """Channels, in order."""
    made: list[bool]
    """Whether the entry in /dev was made by us."""
    fuse: int
    mounted: dict[str, Any] | None
    numbers: list[int]
    in_background: bool
    folder: str
    """That the command was typed in."""

    @property
    def mount(self) -> Mount | None:
        return Mount(**self.mounted) if self.mounted is not None else None

    def become(self) -> NoReturn:
        """The new program, by the words that started this one. Raises OSError."""
        note = os.memfd_create("scullv-taken", 0)
        os.write(note, json.dumps(dataclasses.asdict(self)).encode())
        for fd in (self.state, self.fuse, *self.files, *self.nodes):
            if fd >= 0:
                os.set_inheritable(fd, True)
        os.chdir(self.folder)
        words = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, words, {**os.environ, VARIABLE: str(note)})


def taken() -> Taken | None:
    """What a keeper before has handed on to this process; None: there was none."""
    note = os.environ.pop(VARIABLE, None)
    if note is None:
        return None
    fd = int(note)
    told = Taken(**json.loads(os.pread(fd, 1 << 20, 0)))
    os.close(fd)
    for kept in (told.state, told.fuse, *told.files, *told.nodes):
        if kept >= 0:
            os.set_inheritable(kept, False)
    return told


def check_program(folder: str) -> None:
    """Raises TakeoverError unless the program as it is installed now reads this one's state."""
    code = "from cuse_scullv._native import lib; print(lib.state_version())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=ASK_S,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise TakeoverError(f"the new program does not start: {said[-1]}")
    if done.stdout.strip() != str(lib.state_version()):
        raise TakeoverError(
            f"the new program reads state of version {done.stdout.strip()}, this one's is of"
            f" version {lib.state_version()}: stop it, and start it anew"
        )
