"""Devices that `serve --preset` knows beside the book's memories: written on cuse_scullv.cuse
alone, as anybody's would be."""

from __future__ import annotations

from cuse_scullv import cuse

from .aesdchar import AesdChar
from .pipe import ScullPipe

DRIVERS: dict[str, type[cuse.Device]] = {"scullpipe": ScullPipe, "aesdchar": AesdChar}
"""By the preset. Each is made of a name, and the options of cuse.Device for its node."""
