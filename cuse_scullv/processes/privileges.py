"""What the worker gives up before it serves: its user, its capabilities, the way back.

Facts: capabilities(7), credentials(7), prctl(2); RLIMIT_NICE in sched(7) (who has it may leave
SCHED_IDLE again, which placement does).
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import resource
from dataclasses import dataclass
from pathlib import Path

from cuse_scullv._errors import check
from cuse_scullv._native import lib
from cuse_scullv.processes.keeper import KeeperError
from cuse_scullv.procfs import lines_of

_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_LAST = 63  # more than there are
_NICE_ANY = 40  # RLIMIT_NICE: down to nice -20

_libc = ctypes.CDLL(None)


class NoUserError(KeeperError):
    """No user to serve as: one line, with what to type."""


@dataclass(frozen=True)
class User:
    """Who serves."""

    name: str
    uid: int
    gid: int


def user_named(name: str | None) -> User:
    """The user of that name or number; None: `scullv` if there is one, else `nobody`. Raises
    NoUserError."""
    for candidate in (name,) if name is not None else ("scullv", "nobody"):
        try:
            is_number = candidate.isdecimal()
            found = pwd.getpwuid(int(candidate)) if is_number else pwd.getpwnam(candidate)
        except (KeyError, OverflowError):
            continue
        if found.pw_uid == 0:
            raise NoUserError("--user root keeps all privileges: type --no-drop for that")
        _check_can_become(found.pw_name, found.pw_uid)
        return User(found.pw_name, found.pw_uid, found.pw_gid)
    raise NoUserError(
        f"no user {name!r}: type --user with a name that `getent passwd` lists"
        if name is not None
        else "no user scullv, and no nobody: type --user NAME, or --no-drop"
    )


def separate(name: str | None, drop: bool) -> tuple[User | None, str]:
    """Whom a worker becomes, and why it has this process's privileges nevertheless; empty: it has
    not. `name`: as of user_named. Raises NoUserError."""
    if not drop:
        return None, "--no-drop"
    if os.geteuid() != 0:
        return None, "not started by root"
    return user_named(name), ""


def clients_group() -> int | None:
    """Whose nodes are, unless that is said: the group `scullv`, where root serves and there is one;
    None: the server's own."""
    if os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam("scullv").gr_gid
    except KeyError:
        return None


def _check_can_become(name: str, uid: int) -> None:
    """Root of a user namespace may know no other user, or may not leave its groups
    (user_namespaces(7))."""
    maps = [line.split() for line in lines_of(Path("/proc/self/uid_map"))]
    is_known = any(int(first) <= uid < int(first) + int(count) for first, _, count in maps)
    if not is_known or Path("/proc/self/setgroups").read_text().strip() == "deny":
        raise NoUserError(f"nobody can become {name} in this user namespace: type --no-drop")


def drop(user: User | None) -> None:
    """Leaves this process, and all that it may start, without privileges, and unable to become
    another program (csrc/base/confine.c). `user`: whom to become; None: we are not root, so stay
    who we are."""
    if user is not None:
        _raise_limit(resource.RLIMIT_NICE, _NICE_ANY)
        _raise_limit(resource.RLIMIT_MEMLOCK, resource.RLIM_INFINITY)
        _libc.prctl(_PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        for capability in range(_CAP_LAST + 1):
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)  # from root: all capabilities go with it
    check(lib.confine())


def _raise_limit(which: int, limit: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # placement does with less
        resource.setrlimit(which, (limit, limit))
