"""Mounting a FUSE file system on a directory, and what can be wrong with the directory.

Root mounts by mount(2). Others go through the setuid program fusermount3, which opens /dev/fuse,
mounts it and passes the descriptor back through a socket (fuse3's mount.fuse3(8), util/fusermount.c
of libfuse: _FUSE_COMMFD).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cuse_scullv._native import lib
from cuse_scullv.procfs import lines_of

logger = logging.getLogger(__name__)

FUSE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")
MOUNTS = Path("/proc/self/mountinfo")
TYPE = "fuse.scullv"
HELPER = "fusermount3"
# For fusermount3 to do its work, in seconds, on a machine that may be very slow.
HELPER_S = 60.0


class MountError(OSError):
    """A directory that cannot be mounted on: `errno`, and in `strerror` one line, with what to
    type."""


class LeftMountedError(MountError):
    """A mount that could not be taken away."""


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    id: int
    device: str
    """major:minor of the files on it"""
    directory: str
    type: str


def mounts_on(directory: Path, table: Path = MOUNTS) -> list[Mount]:
    """What is mounted on exactly this directory, the topmost last."""
    found = []
    for line in lines_of(table):
        fields = line.split(" ")
        mount = Mount(
            int(fields[0]), fields[2], _unescape(fields[4]), fields[fields.index("-") + 1]
        )
        if mount.directory == str(directory):
            found.append(mount)
    return found


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash stand there in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


# --- the directory ------------------------------------------------------------------------------


def check(directory: Path) -> None:
    """Raises MountError unless `directory` (absolute) can be mounted on.

    The mount of a server of ours that died, on which all fails with ENOTCONN, is taken away.
    """
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        raise MountError(
            errno.ENOENT, f"no directory {directory}: type mkdir -p {directory}"
        ) from None
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise MountError(error.errno, f"cannot use {directory}: {error.strerror}") from None
        _clean(directory)
        mode = directory.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise MountError(errno.ENOTDIR, f"{directory} is no directory: name one for the files")
    on = mounts_on(directory)
    if on and on[-1].type == TYPE:
        raise MountError(
            errno.EBUSY,
            f"{directory} already shows the files of another server: type 'cuse-scullv stop"
            f" {directory}', or name another directory",
        )
    _check_empty(directory)


def _check_empty(directory: Path) -> None:
    try:
        content = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise MountError(error.errno, f"cannot use {directory}: {error.strerror}") from None
    if content:
        raise MountError(
            errno.ENOTEMPTY,
            f"{directory} is not empty ({content[0]}): name an empty directory, its content"
            " would be hidden",
        )


def _clean(directory: Path) -> None:
    """Takes away what a server that died has left."""
    on = mounts_on(directory)
    if not on or on[-1].type != TYPE:
        raise MountError(
            errno.ENOTCONN,
            f"{directory} is the mount of a server that died, not of ours: type"
            f" {HELPER} -u -z {directory}",
        )
    _unmount(directory, lazy=True)
    if mounts_on(directory) == on:
        raise MountError(
            errno.ENOTCONN,
            f"{directory} is still mounted by a server that died: type umount -l {directory} as"
            " root",
        )
    logger.warning("%s was still mounted by a server that died: unmounted", directory)


# --- mounting -----------------------------------------------------------------------------------


def mount(directory: Path) -> tuple[int, Mount]:
    """Mounts on `directory`, which `check` has passed: the descriptor that requests come from (the
    caller's to close), and the mount, for `unmount`. Raises MountError."""
    fd = _mount_as_root(directory) if os.geteuid() == 0 else _mount_as_user(directory)
    try:
        on = mounts_on(directory)
        if not on:
            raise MountError(errno.ENOENT, f"{directory} was unmounted at once by somebody")
    except BaseException:
        os.close(fd)
        raise
    return fd, on[-1]


def unmount(mounted: Mount) -> None:
    """Takes the mount away, if it is still there: at once if nobody uses it, else from the name
    space only, so that its last user ends it. Requests must still be answered meanwhile.

    Raises LeftMountedError where it stays."""
    directory = Path(mounted.directory)
    said = ""
    for lazy in (False, True):
        if mounted not in mounts_on(directory):
            return
        said = _unmount(directory, lazy)
    if mounted in mounts_on(directory):
        why = f" ({said})" if said else ""
        raise LeftMountedError(
            errno.EBUSY, f"{directory} stays mounted{why}: type umount -l {directory} as root"
        )


def allows_others() -> bool:
    """Whether users other than the one who mounts may be let in."""
    if os.geteuid() == 0:
        return True
    try:
        lines = FUSE_CONF.read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def _mount_as_root(directory: Path) -> int:
    try:
        fd = os.open(FUSE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(
            error.errno,
            f"cannot open {FUSE}: {error.strerror}; type modprobe fuse, in a container run it"
            f" with --device {FUSE}",
        ) from None
    options = (
        f"fd={fd},rootmode={stat.S_IFDIR:o},user_id={os.getuid()},group_id={os.getgid()},"
        "default_permissions,allow_other"
    )
    code = -lib.fileview_mount(os.fsencode(directory), options.encode())
    if code:
        os.close(fd)
        hint = "; a container needs --cap-add SYS_ADMIN" if code == errno.EPERM else ""
        raise MountError(code, f"cannot mount on {directory}: {os.strerror(code)}{hint}")
    return fd


def _mount_as_user(directory: Path) -> int:
    if shutil.which(HELPER) is None:
        raise MountError(
            errno.ENOENT, f"no {HELPER} on PATH: install the package fuse3, or serve as root"
        )
    if not os.access(directory, os.W_OK):
        raise MountError(
            errno.EACCES, f"{directory} is not yours to write: name a directory of your own"
        )
    options = f"fsname=cuse-scullv,subtype={TYPE.removeprefix('fuse.')},default_permissions"
    if allows_others():
        options += ",allow_other"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [HELPER, "-o", options, "--", str(directory)],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HELPER_S,
            check=False,
        )
        ours.setblocking(False)
        fds = _received(ours) if done.returncode == 0 else []
    if len(fds) != 1:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise MountError(errno.EPERM, f"cannot mount on {directory}: {said or HELPER + ' failed'}")
    os.set_inheritable(fds[0], False)
    return fds[0]


def _received(end: socket.socket) -> list[int]:
    try:
        return socket.recv_fds(end, 1, 1)[1]
    except BlockingIOError:
        return []


def _unmount(directory: Path, lazy: bool) -> str:
    """Tries to, by umount2(2) where that is allowed, else by fusermount3. Whether it did is for
    the table of mounts to tell; why it did not, what is returned."""
    code = -lib.fileview_unmount(os.fsencode(directory), lazy)
    if code == 0 or os.geteuid() == 0:
        return os.strerror(code) if code else ""
    words = [HELPER, "-u", *(["-z"] if lazy else []), "--", str(directory)]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=HELPER_S, check=False
        )
    except FileNotFoundError:
        return f"no {HELPER} on PATH"
    return " ".join(done.stderr.decode(errors="replace").split())
