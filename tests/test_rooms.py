"""The rooms of csrc/: arrows between them run down only, and no file is part of a circle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
FLOORS = (
    ("view",),
    ("channel",),
    ("store", "placement", "filter"),
    ("memory",),
    ("recover",),
    ("base",),
)
"""From the top: a room includes from its own and from the floors below. The seam is for all."""

Arrows = dict[str, set[str]]


def arrows_of(folder: Path) -> Arrows:
    """Which file includes which, as ROOM/NAME: a header and its source are one file, and a private
    header is part of the file that it is named for."""
    arrows: Arrows = {}
    for path in sorted(folder.glob("*/*.[ch]")):
        name = f"{path.parent.name}/{path.stem.removesuffix('_private')}"
        found = re.findall(
            r'^#include "(\w+/\w+?)(?:_private)?\.h"', path.read_text(), re.MULTILINE
        )
        arrows.setdefault(name, set()).update(set(found) - {name})
    return arrows


def upward(arrows: Arrows) -> list[str]:
    """The arrows that run up, or between rooms of one floor."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for source, targets in arrows.items():
        room = source.partition("/")[0]
        for target in sorted(targets):
            other = target.partition("/")[0]
            if other != room and floor[other] <= floor[room]:
                wrong.append(f"{source} -> {target}")
    return wrong


def circle(arrows: Arrows) -> list[str]:
    """Files that include one another in a ring; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for target in sorted(arrows.get(name, ())):
                if found := visit(target, [*path, name]):
                    return found
            done.add(name)
        return []

    for name in sorted(arrows):
        if found := visit(name, []):
            return found
    return []


def packages() -> set[str]:
    """The folders of the package; packaging/ is data."""
    return {path.parent.name for path in (ROOT / "cuse_scullv").glob("*/__init__.py")} | {
        "packaging"
    }


def plant(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_arrows_between_rooms_run_down() -> None:
    assert upward(arrows_of(CSRC)) == []


def test_no_files_include_one_another() -> None:
    assert circle(arrows_of(CSRC)) == []


def test_every_file_is_in_a_room() -> None:
    seam = {"scullv.h", "scullv_ioctl.h"}
    assert {path.name for path in CSRC.glob("*.*")} == seam
    assert {path.name for path in CSRC.iterdir() if path.is_dir()} == {r for f in FLOORS for r in f}


def test_c_tests_are_in_the_room_of_what_they_test() -> None:
    rooms = {path.parent.name for path in (ROOT / "tests" / "c").glob("*/test_*.c")}
    assert rooms
    assert rooms <= {room for floor in FLOORS for room in floor}


def test_the_table_for_contributors_lists_the_rooms() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = {
        room: set(re.findall(r"`(\w+)`", files))
        for room, files in re.findall(r"^\| `csrc/(\w+)/` \| ([^|]*) \|", text, re.MULTILINE)
    }
    there = {
        room: {path.stem.removesuffix("_private") for path in (CSRC / room).glob("*.[ch]")}
        for floor in FLOORS
        for room in floor
    }
    assert listed == there


def test_it_lists_all_of_the_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| [a-z ]+ \| ([^|]*`cuse_scullv/[^|]*) \|", text, re.MULTILINE)
    listed = {
        name.rstrip("/")
        for name in re.findall(r"`(?:cuse_scullv/)?([\w/]+(?:\.pyi?)?)`", "".join(rows))
    }
    package = ROOT / "cuse_scullv"
    files = {path.name for path in package.glob("*.py*") if not path.name.startswith("__")}
    assert files | packages() == {name for name in listed if "/" not in name}


def test_the_picture_has_all_rooms_from_the_top() -> None:
    picture = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    seen = re.findall(r"csrc/(\w+)/", picture)
    assert sorted(seen) == sorted(room for floor in FLOORS for room in floor)
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert [floor[room] for room in seen] == sorted(floor.values())
    assert set(re.findall(r"cuse_scullv/(\w+)/", picture)) == packages()


@pytest.mark.parametrize("kept_open_by", ["channel/queue.h", "channel/queue.c"])
def test_a_planted_circle_is_found(tmp_path: Path, kept_open_by: str) -> None:
    folder = plant(
        tmp_path,
        {
            "channel/worker.h": '#include "channel/queue.h"\n',
            kept_open_by: '#include "channel/worker_private.h"\n',
        },
    )
    assert set(circle(arrows_of(folder))) == {"channel/queue", "channel/worker"}


def test_a_planted_arrow_upwards_is_found(tmp_path: Path) -> None:
    files = {"memory/arena.c": '#include "store/store.h"\n#include "base/bits.h"\n'}
    assert upward(arrows_of(plant(tmp_path, files))) == ["memory/arena -> store/store"]
