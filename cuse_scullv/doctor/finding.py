"""Finding: one thing that the doctor has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was looked at, what is so, and what to type."""

    what: str
    status: Literal["yes", "no", "note"]
    """It works; it does not; it is good to know."""
    detail: str
    """What was found, or what is wrong."""
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    """For root, one after the other. In capitals: what to put in."""
