"""Client: a process that uses an open file."""

from __future__ import annotations

from typing import NamedTuple

from .caller import Caller
from .proc import comm_of


class Client(NamedTuple):
    """A process, as it was when a request of it was first seen."""

    pid: int
    """Of the process, not of one of its threads. Another may have it once this one has died."""
    uid: int
    """The file system uid of the thread that made the request."""
    gid: int
    comm: str
    """The process's name, at most 15 bytes."""


def client_of(caller: Caller) -> Client:
    """Who makes the request at hand. ProcessLookupError as of Caller.tgid."""
    pid = caller.tgid
    return Client(pid, caller.uid, caller.gid, comm_of(pid))
