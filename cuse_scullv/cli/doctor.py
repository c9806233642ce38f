"""cuse-scullv doctor: what this machine can do, and what to type where it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from cuse_scullv._native import ffi, lib
from cuse_scullv.capability import has_sys_admin, no_passthrough
from cuse_scullv.cli._types import human_bytes
from cuse_scullv.cuse.host import availability
from cuse_scullv.kernels import notes, running
from cuse_scullv.memory import default_limit

DEV_FUSE = Path("/dev/fuse")
GUEST = Path(__file__).resolve().parents[2] / "tools" / "guest"
NO_NODES = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str
    """What was found; what is wrong and what to type."""
    notes: tuple[str, ...] = ()


def find_node() -> Finding:
    state = availability()
    if state.ok:
        return Finding("nodes", True, "/dev/cuse can be opened")
    return Finding("nodes", False, f"{state.reason}: {state.fix}")


def find_files() -> Finding:
    """Whether the file view can be mounted: /dev/fuse, and the right to mount."""
    try:
        os.close(os.open(DEV_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Finding("file view", False, "no /dev/fuse: type 'modprobe fuse' as root")
    except PermissionError:
        return Finding("file view", False, "/dev/fuse may not be opened: type 'chmod 666 /dev/fuse'"
                       " as root, or run this as root")  # fmt: skip
    except OSError as error:
        return Finding("file view", False, f"/dev/fuse cannot be opened: {error.strerror}: see "
                       "'dmesg'")  # fmt: skip
    helper = shutil.which("fusermount3")
    if os.geteuid() != 0 and helper is None:
        return Finding(
            "file view", False, "no fusermount3: install the package fuse3, or run this as root"
        )
    how = "as root" if os.geteuid() == 0 else f"by {helper}"
    return Finding("file view", True, f"/dev/fuse can be opened; mounts {how}")


def find_passthrough() -> Finding:
    """Whether the kernel can do a view's I/O by itself."""
    reason = no_passthrough(has_sys_admin(os.getpid()))
    what = "the kernel can read and write files of --backing memfd or FILE by itself"
    return Finding("passthrough", reason is None, reason or what)


def find_libfuse() -> Finding:
    return Finding("libfuse", True, ffi.string(lib.cuse_library_version()).decode())


def find_memory() -> Finding:
    limit = human_bytes(default_limit())
    return Finding("memory", True, f"{limit} for devices, unless --max-bytes says otherwise")


def find_kernel() -> Finding:
    version = running()
    if version == (0, 0, 0):
        return Finding("kernel", False, f"{os.uname().release} is of no version that is known here")
    text = "Linux " + ".".join(map(str, version))
    return Finding("kernel", True, text, tuple(notes(version)))


def findings() -> Iterator[Finding]:
    yield find_node()
    yield find_files()
    yield find_passthrough()
    yield find_libfuse()
    yield find_memory()
    yield find_kernel()


@click.command("doctor")
def command() -> int:
    """Say what this machine can do, and what to type where it cannot.

    The exit status is 0 where nodes can be served and 1 where they cannot.
    """
    found = list(findings())
    for finding in found:
        mark = "yes" if finding.ok else "no"
        click.echo(f"{finding.what + ':':<13}{mark:<4} {finding.detail}")
        for note in finding.notes:
            click.echo(f"{'':<18}{note}")
    nodes, files = found[0].ok, found[1].ok
    if nodes:
        return 0
    if files:
        click.echo("Without nodes there is the file view: cuse-scullv serve --no-node --files DIR")
    if GUEST.exists():
        click.echo(f"A kernel that has CUSE is one command away: {GUEST} -- COMMAND")
    return NO_NODES
