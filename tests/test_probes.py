"""Probes for tracers: each is noted where docs/watching.md says, and requests come by it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import _native
from nodes import RealPool

LIBRARY = Path(_native.__file__)
TRACING = Path("/sys/kernel/tracing")
DOCS = (Path(__file__).parent.parent / "docs/watching.md").read_text()

pytestmark = pytest.mark.skipif(
    not any(Path("/usr/include").glob("**/sys/sdt.h")), reason="built without sys/sdt.h"
)


def notes() -> dict[str, tuple[int, int]]:
    """By probe: its address, and how many arguments it has (readelf(1): stapsdt)."""
    said = subprocess.run(["readelf", "-nW", LIBRARY], capture_output=True, text=True, check=True)
    found = re.findall(
        r"Provider: cuse_scullv\s+Name: (\w+)\s+Location: (0x\w+),.*\s+Arguments: (.*)", said.stdout
    )
    return {name: (int(at, 16), len(arguments.split())) for name, at, arguments in found}


def offset_of(address: int) -> int:
    """In the file, of an address in the text."""
    said = subprocess.run(["readelf", "-lW", LIBRARY], capture_output=True, text=True, check=True)
    for line in re.findall(r"LOAD +(0x\w+) (0x\w+) 0x\w+ (0x\w+)", said.stdout):
        offset, begin, size = (int(number, 16) for number in line)
        if begin <= address < begin + size:
            return address - begin + offset
    raise AssertionError(f"{address:#x} is in no segment")


def test_they_are_those_of_the_table() -> None:
    table = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", DOCS.partition("## Probes")[2], re.MULTILINE)
    assert {name: len(re.findall("`arg", words)) for name, words in table} == {
        name: count for name, (_, count) in notes().items()
    }


@pytest.fixture
def hits() -> Iterator[Path]:
    """Where the kernel writes a line for each time that a request is answered."""
    if not TRACING.joinpath("uprobe_events").exists():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
    address, _ = notes()["answer"]
    events = TRACING / "uprobe_events"
    events.write_text(f"p:scullvtest/answer {LIBRARY}:{offset_of(address):#x}\n")
    enable = TRACING / "events/scullvtest/enable"
    enable.write_text("1")
    yield TRACING / "trace"
    enable.write_text("0")
    events.write_text("")  # none is left


@pytest.mark.real
@pytest.mark.smp
def test_the_kernel_sees_answers(hits: Path, real_pool: RealPool) -> None:
    path = real_pool.get().path
    path.write_bytes(b"seen")
    assert path.read_bytes() == b"seen"
    assert "scullv" in hits.read_text()
    assert hits.read_text().count("answer:") >= 4  # open, write, read, its end
