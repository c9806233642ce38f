"""The kernel: how it was configured, and what is known of its version."""

from __future__ import annotations

import gzip
import os
import platform
from pathlib import Path

from cuse_scullv.capability import has_sys_admin, no_passthrough
from cuse_scullv.distribution import module_commands, update_commands
from cuse_scullv.kernels import notes, running

from .finding import Finding
from .surroundings import of_host


def kernel_config(root: Path = Path("/")) -> tuple[Path, dict[str, str]] | None:
    """Where the running kernel's configuration is, and what it says. None: it is nowhere."""
    release = platform.release()
    for name in ("proc/config.gz", f"boot/config-{release}", f"lib/modules/{release}/config"):
        path = root / name
        try:
            content = path.read_bytes()
            text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        except (OSError, EOFError, UnicodeDecodeError):
            continue
        lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
        return path, {key: value for key, _, value in lines}
    return None


def find_config(root: Path = Path("/")) -> Finding:
    found = kernel_config(root)
    if found is None:
        return Finding("config", "note", "the configuration of this kernel is not here: whether it"
                       " has CONFIG_CUSE cannot be told")  # fmt: skip
    path, config = found
    if "CONFIG_CUSE" in config:
        return Finding("config", "yes", f"CONFIG_CUSE={config['CONFIG_CUSE']} ({path})")
    return Finding("config", "no", f"CONFIG_CUSE is not set ({path}): this kernel has no nodes",
                   *of_host(module_commands(root), root))  # fmt: skip


def find_passthrough() -> Finding:
    """Whether the kernel can do a view's I/O by itself."""
    reason = no_passthrough(has_sys_admin(os.getpid()))
    what = "the kernel can read and write files of --backing memfd or FILE by itself"
    return Finding("passthrough", "yes" if reason is None else "no", reason or what)


def find_version(root: Path = Path("/")) -> Finding:
    version = running()
    if version == (0, 0, 0):
        release = os.uname().release
        return Finding("kernel", "note", f"{release} is of no version that is known here")
    known = tuple(notes(version, root))
    what = "Linux " + ".".join(map(str, version))
    if not any("update" in note for note in known):
        return Finding("kernel", "yes", what, known)
    more, commands = of_host(update_commands(root), root)
    return Finding("kernel", "note", what, known + more, commands)
