"""Reading /proc. Names in it are any bytes, chosen by whoever runs a process or mounts something:
only a newline is sure to be no part of one (fs/proc/array.c: proc_task_name; fs/seq_file.c:
seq_path)."""

from __future__ import annotations

import os
from pathlib import Path

_PF_EXITING = 0x4  # include/linux/sched.h
_FLAGS = 6  # of the fields of stat behind the name: the ninth of all


def lines_of(path: Path) -> list[str]:
    """Unlike str.splitlines, which ends a line at ten other characters as well. OSError."""
    return os.fsdecode(path.read_bytes()).split("\n")[:-1]


def stat_fields(folder: Path) -> list[bytes]:
    """Of a process's, or a thread's, folder: what its file stat says behind the name: the state,
    the parent, … (proc(5): fields from the third on). OSError."""
    return (folder / "stat").read_bytes().rpartition(b")")[2].split()


def shown_name(folder: Path) -> str:
    """Its name, for people: what a terminal would not show, or would obey, is a question mark.
    OSError."""
    name = (folder / "comm").read_bytes().decode(errors="replace").removesuffix("\n")
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def is_ending(pid: int) -> bool:
    """Whether the process has gone, or all its threads are on their way out. They close their files
    then, before anybody hears of the end (kernel/exit.c: do_exit)."""
    folder = Path(f"/proc/{pid}")
    try:
        stats = [stat_fields(task) for task in (folder / "task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return not folder.exists()
    return all(int(stat[_FLAGS]) & _PF_EXITING for stat in stats)
