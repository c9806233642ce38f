"""How much memory the machine can still give, for `serve --max-bytes`."""

from __future__ import annotations

from pathlib import Path

from cuse_scullv.procfs import lines_of

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")

# A device that is allowed all free memory invites the OOM killer; half leaves room for its clients.
DEFAULT_SHARE = 2

# What a cgroup lets is not all for the devices: the server itself grows, and so do page tables.
_OWN_BYTES = 24 << 20
_OWN_SHARE = 32


def default_limit(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Bytes that a server may hold unless told otherwise: half of what is available now."""
    return max(available(proc, cgroup) // DEFAULT_SHARE, 1 << 20)


def cgroup_limit(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """The most that devices can hold before the OOM killer of a memory cgroup comes, bytes. None:
    no cgroup of this process has a limit."""
    found = [room for room in _cgroup_rooms(proc / "self/cgroup", cgroup) if room is not None]
    if not found:
        return None
    room = min(found) + _swap_free(proc / "meminfo")
    return max(room - room // _OWN_SHARE - _OWN_BYTES, 1 << 20)


def available(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Bytes that can be allocated without swapping: MemAvailable of proc(5), or what the memory
    cgroups of this process still allow, whichever is less."""
    found = [_mem_available(proc / "meminfo"), *_cgroup_rooms(proc / "self/cgroup", cgroup)]
    return max(min(room for room in found if room is not None), 0)


def _mem_available(meminfo: Path) -> int:
    return field_of(meminfo, "MemAvailable")


def _swap_free(meminfo: Path) -> int:
    return field_of(meminfo, "SwapFree")


def field_of(meminfo: Path, name: str) -> int:
    """Of a /proc/meminfo, bytes: it says kB, and means KiB (proc(5)). 0: there is no such line."""
    fields = dict(line.split(":", 1) for line in lines_of(meminfo) if ":" in line)
    return int(fields.get(name, "0").split()[0]) * 1024


def _cgroup_rooms(membership: Path, root: Path) -> list[int | None]:
    """What each cgroup from the process's own up to the root leaves, both versions.

    A line of /proc/self/cgroup is `ID:CONTROLLERS:PATH` (cgroups(7)); version 2 has no controllers
    in it. Inside a container the path may name a directory of the host that is not seen here: then
    the nearest ancestor that is counts, which is the container's own.
    """
    try:
        lines = lines_of(membership)
    except OSError:
        return []
    rooms: list[int | None] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, files = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = mount / path.lstrip("/")
        for directory in (own, *own.parents):
            rooms.append(_room(directory, *files))
            if directory == mount:
                break
    return rooms


def _room(directory: Path, limit_file: str, usage_file: str, reclaimable: str) -> int | None:
    """Bytes left in one cgroup; None: it is not there, or has no limit."""
    try:
        limit = (directory / limit_file).read_text().strip()
        if limit == "max":
            return None
        usage = int((directory / usage_file).read_text())
        stat = lines_of(directory / "memory.stat")
    except OSError:
        return None
    fields = dict(line.split(" ", 1) for line in stat)
    return int(limit) - usage + int(fields.get(reclaimable, "0"))
