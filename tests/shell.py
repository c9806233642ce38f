"""Running programs from tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

CLI = [sys.executable, "-m", "cuse_scullv"]
# For programs that end by themselves. A CI machine may be many times slower than this one.
LIMIT_S = 100.0


def run(
    *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The program's end, with its output."""
    return subprocess.run(
        words,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **(env or {})},
    )


def out(*words: str, stdin: bytes | None = None) -> bytes:
    """What a program that must succeed prints."""
    done = run(*words, stdin=stdin)
    assert done.returncode == 0, f"{words}: status {done.returncode}\n{text(done)}"
    return done.stdout


def sh(script: str, **variables: str) -> bytes:
    """What a shell script that must succeed prints; `set -e` is on."""
    done = run("sh", "-ec", script, env=variables)
    assert done.returncode == 0, f"{script}: status {done.returncode}\n{text(done)}"
    return done.stdout


def cli(*arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """`cuse-scullv ARGUMENTS`."""
    return run(*CLI, *arguments, stdin=stdin)


def refused(*arguments: str) -> str:
    """The one line that `cuse-scullv ARGUMENTS` refuses with; it must, with status 2."""
    done = cli(*arguments)
    assert done.returncode == 2, text(done)
    assert done.stdout == b""
    message = done.stderr.decode()
    assert message.endswith("\n")
    assert message.count("\n") == 1, message
    return message.rstrip("\n")


def text(done: subprocess.CompletedProcess[bytes]) -> str:
    return f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
