"""guided_replay: what reads logs of `cuse-scullv proxy`, led by what it reaches.

    python tests/fuzz/guided_replay.py [-max_total_time=SECONDS] [CORPUS…]

A file is refused in one line, or it is a log: then what is written of it reads as the same. Needs
atheris.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cuse_scullv.recording"]):
    from cuse_scullv.recording import log, script
    from cuse_scullv.recording.requests import Exchange

HEADER = log.header("/dev/scullv", "2026-01-01T00:00:00")
FILE = Path(f"/proc/self/fd/{os.memfd_create('log')}")


def load(text: bytes) -> log.Log | None:
    FILE.write_bytes(text)
    try:
        return log.load(FILE)
    except log.LogError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return None


def exchanges_of(found: log.Log) -> list[Exchange]:
    """As they are, wherever they stood."""
    return [dataclasses.replace(exchange, line=0) for exchange in found.exchanges]


def one_input(given: bytes) -> None:
    # What stands before and behind all else would take it long to find.
    whole = given if given[:1] == b"{" else b"\n".join((HEADER.encode(), given, log.END.encode()))
    found = load(whole)
    if found is None:
        return
    script.InOrder(found.exchanges)
    lines = [HEADER, *map(log.line_of, found.exchanges), log.END]
    again = load("\n".join([*lines, ""]).encode())
    assert again is not None
    assert exchanges_of(again) == exchanges_of(found)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
