"""The machine: nodes, the file view, libfuse, memory."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
from pathlib import Path

from cuse_scullv._native import ffi, lib
from cuse_scullv.cuse.host import Status, availability
from cuse_scullv.distribution import module_commands
from cuse_scullv.memory import cgroup_limit, default_limit
from cuse_scullv.params import human_bytes

from .finding import Finding
from .surroundings import Mending, container, of_host

DEV_FUSE = Path("/dev/fuse")


def find_nodes(root: Path = Path("/")) -> Finding:
    state = availability(root)
    if state.ok:
        return Finding("nodes", "yes", "/dev/cuse can be opened")
    notes, commands = _mending(state.status, root)
    return Finding("nodes", "no", state.reason, notes if notes or commands else (state.fix,),
                   commands)  # fmt: skip


def _mending(status: Status, root: Path) -> Mending:
    engine = container(root)
    if status in (Status.NOT_LOADED, Status.NO_MODULE):
        is_there = status is Status.NOT_LOADED
        load = ("modprobe cuse", "echo cuse >/etc/modules-load.d/cuse.conf")
        return of_host(load if is_there else module_commands(root), root)
    if status in (Status.DENIED, Status.NO_NODE) and _is_engine(engine):
        return Mending((), (f"{engine} run --device /dev/cuse IMAGE",))
    commands = {
        Status.NO_NODE: ("mknod -m 600 /dev/cuse c 10 203",),
        Status.NOT_PERMITTED: (f"setfacl -m u:{shlex.quote(_user())}:rw /dev/cuse",),
        Status.BROKEN: ("dmesg | tail",),
    }
    return Mending((), commands.get(status, ()))


def _is_engine(name: str) -> bool:
    return name in ("docker", "podman")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def find_files() -> Finding:
    """Whether the file view can be mounted: /dev/fuse, and the right to mount."""
    what = "file view"
    try:
        os.close(os.open(DEV_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Finding(what, "no", "there is no /dev/fuse", commands=("modprobe fuse",))
    except PermissionError:
        return Finding(what, "no", "/dev/fuse may not be opened", commands=("chmod 666 /dev/fuse",))
    except OSError as error:
        return Finding(what, "no", f"/dev/fuse cannot be opened: {error.strerror}",
                       commands=("dmesg | tail",))  # fmt: skip
    helper = shutil.which("fusermount3")
    if os.geteuid() != 0 and helper is None:
        return Finding(what, "no", "there is no fusermount3, which mounts for who is not root",
                       ("it is in the package fuse3",))  # fmt: skip
    how = "as root" if os.geteuid() == 0 else f"by {helper}"
    return Finding(what, "yes", f"/dev/fuse can be opened; mounts {how}")


def find_libfuse() -> Finding:
    return Finding("libfuse", "yes", ffi.string(lib.cuse_library_version()).decode())


def find_memory() -> Finding:
    limit = human_bytes(default_limit())
    room = cgroup_limit()
    notes: tuple[str, ...] = ()
    if room is not None and room < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        notes = (f"a memory cgroup ends who takes more than {human_bytes(room)}",)
    return Finding("memory", "yes", f"{limit} for devices, unless --max-bytes says otherwise",
                   notes)  # fmt: skip
