"""What to type on this distribution for a kernel with CUSE, or a newer one.

Where cuse.ko is: Debian's, Arch's and openSUSE's kernel packages have it; on Ubuntu it is in
linux-modules-extra, on Fedora and RHEL in kernel-modules-extra (so says rshim's spec file, too,
which needs it); Alpine's linux-virt is built without, its linux-lts with it."""

from __future__ import annotations

import platform
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Distribution:
    """Commands, for root, of one family; `{release}` is that of the running kernel."""

    module: str
    """Installs a kernel, or a part of one, that has the module cuse."""
    update: str
    """Installs the newest kernel; a boot follows."""
    needs_boot: bool = True
    """Whether `module` brings another kernel."""


_FAMILIES = {
    "ubuntu": Distribution("apt install linux-modules-extra-{release}", "apt update && apt"
                           " full-upgrade", False),
    "debian": Distribution("apt install linux-image-$(dpkg --print-architecture)", "apt update &&"
                           " apt full-upgrade"),
    "fedora": Distribution("dnf install kernel-modules-extra-{release}", "dnf upgrade 'kernel*'",
                           False),
    "arch": Distribution("pacman -Syu linux", "pacman -Syu"),
    "suse": Distribution("zypper install kernel-default", "zypper update kernel-default"),
    "alpine": Distribution("apk add linux-lts", "apk upgrade"),
}  # fmt: skip
_ALSO = {"rhel": "fedora", "centos": "fedora", "opensuse": "suse", "sles": "suse"}


def distribution(root: Path = Path("/")) -> Distribution | None:
    """Of os-release(5): its ID, else the first of ID_LIKE that is known. None: none is."""
    words: list[str] = []
    for path in (root / "etc/os-release", root / "usr/lib/os-release"):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        fields = dict(line.split("=", 1) for line in lines if "=" in line)
        for key in ("ID", "ID_LIKE"):
            words += fields.get(key, "").strip("\"'").lower().split()
        break
    for word in words:
        family = _FAMILIES.get(_ALSO.get(word, word.partition("-")[0]))
        if family is not None:
            return family
    return None


def module_commands(root: Path = Path("/")) -> tuple[str, ...]:
    """For root, one after the other, where the running kernel lacks the module; empty: unknown."""
    release = platform.release()
    if not (root / "lib/modules" / release).is_dir() and (root / "lib/modules").is_dir():
        # An update took the running kernel's modules away (Arch), or the kernel is not the
        # distribution's: of a container, the host's.
        others = [path.name for path in (root / "lib/modules").iterdir() if path.is_dir()]
        if others:
            return ("reboot",)
    family = distribution(root)
    if family is None:
        return ()
    command = family.module.format(release=shlex.quote(release))
    return (command, "reboot" if family.needs_boot else "modprobe cuse")


def update_commands(root: Path = Path("/")) -> tuple[str, ...]:
    """For root, for a newer kernel; empty: unknown."""
    family = distribution(root)
    return (family.update, "reboot") if family is not None else ()
