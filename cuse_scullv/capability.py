"""Whether a caller has a capability, as capable(9) would find in a kernel module, and what takes
CAP_SYS_ADMIN."""

from __future__ import annotations

import os
from pathlib import Path

from cuse_scullv.kernels import running
from cuse_scullv.procfs import lines_of

# Bits of a capability set (linux/capability.h).
CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24
CAP_SYS_TIME = 25


def has_capability(pid: int, capability: int, proc: Path = Path("/proc")) -> bool:
    """True where thread `pid` is seen to have the capability now, and in the server's own user
    namespace: a process that made itself a namespace is mighty only there.

    `pid` is as the kernel's request names it: 0 where the caller is of a pid namespace that the
    server cannot see into. Whatever cannot be found out counts as no.
    """
    if pid <= 0:
        return False
    try:
        status = lines_of(proc / str(pid) / "status")
        same = (proc / str(pid) / "ns/user").readlink() == (proc / "self/ns/user").readlink()
    except OSError:
        return False
    for line in status:
        if line.startswith("CapEff:"):
            return same and bool(int(line.split()[1], 16) >> capability & 1)
    return False


def has_sys_admin(pid: int, proc: Path = Path("/proc")) -> bool:
    """has_capability of CAP_SYS_ADMIN, which scullv's own commands ask for."""
    return has_capability(pid, CAP_SYS_ADMIN, proc)


def no_passthrough(is_admin: bool) -> str | None:
    """Why the kernel would not do a file view's I/O by itself, and what to type; None: it would,
    unless it was built without FUSE_PASSTHROUGH. `is_admin`: whoever hands files over has
    CAP_SYS_ADMIN."""
    if running() < (6, 9, 0):
        release = os.uname().release
        return f"Linux {release} has no FUSE passthrough, which came with 6.9: type --view direct"
    if not is_admin:
        return "passthrough takes CAP_SYS_ADMIN: serve as root, or type --view direct"
    return None
