"""The keeper's part of `serve --metrics`: a socket that outlives its workers, or a file."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from cuse_scullv.cuse.errors import DeviceError
from cuse_scullv.cuse.exposition import UNIX, Listening, parse_address
from cuse_scullv.cuse.metrics import check_metrics
from cuse_scullv.processes.background import let_go, name_process
from cuse_scullv.server import metrics_file

WHERE = "unix:PATH|HOST:PORT|FILE"


def file_of(where: str) -> Path | None:
    """The file that is asked for; None: an address is. Raises DeviceError (EINVAL)."""
    if not where.startswith(UNIX) and "/" in where:
        return Path(where).absolute()
    with suppress(DeviceError):
        address = parse_address(where)
        if isinstance(address, Path) or address[1] != 0:  # nobody would know which port it is
            return None
    raise DeviceError(
        errno.EINVAL,
        f"--metrics {where}: type HOST:PORT, a port as 9100, {UNIX}PATH, or a file's path with a"
        " slash",
    )


def located(where: str) -> str:
    """The same from whatever folder. Raises DeviceError (EINVAL)."""
    file = file_of(where)
    if file is not None:
        return str(file)
    address = parse_address(where)
    return f"{UNIX}{address}" if isinstance(address, Path) else where


class MetricsPlace:
    """What is held for the workers: where they are asked."""

    def __init__(
        self, where: str, stack: ExitStack, mode: int = 0o660, uid: int = -1, gid: int = -1
    ) -> None:
        """Open until the end of `stack`. `mode`, `uid`, `gid`: whose a path is. Raises DeviceError,
        of one line."""
        self.file = file_of(where)
        self._path = Path()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        check_metrics(where if self.file is None else 0)
        if self.file is not None:
            where = self._private(self.file, stack)
        self.socket = stack.enter_context(Listening(where, mode, uid, gid)).socket

    def _private(self, file: Path, stack: ExitStack) -> str:
        try:
            metrics_file.replace(file, b"")
        except OSError as error:
            raise DeviceError(
                error.errno or errno.EIO,
                f"--metrics {file}: {error.strerror}: type a path that you may write",
            ) from None
        stack.callback(metrics_file.remove, file)
        self._folder = tempfile.TemporaryDirectory(prefix="cuse-scullv-")
        stack.callback(self.forget)
        self._path = Path(self._folder.name) / "metrics"
        return f"{UNIX}{self._path}"

    def forget(self) -> None:
        """This process ends, or becomes another program: what only it knows of goes."""
        if self._folder is not None:
            self._folder.cleanup()

    def keep_file(self, end: socket.socket) -> None:
        """The life of the process aside that writes the file, until `end` is closed."""
        assert self.file is not None
        os.umask(0o022)
        let_go()
        name_process("scullv-metrics")
        metrics_file.keep(self.file, self._path, end)
