"""Caller: who made the request that a handler is at."""

from __future__ import annotations

from typing import NamedTuple


class Caller(NamedTuple):
    """A client's credentials, as the kernel puts them in each request (struct fuse_in_header)."""

    pid: int
    """The calling thread; 0 for one of a pid namespace that the server cannot see."""
    uid: int
    """The file system uid, in the server's user namespace."""
    gid: int
