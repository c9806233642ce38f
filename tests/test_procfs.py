"""Processes whose names are no names: /proc still tells what is so, and no such name is shown."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv.access import terminal_of
from cuse_scullv.jobserver.kin import ancestors_of, start_of
from cuse_scullv.openers import openers
from cuse_scullv.procfs import is_ending, shown_name, stat_fields

NAMES = [b"\xff\xfe", b"a) R 1 (", b"\r\x1c\n", b"\x1b[31m"]


@pytest.fixture(params=NAMES, ids=repr)
def named(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process of that name, without a terminal, and a file that it has open."""
    path = tmp_path / "open"
    path.touch()
    heard, word = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.open(path, os.O_RDONLY)
        ctypes.CDLL(None).prctl(15, request.param, 0, 0, 0)  # PR_SET_NAME
        os.write(word, b"!")
        while True:
            time.sleep(60)
    os.read(heard, 1)
    os.close(heard)
    os.close(word)
    yield pid, path
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_name_hides_nothing_and_raises_nothing(named: tuple[int, Path]) -> None:
    pid, path = named
    assert stat_fields(Path(f"/proc/{pid}"))[0] in (b"S", b"R")
    assert next(ancestors_of(pid)) == os.getpid()
    assert start_of(pid) >= start_of(os.getpid())
    assert not is_ending(pid)
    with pytest.raises(OSError, match="no controlling terminal") as refused:
        terminal_of(pid)
    assert refused.value.errno == errno.EINVAL
    (opener,) = openers([str(path)])
    assert (opener.pid, opener.path, opener.files) == (pid, str(path), 1)
    assert opener.name == shown_name(Path(f"/proc/{pid}"))
    assert opener.name.isprintable()
