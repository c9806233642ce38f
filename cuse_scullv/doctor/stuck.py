"""Stuck clients: requests that no server answers, and how to free them.

A node's are counted in /sys/class/cuse/NAME/waiting (fs/fuse/cuse.c), a mount's in
/sys/fs/fuse/connections/N/waiting (fs/fuse/control.c). Who is blocked in a read() counts as well,
so that alone is no fault: it is one where the server has gone, or is stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cuse_scullv import registry
from cuse_scullv.procfs import lines_of, stat_fields

from .finding import Finding

CLASS = "sys/class/cuse"
CONNECTIONS = "sys/fs/fuse/connections"


def find_channels(root: Path = Path("/")) -> Finding:
    """Nodes whose clients wait in vain."""
    names, waiting, stuck = [], [], []
    for folder in sorted((root / CLASS).glob("*")):
        names.append(folder.name)
        count = _waiting(folder)
        if not count:
            continue
        waiting.append(f"{folder.name}: {_requests(count)}")
        state = _server_state(folder.name, root)
        if state in ("T", "t"):
            stuck.append((folder, f"{folder.name}: {_requests(count)}, and its server is stopped"))
    if stuck:
        return Finding(
            "channels",
            "no",
            "clients wait for a server that is stopped; an abort frees them, and ends the node",
            tuple(said for _, said in stuck),
            tuple(f"echo 1 >/{CLASS}/{folder.name}/abort" for folder, _ in stuck),
        )
    if waiting:
        return Finding(
            "channels",
            "note",
            "clients wait, as who reads from an empty queue does; if they hang, free them:",
            tuple(waiting),
            tuple(f"echo 1 >/{CLASS}/{said.partition(':')[0]}/abort" for said in waiting),
        )
    return Finding("channels", "yes", f"{len(names)} of CUSE, and nobody waits")


def find_mounts(root: Path = Path("/")) -> Finding:
    """FUSE mounts whose clients wait: file views of ours, and others."""
    places = dict(_mounts(root))
    waiting = []
    for folder in sorted((root / CONNECTIONS).glob("*")):
        count = _waiting(folder)
        if count:
            waiting.append((folder.name, places.get(folder.name, "a mount elsewhere"), count))
    if not waiting:
        return Finding("mounts", "yes", f"{len(places)} of FUSE, and nobody waits")
    return Finding(
        "mounts",
        "note",
        "clients wait for an answer; if they hang, free them, which ends the mount:",
        tuple(f"{place}: {_requests(count)}" for _, place, count in waiting),
        tuple(f"echo 1 >/{CONNECTIONS}/{number}/abort" for number, _, _ in waiting),
    )


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _waiting(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / "waiting").read_text())
    return 0


def _mounts(root: Path) -> Iterator[tuple[str, str]]:
    """The numbers of FUSE's connections, and where they are mounted. A number is the minor one of
    the file system's device (fs/fuse/control.c: fuse_ctl_add_conn)."""
    with contextlib.suppress(OSError):
        for line in lines_of(root / "proc/self/mountinfo"):
            fields = line.split(" ")
            kind = fields[fields.index("-") + 1]
            if kind.startswith("fuse") and kind != "fusectl":
                yield fields[2].partition(":")[2], fields[4]


def _server_state(name: str, root: Path) -> str:
    """Of the process that keeps the node, as proc(5) has it; empty: it is not known, or another
    program's."""
    try:
        pid = registry.find(name)
        processes = [pid, *_children(pid, root)]
    except registry.NotServedError:
        return ""
    states = [_state(process, root) for process in processes]
    return next((state for state in states if state in ("T", "t")), states[0])


def _children(pid: int, root: Path) -> list[int]:
    with contextlib.suppress(OSError):
        children = (root / f"proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]
    return []


def _state(pid: int, root: Path) -> str:
    with contextlib.suppress(OSError):
        return stat_fields(root / f"proc/{pid}")[0].decode()
    return ""
