"""What tools/guest says to its user."""

from __future__ import annotations

import sys
from pathlib import Path

FAILED = 125  # our own failure, as docker run and timeout(1) have it


class GuestError(Exception):
    """One line for the user: what is wrong and what to type."""


def say(text: str) -> None:
    print(f"tools/guest: {text}", file=sys.stderr, flush=True)


def show_console(work: Path, lines: int = 30) -> None:
    text = (work / "console").read_text(errors="replace").replace("\r", "").splitlines()
    print("\n".join(f"    | {line}" for line in text[-lines:]), file=sys.stderr, flush=True)
