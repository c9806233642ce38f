"""Running programs from tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping

from cuse_scullv.cli import main

Runner = Callable[..., subprocess.CompletedProcess[bytes]]
CLI = [sys.executable, "-m", "cuse_scullv"]
NOBODY = 65534
# As that user. The checkout may lie where only its owner can read, so all of the package is
# imported before.
_AS_NOBODY = f"""
import importlib, os, pkgutil, sys
import cuse_scullv
from cuse_scullv import cli
for module in pkgutil.walk_packages(cuse_scullv.__path__, "cuse_scullv."):
    if ".bench" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
os.chdir("/")
os.environ["HOME"] = "/nonexistent"
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
cli.main()
"""
NOBODYS_CLI = [sys.executable, "-c", _AS_NOBODY]
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
    """`cuse-scullv ARGUMENTS`, a process of its own."""
    return run(*CLI, *arguments, stdin=stdin)


def inside(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """`cuse-scullv ARGUMENTS` in this process: starting another takes seconds in a guest. Its
    descriptors 0, 1 and 2 are files, as a shell would have made them."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        for fd, file in enumerate(files):
            before = os.dup(fd)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, fd)
            os.dup2(file.fileno(), fd)
        # pytest has put objects of its own in the place of these.
        stdout = stack.enter_context(os.fdopen(os.dup(1), "w", buffering=1))
        stderr = stack.enter_context(os.fdopen(os.dup(2), "w", buffering=1))
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                main(list(arguments))
            except SystemExit as ended:
                status = ended.code
        assert isinstance(status, int)
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, files[1].read(), files[2].read())


def refused(*arguments: str, run: Runner = cli) -> str:
    """The one line that `cuse-scullv ARGUMENTS` refuses with; it must, with status 2."""
    done = run(*arguments)
    assert done.returncode == 2, text(done)
    assert done.stdout == b""
    message = done.stderr.decode()
    assert message.endswith("\n")
    assert message.count("\n") == 1, message
    return message.rstrip("\n")


def text(done: subprocess.CompletedProcess[bytes]) -> str:
    return f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
