"""Caller: who made the request that a handler is at."""

from __future__ import annotations

from typing import NamedTuple

from cuse_scullv.capability import has_capability

from .proc import comm_of, open_pidfd, tgid_of


class Caller(NamedTuple):
    """A client's credentials, as the kernel puts them in each request (struct fuse_in_header).

    What is not in there is looked up in /proc, which takes some 20 µs, and is right as long as the
    request is not answered, since the thread waits so long. ProcessLookupError where it cannot be:
    the client is of a pid namespace that the server cannot see, or /proc is another namespace's."""

    pid: int
    """The calling thread; 0 for one of a pid namespace that the server cannot see."""
    uid: int
    """The file system uid, in the server's user namespace."""
    gid: int

    @property
    def tgid(self) -> int:
        """The process that the thread is of: what getpid(2) says there."""
        return tgid_of(self.pid)

    @property
    def comm(self) -> str:
        """The process's name, at most 15 bytes."""
        return comm_of(self.tgid)

    def pidfd(self) -> int:
        """A pidfd of the process (pidfd_open(2)), close on exec; whoever asks closes it. It can be
        read, in the sense of poll(2), when the process has died. OSError where there is none to be
        had."""
        return open_pidfd(self.pid)[1]

    def capable(self, capability: int) -> bool:
        """Whether the calling thread has the capability (a number of linux/capability.h, as 21 for
        CAP_SYS_ADMIN), effective and in the server's own user namespace: capable(9) in a driver.
        What cannot be found out counts as no."""
        return has_capability(self.pid, capability)
