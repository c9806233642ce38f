"""Whether this machine can serve CUSE devices; if not, why, and what to type."""

from __future__ import annotations

import errno
import os
import platform
import pwd
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cuse_scullv.distribution import module_commands
from cuse_scullv.procfs import lines_of

from .errors import DeviceError

DEV_CUSE = Path("/dev/cuse")
_MINOR = "203"  # of misc device "cuse" (include/linux/miscdevice.h: CUSE_MINOR)


class Status(Enum):
    """What keeps CUSE from working."""

    OK = "ok"
    NO_MODULE = "module missing"
    """The kernel has no CUSE at all, built in or as a module to load."""
    NOT_LOADED = "module not loaded"
    NO_NODE = "node missing"
    """The driver is there, /dev/cuse is not."""
    NOT_PERMITTED = "not permitted"
    """The user may not open /dev/cuse."""
    DENIED = "denied by the container"
    """Even root may not: a device cgroup or the like."""
    BROKEN = "does not work"


@dataclass(frozen=True)
class Availability:
    """The outcome of `availability`."""

    status: Status
    reason: str = ""
    """One line: what is wrong. Empty when nothing is."""
    fix: str = ""
    """One line: what to do about it."""
    errno: int = 0

    @property
    def ok(self) -> bool:
        return self.status is Status.OK

    def error(self) -> DeviceError:
        """As an exception, whose message has the reason and the fix."""
        return DeviceError(self.errno, f"{self.reason}: {self.fix}")


def availability(root: Path = Path("/")) -> Availability:
    """Opens /dev/cuse for a moment, and if that fails finds out why. Never raises.

    `root`: of the file system, for tests."""
    try:
        os.close(os.open(root / "dev/cuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return explain(error.errno or errno.EIO, root)
    return Availability(Status.OK)


def open_cuse() -> int:
    """A descriptor of /dev/cuse. Raises DeviceError, with what to do."""
    try:
        return os.open(DEV_CUSE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise explain(error.errno or errno.EIO).error() from None


def explain(code: int, root: Path = Path("/")) -> Availability:
    """Why opening /dev/cuse failed with errno `code`."""
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        if not _is_loaded(root):
            return _explain_module(code, root)
        return Availability(
            Status.NO_NODE,
            "the kernel has CUSE, but there is no working /dev/cuse",
            "type `mknod -m 600 /dev/cuse c 10 203` as root; for a container, `--device /dev/cuse`",
            code,
        )
    if code == errno.EACCES:
        return Availability(
            Status.NOT_PERMITTED,
            f"user {_user()} may not open /dev/cuse",
            f"run this as root, or type `setfacl -m u:{shlex.quote(_user())}:rw /dev/cuse` as root",
            code,
        )
    if code == errno.EPERM:
        return Availability(
            Status.DENIED,
            "/dev/cuse may not be opened from this container or service",
            "start the container with `--device /dev/cuse`, the service with"
            " `DeviceAllow=/dev/cuse rw`",
            code,
        )
    return Availability(
        Status.BROKEN, f"/dev/cuse cannot be opened: {os.strerror(code)}", "see `dmesg`", code
    )


def _explain_module(code: int, root: Path) -> Availability:
    release = platform.release()
    if _has_module(root / "lib/modules" / release):
        return Availability(
            Status.NOT_LOADED,
            "the kernel's module cuse is not loaded",
            "type `modprobe cuse` as root",
            code,
        )
    commands = module_commands(root)
    return Availability(
        Status.NO_MODULE,
        f"the kernel {release} has no CUSE, and no module cuse for it is installed",
        f"type {' and '.join(f'`{each}`' for each in commands)} as root"
        if commands
        else "install the module, or boot a kernel with CONFIG_CUSE",
        code,
    )


def _is_loaded(root: Path) -> bool:
    try:
        misc = lines_of(root / "proc/misc")
    except OSError:
        return False
    return any(line.split() == [_MINOR, "cuse"] for line in misc)


def _has_module(folder: Path) -> bool:
    for index in ("modules.dep", "modules.builtin"):
        try:
            names = (folder / index).read_text().split()
        except OSError:
            continue
        if any(f"/{name}".rstrip(":").endswith(_MODULES) for name in names):
            return True
    return any(folder.glob("**/cuse.ko*"))


_MODULES = ("/cuse.ko", "/cuse.ko.xz", "/cuse.ko.zst", "/cuse.ko.gz")


def _user() -> str:
    """Who asks: not who $USER says that he is."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
