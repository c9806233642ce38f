"""A guest in user-mode-linux: up in a second, one CPU, native copies."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from cache import compiled, need
from plan import write_plan

UML_MIB = 2048


def memory_folder(work: Path) -> Path:
    """Where user-mode-linux puts the file that is its memory. It maps that file executable, and
    every page of it is written: /dev/shm where it is large enough (64 MiB in a container)."""
    shm = Path("/dev/shm")
    with contextlib.suppress(OSError):
        room = os.statvfs(shm)
        large = room.f_bavail * room.f_frsize >= UML_MIB << 20
        if large and not room.f_flag & os.ST_NOEXEC and os.access(shm, os.W_OK):
            return shm
    return work


def uml_command(options: argparse.Namespace, work: Path) -> tuple[list[str], dict[str, str]]:
    control = work / "control"
    write_plan(options, control, {path: str(path) for path in options.share})
    init = compiled("init", ["-static"], work)
    command = [
        need("linux.uml"),
        f"mem={UML_MIB}M",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"init={init}",
        f"uml_dir={work}/uml",
        "umid=guest",
        "con=null",
        "con0=null,fd:2",
        "ssl=null",
        *(["ssl0=fd:0,fd:1"] if options.terminal else []),
        "panic=-1",
        f"guest_control={control}",
    ]
    environment = {"TMPDIR": str(memory_folder(work)), "HOME": str(work)}
    environment["LD_PRELOAD"] = str(compiled("xstate.c", ["-shared", "-fPIC"], work))
    return command, environment
