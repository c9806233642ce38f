"""Whether a caller has CAP_SYS_ADMIN, as capable(9) would find in a kernel module, and what takes
it."""

from __future__ import annotations

import os
from pathlib import Path

from cuse_scullv.kernels import running
from cuse_scullv.procfs import lines_of

# Bit 21 of a capability set (linux/capability.h).
CAP_SYS_ADMIN = 21


def has_sys_admin(pid: int, proc: Path = Path("/proc")) -> bool:
    """True where thread `pid` is seen to have CAP_SYS_ADMIN now, and in the server's own user
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
            return same and bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)
    return False


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
