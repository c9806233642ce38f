"""The file of `serve --metrics FILE`, as node_exporter's textfile collector takes it.

It is replaced as a whole, which a worker may not do: so a process aside of the keeper, with its
privileges, asks the worker as Prometheus would, at a socket in a directory of its own."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import select
import socket
from pathlib import Path

EVERY_S = 5.0
"""How often it is written, seconds."""
_ANSWER_S = 30.0
_ACCEPT = "application/openmetrics-text; version=1.0.0"

logger = logging.getLogger(__name__)


class _Connection(http.client.HTTPConnection):
    """To a path in place of a host."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(self.host)


def ask(path: Path) -> bytes:
    """What is said at the socket at `path`. Raises OSError, HTTPException."""
    with contextlib.closing(_Connection(str(path))) as connection:
        connection.request("GET", "/metrics", headers={"Host": "unix", "Accept": _ACCEPT})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"the server says {answer.status} {answer.reason}")
        return answer.read()


def _new(file: Path) -> Path:
    return file.parent / f".{file.name}.new"


def replace(file: Path, content: bytes) -> None:
    """`file` has `content`, whoever reads it at whatever moment. Raises OSError."""
    new = _new(file)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o644), "wb") as written:
        written.write(content)
        os.fchmod(written.fileno(), 0o644)
    new.replace(file)


def keep(file: Path, path: Path, end: socket.socket) -> None:
    """Writes `file` now and then, until the other end of `end` is closed."""
    while True:
        try:
            replace(file, ask(path))
        except (OSError, http.client.HTTPException) as error:
            logger.warning("--metrics %s: %s", file, error)
        if select.select([end], [], [], EVERY_S)[0]:
            return


def remove(file: Path) -> None:
    """What is not true any more is not there to be read."""
    for path in (file, _new(file)):
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108
