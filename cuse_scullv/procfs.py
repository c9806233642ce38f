"""Reading /proc. Names in it are any bytes, chosen by whoever runs a process or mounts something:
only a newline is sure to be no part of one (fs/proc/array.c: proc_task_name; fs/seq_file.c:
seq_path)."""

from __future__ import annotations

import os
from pathlib import Path


def lines_of(path: Path) -> list[str]:
    """Unlike str.splitlines, which ends a line at ten other characters as well. OSError."""
    return os.fsdecode(path.read_bytes()).split("\n")[:-1]
