"""No module of the package is part of a ring of imports: a reader can begin at the bottom."""

from __future__ import annotations

import ast
from pathlib import Path

import cuse_scullv
from test_rooms import Arrows, circle, plant

PACKAGE = Path(cuse_scullv.__file__).parent


def imported(path: Path, name: str) -> set[str]:
    """What a module may import, for types only or within functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def arrows_of(folder: Path) -> Arrows:
    """Which module imports which. What a package's __init__ gathers is no module's business."""
    modules = {
        ".".join((folder.name, *path.relative_to(folder).with_suffix("").parts)): path
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__init__.py"
    }
    return {
        name: {other for other in imported(path, name) if other in modules and other != name}
        for name, path in modules.items()
    }


def test_no_modules_import_one_another() -> None:
    arrows = arrows_of(PACKAGE)
    assert len(arrows) > 50
    assert circle(arrows) == []


def test_a_planted_ring_is_found(tmp_path: Path) -> None:
    files = {
        "package/low.py": "def f():\n    from package import high\n",
        "package/high.py": "from .middle import x\n",
        "package/middle.py": "if TYPE_CHECKING:\n    from . import low\n",
    }
    ring = circle(arrows_of(plant(tmp_path, files) / "package"))
    assert set(ring) == {"package.low", "package.high", "package.middle"}
