"""A libfuse3 that is not there: one line from every command, not a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cuse_scullv
from cuse_scullv import _native
from cuse_scullv.cli import COMMANDS
from shell import LIMIT_S

PACKAGE = Path(cuse_scullv.__file__).parent
LIBRARY = b"libfuse3.so."


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with an extension that asks for a libfuse3 that no machine has."""
    folder = tmp_path_factory.mktemp("elsewhere")
    copy = folder / "cuse_scullv"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "_native*.so"))
    extension = Path(str(_native.__file__))
    content = extension.read_bytes()
    at = content.index(LIBRARY) + len(LIBRARY)
    (copy / extension.name).write_bytes(content[:at] + b"9" + content[at + 1 :])
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_to_install(elsewhere: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cuse_scullv", command, "--help"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode == 0:  # it needs none
        assert done.stdout.startswith("Usage")
        return
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "libfuse3.so.9" in done.stderr
    assert "install the package libfuse3" in done.stderr
