"""What stands between a server and the kernel: a container, a security module."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .finding import Finding


class Mending(NamedTuple):
    """Notes and commands, as a Finding has them."""

    notes: tuple[str, ...]
    commands: tuple[str, ...]


_AUDIT_BYTES = 1 << 20
"""Of the audit log's end that are looked at."""
_KMSG_LINE = 8192
_DENIAL = re.compile(r'(apparmor="DENIED"|avc: +denied).*(cuse|scullv|/dev/fuse)')
_ALL_IDS = ["0", "0", "4294967295"]


def container(root: Path = Path("/")) -> str:
    """What kind of container this is: "docker", "podman", "lxc", …; empty: none that shows."""
    said = _read(root / "run/systemd/container").strip()
    if said:
        return said
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    environment = _read(root / "proc/1/environ").split("\0")
    for variable in environment:
        if variable.startswith("container="):
            return variable.partition("=")[2]
    return "kubernetes" if "kubepods" in _read(root / "proc/1/cgroup") else ""


def of_host(commands: tuple[str, ...], root: Path = Path("/")) -> Mending:
    """The commands that would change the kernel, if they can be typed here: a container has not
    got one, and its distribution need not be the host's."""
    if not container(root):
        return Mending((), commands)
    return Mending(("the kernel is the host's: type 'cuse-scullv doctor' there",), ())


def find_container(root: Path = Path("/")) -> Finding:
    notes = []
    if _read(root / "proc/self/uid_map").split() not in ([], _ALL_IDS):
        notes.append("in a user namespace: no mknod here, and no passthrough")
    kind = container(root)
    if not kind:
        return Finding("container", "note" if notes else "yes", "none", tuple(notes))
    notes.insert(0, "a node appears in the host's /dev: hand it on with --device /dev/NAME")
    return Finding("container", "note", f"this is one ({kind})", tuple(notes))


def find_security(root: Path = Path("/")) -> Finding:
    """The security module that may say no, and whether it has."""
    what = "security"
    modules = _read(root / "sys/kernel/security/lsm").strip()
    profile = _read(root / "proc/self/attr/current").strip("\0\n ")
    is_selinux = _read(root / "sys/fs/selinux/enforce").strip() == "1"
    where = modules or "the security modules are not told"
    where += f"; {profile}" if profile else ""
    denials = list(_denials(root))
    if not denials:
        blind = "" if os.geteuid() == 0 else "; root alone can see what they denied"
        return Finding(what, "yes", f"{where}: nothing denied to CUSE{blind}")
    said = re.sub(r"\s+", " ", denials[-1])[-300:]
    if is_selinux or "avc:" in said:
        commands: tuple[str, ...] = (
            "ausearch -m avc -ts recent | audit2allow -M cuse-scullv",
            "semodule -i cuse-scullv.pp",
        )
    else:
        name = re.search(r'profile="([^"]*)"', said)
        commands = (f"aa-complain {name[1] if name else 'PROFILE'}",)
    return Finding(what, "no", f"{where}: {len(denials)} times denied", (said,), commands)


def _denials(root: Path) -> Iterator[str]:
    for line in (*_kernel_log(root / "dev/kmsg"), *_end_of(root / "var/log/audit/audit.log")):
        if _DENIAL.search(line):
            yield line


def _kernel_log(path: Path) -> Iterator[str]:
    """Of this boot (Documentation/ABI/testing/dev-kmsg): each read is a record."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while True:
            try:
                record = os.read(fd, _KMSG_LINE)
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten meanwhile: the next one is there
                    continue
                return
            if not record:
                return
            yield record.decode(errors="replace")
    finally:
        os.close(fd)


def _end_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _AUDIT_BYTES, 0))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""
