"""Taking over: a keeper goes on with what one before held, and no client notices.

Either the process becomes a newer version of its program, and keeps its descriptors and its mount;
what they are is told in a file without a name, which the environment names. The worker is ended
before, as if it had died. Or the keeper died, and the service manager had kept the descriptors
(fdstore.py), that file among them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from cuse_scullv._native import lib
from cuse_scullv.backing import Inherited
from cuse_scullv.server import fdstore
from cuse_scullv.view.mount import Mount

VARIABLE = "CUSE_SCULLV_TAKEN"
ASK_S = 60.0
"""How long the new program may take to say which state it reads, seconds."""
NOTE = "note"


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
    """-1: there is no view."""
    mounted: dict[str, Any] | None
    numbers: list[int]
    in_background: bool
    folder: str
    """That the command was typed in."""
    served: list[str]
    """As Settings.served_from its folder."""

    @property
    def inherited(self) -> Inherited:
        return Inherited(self.files, self.limited)

    @property
    def mount(self) -> Mount | None:
        return Mount(**self.mounted) if self.mounted is not None else None

    @property
    def descriptors(self) -> dict[str, int]:
        """By names that are the same in every process."""
        kept = {"state": self.state, "fuse": self.fuse}
        kept |= {f"file{number}": fd for number, fd in enumerate(self.files)}
        kept |= {f"node{number}": fd for number, fd in enumerate(self.nodes)}
        return {name: fd for name, fd in kept.items() if fd >= 0}

    def renumbered(self, descriptors: Mapping[str, int]) -> Taken:
        """The same in a process where they have these numbers. Raises KeyError."""
        return dataclasses.replace(
            self,
            state=descriptors["state"],
            fuse=descriptors["fuse"] if self.fuse >= 0 else -1,
            files=[descriptors[f"file{number}"] for number in range(len(self.files))],
            nodes=[descriptors[f"node{number}"] for number in range(len(self.nodes))],
        )

    def note(self) -> int:
        """All of it in a file without a name; the caller closes it. Raises OSError."""
        fd = os.memfd_create("scullv-taken", os.MFD_CLOEXEC)
        self.write(fd)
        return fd

    def write(self, note: int) -> None:
        """In place of what the note says. Raises OSError."""
        os.ftruncate(note, 0)
        os.pwrite(note, json.dumps(dataclasses.asdict(self)).encode(), 0)

    def become(self) -> NoReturn:
        """The new program, by the words that started this one. Raises OSError."""
        note = self.note()
        for fd in (note, *self.descriptors.values()):
            os.set_inheritable(fd, True)
        os.chdir(self.folder)
        words = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, words, {**os.environ, VARIABLE: str(note)})


def taken() -> Taken | None:
    """What a keeper before has handed on to this process; None: there was none. Raises
    TakeoverError."""
    note = os.environ.pop(VARIABLE, None)
    if note is not None:
        told = _read(int(note))
        for fd in told.descriptors.values():
            os.set_inheritable(fd, False)
        return told
    descriptors = fdstore.found()
    if NOTE not in descriptors:
        return None
    try:
        return _read(descriptors[NOTE]).renumbered(descriptors)
    except KeyError as error:
        raise TakeoverError(
            f"the service manager has lost the descriptor {error} of the server before:"
            " make FileDescriptorStoreMax= larger"
        ) from None


def _read(note: int) -> Taken:
    try:
        return Taken(**json.loads(os.pread(note, 1 << 20, 0)))
    except (TypeError, ValueError):
        raise TakeoverError(
            "what the server before has left is of another version: stop it, and start it anew"
        ) from None
    finally:
        os.close(note)


_ASK = """
import sys
from cuse_scullv._native import lib
print(lib.state_version())
from cuse_scullv.cli.serve import served_by
print(served_by(sys.argv[1:]))
"""


def check_program(folder: str, served: list[str]) -> None:
    """Raises TakeoverError unless the program as it is installed now, by the words that started
    this one, reads its state and serves the same: a file of --config may say something else now."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *sys.argv[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=ASK_S,
        check=False,
    )
    version, _, answer = done.stdout.partition("\n")
    if version and version != str(lib.state_version()):
        raise TakeoverError(
            f"the new program reads state of version {version}, this one's is of version"
            f" {lib.state_version()}: stop it, and start it anew"
        )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise TakeoverError(f"the new program does not start: {said[-1]}")
    if json.loads(answer) != served:
        raise TakeoverError(
            "its options say to serve something else now: stop it, and start it anew"
        )
