"""The service manager's store of descriptors: what a keeper holds, and its next process finds.

FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax= of systemd.service(5): the manager keeps the
descriptors when the keeper dies, and hands them to the one that it starts then. The kernel sees no
end of a channel meanwhile: clients wait.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping

_FIRST = 3  # SD_LISTEN_FDS_START


def store(descriptors: Mapping[str, int]) -> None:
    """Has the manager, if there is one, keep these, by name. It keeps none where its settings say
    so, and what it has already it may keep twice."""
    for name, fd in descriptors.items():
        # That the other end is closed is no reason to give one up.
        _say(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fd)


def forget(names: Iterable[str]) -> None:
    """Has the manager, if there is one, give these up."""
    for name in names:
        _say(f"FDSTOREREMOVE=1\nFDNAME={name}")


def found() -> dict[str, int]:
    """What a process of this service before has left, by name; this one's from now on."""
    pid, _, names = (os.environ.pop(f"LISTEN_{what}", "") for what in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not names:
        return {}
    descriptors = {name: fd for fd, name in enumerate(names.split(":"), _FIRST)}
    for fd in descriptors.values():
        os.set_inheritable(fd, False)
    return descriptors


def _say(text: str, *descriptors: int) -> None:
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        with contextlib.suppress(OSError):  # then there is nobody who could keep them
            manager.connect(address)
            socket.send_fds(manager, [text.encode()], descriptors)
