"""Node: the entry of a device in /dev, its owner and mode.

Where /dev is a devtmpfs the kernel makes the node and takes it away; elsewhere (a container, a
chroot) nobody does, so we make it from the number that sysfs names, and remove what we made.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cuse_scullv.procfs import lines_of

from .errors import DeviceError

if TYPE_CHECKING:
    from .device import Device

DEV = Path("/dev")
SYS = Path("/sys/class/cuse")
_POLL_S = 0.005


class Node:
    """/dev/NAME of one device. Raises DeviceError: an owner or group that is not, a name taken."""

    def __init__(self, device: Device, dev: Path = DEV, sys: Path = SYS) -> None:
        self.path = dev / device.name
        self._dev = dev
        self._sys = sys / device.name.replace("/", "!")  # lib/kobject.c: kobject_set_name_vargs
        self._mode = device.mode
        self._uid = uid_of(device.owner)
        self._gid = gid_of(device.group)
        self._made: os.stat_result | None = None  # the node, if we made it
        self._folders: list[Path] = []  # that we made for it, the innermost first

    def check_free(self) -> None:
        """Raises DeviceError (EEXIST) if the name is taken: by a device or by a file."""
        if self._sys.exists():
            raise taken(self.path)
        self._check_folders()
        if os.path.lexists(self.path):
            raise DeviceError(
                errno.EEXIST,
                f"{self.path} exists already and is none of ours: take another name, or if nothing"
                f" serves it any more, type `rm {self.path}`",
            )

    def _check_folders(self) -> None:
        """Raises DeviceError (ENOTDIR, EXDEV) where none of /dev's own can be: the kernel makes
        nodes in its devtmpfs, below what others have mounted there."""
        for folder in reversed(self._above()):
            with suppress(FileNotFoundError):
                found = folder.lstat()
                if not stat.S_ISDIR(found.st_mode):
                    raise DeviceError(
                        errno.ENOTDIR, f"{folder} is no folder: take another name for {self.path}"
                    )
                if found.st_dev != self._dev.stat().st_dev:
                    raise DeviceError(
                        errno.EXDEV,
                        f"{folder} is a file system of its own, where no node can be made: take"
                        f" another name for {self.path}",
                    )

    def _above(self) -> list[Path]:
        """The folders of the node below /dev, the innermost first."""
        return [folder for folder in self.path.parents if self._dev in folder.parents]

    def appear(self, timeout: float) -> None:
        """Waits until the node is there, or makes it; then gives it its owner and mode.

        Raises DeviceError: ETIMEDOUT after `timeout` seconds, EACCES or EPERM."""
        deadline = time.monotonic() + timeout
        devtmpfs = _is_devtmpfs(self._dev)
        while not self._is_there():
            if not devtmpfs and self._make():
                break
            if time.monotonic() >= deadline:
                raise DeviceError(
                    errno.ETIMEDOUT,
                    f"{self.path} has not appeared within {timeout:g} s: see `dmesg`, and"
                    f" `ls -l {self._sys}`",
                )
            time.sleep(_POLL_S)
        try:
            self.path.chmod(self._mode)  # while it is ours: that of others' takes CAP_FOWNER
            if self._uid != -1 or self._gid != -1:
                os.chown(self.path, self._uid, self._gid)
        except OSError as error:
            raise DeviceError(
                error.errno or errno.EPERM,
                f"{self.path} cannot be given its owner and mode: {error.strerror}; run this as"
                " root, or leave the owner, group and mode to a udev rule",
            ) from error

    @property
    def is_made(self) -> bool:
        """Whether we have made the entry, and not the kernel."""
        return self._made is not None

    def adopt(self, is_made: bool) -> None:
        """The node is there already: a keeper before had it appear."""
        self._made = self.path.lstat() if is_made else None

    def remove(self) -> None:
        """Takes the node away if we made it, and it is still the one that we made; then folders
        that we made and nobody else uses."""
        made, self._made = self._made, None
        folders, self._folders = self._folders, []
        with suppress(OSError):
            if made is not None and _is_same(made, self.path.lstat()):
                self.path.unlink()
        with suppress(OSError):
            for folder in folders:
                folder.rmdir()

    def _number(self) -> int | None:
        """The device's number, as soon as the kernel says it."""
        try:
            major, _, minor = (self._sys / "dev").read_text().strip().partition(":")
            return os.makedev(int(major), int(minor))
        except (OSError, ValueError):
            return None

    def _is_there(self) -> bool:
        try:
            found = self.path.lstat()
        except OSError:
            return False
        number = self._number()
        return stat.S_ISCHR(found.st_mode) and (number is None or found.st_rdev == number)

    def _make(self) -> bool:
        number = self._number()
        if number is None:
            return False
        try:
            self._make_folders()
            os.mknod(self.path, stat.S_IFCHR | 0o600, number)
        except FileExistsError:  # udev was quicker, or it is something else: _is_there tells
            return False
        except OSError as error:
            raise DeviceError(
                error.errno or errno.EPERM,
                f"{self.path} cannot be made: {error.strerror}; run this as root, or type"
                f" `mknod {self.path} c {os.major(number)} {os.minor(number)}` as root",
            ) from error
        self._made = self.path.lstat()
        return True

    def _make_folders(self) -> None:
        self._folders = self._folders or [one for one in self._above() if not one.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_dev, one.st_rdev) == (other.st_ino, other.st_dev, other.st_rdev)


def taken(path: Path) -> DeviceError:
    """The name of `path` is another CUSE device's."""
    name = path.name if path.parent == DEV else path
    return DeviceError(
        errno.EEXIST,
        f"another server has {path} already: type 'cuse-scullv stop {name}', or take another name",
    )


def _is_devtmpfs(folder: Path) -> bool:
    """Whether the kernel makes nodes in `folder` by itself."""
    try:
        lines = lines_of(Path("/proc/self/mountinfo"))
    except OSError:
        return False
    kind = ""
    for line in lines:  # of mounts on one another the last counts
        mount, _, rest = line.partition(" - ")
        if mount.split(" ")[4] == str(folder):
            kind = rest.split(" ")[0]
    return kind == "devtmpfs"


def uid_of(owner: str | int | None) -> int:
    if owner is None:
        return -1
    if isinstance(owner, str) and not owner.isdecimal():
        try:
            return pwd.getpwnam(owner).pw_uid
        except KeyError:
            raise DeviceError(
                errno.EINVAL, f"no user {owner!r}: take a name that `getent passwd` lists, or a uid"
            ) from None
    return _id(owner, "uid")


def gid_of(group: str | int | None) -> int:
    if group is None:
        return -1
    if isinstance(group, str) and not group.isdecimal():
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            raise DeviceError(
                errno.EINVAL, f"no group {group!r}: take a name that `getent group` lists, or a gid"
            ) from None
    return _id(group, "gid")


def _id(value: str | int, what: str) -> int:
    number = int(value)
    if not 0 <= number < 2**32 - 1:
        raise DeviceError(errno.EINVAL, f"no {what} {number}: take 0 to {2**32 - 2}")
    return number
