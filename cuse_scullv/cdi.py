"""Nodes as containers' runtimes are told of them, by the Container Device Interface.

Source: SPEC.md of github.com/cncf-tags/container-device-interface. What is written is of the lowest
version that has all of it, so that old runtimes take it too.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuse_scullv.registry import DEV

KIND = "cuse-scullv/device"
_VERSION = "0.3.0"
_VERSION_WITH_DIGITS = "0.5.0"
"""From which on a device's name may begin with a digit."""


class NameTakenError(ValueError):
    """Two nodes would have one name."""


def name_of(node: Path) -> str:
    """The name of a node's device: letters, digits and _ . : - of its path below /dev."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "-", str(node.relative_to(DEV))).rstrip("_.:-")


def specification(nodes: Sequence[Path]) -> dict[str, Any]:
    """The specification of some nodes, each as a device of its own.

    In a container a node has the path, owner and mode that it has here. Its numbers are left out:
    the runtime looks for them when the container is made, and a server that was started anew may
    have others. NameTakenError; OSError where there is no such node.
    """
    names = [name_of(node) for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise NameTakenError(name)
    digits = any(name[0].isdigit() for name in names)
    return {
        "cdiVersion": _VERSION_WITH_DIGITS if digits else _VERSION,
        "kind": KIND,
        "devices": [
            {"name": name, "containerEdits": {"deviceNodes": [_node(node)]}}
            for name, node in zip(names, nodes, strict=True)
        ],
    }


def _node(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "path": str(path),
        "type": "c",
        "permissions": "rw",
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
