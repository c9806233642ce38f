"""Exposition: metrics by HTTP, at a socket that may be older than the process that answers there.

A keeper listens, with its privileges, and every worker answers in turn: who asks while there is
none waits for the next one. What is said there is prometheus-client's (metrics.py)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .errors import DeviceError

logger = logging.getLogger("cuse_scullv.cuse")

HOST = "127.0.0.1"
UNIX = "unix:"
PATIENCE_S = 5.0
"""How long a client may take to say something, seconds."""
CLIENTS_MAX = 8
"""That are answered at once; more are sent away."""
_PAUSE_S = 0.1


def parse_address(text: str | int) -> tuple[str, int] | Path:
    """Host and port of "HOST:PORT", ":PORT", "PORT" or a number (without a host, this machine
    alone), or the path of "unix:PATH". DeviceError (EINVAL) for what is none."""
    said = str(text)
    if said.startswith(UNIX) and said != UNIX:
        return Path(said.removeprefix(UNIX)).absolute()
    host, _, port = said.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise DeviceError(
            errno.EINVAL,
            f"no address for metrics {text!r}: take HOST:PORT, a port, as 9100, or unix:PATH",
        )
    return host or HOST, int(port)


class Listening:
    """Context manager: from entry to exit, clients can connect to an address of parse_address.

    Entering raises DeviceError: the address is taken, or is none of this machine's. What a server
    that died has left of a path is taken over."""

    def __init__(self, address: str | int, mode: int = 0o660, uid: int = -1, gid: int = -1) -> None:
        """`mode`, `uid`, `gid`: of a path; -1 leaves what it is made with."""
        self._address = parse_address(address)
        self._rights = (mode, uid, gid)
        self.socket: socket.socket
        """From entry on."""

    def __enter__(self) -> Listening:
        where = self._address
        try:
            if isinstance(where, Path):
                self.socket = self._listen_at(where)
            else:
                family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
                self.socket = socket.create_server(where, family=family)
        except OSError as error:
            name = where if isinstance(where, Path) else f"{where[0]}:{where[1]}"
            code = error.errno or errno.EADDRINUSE
            code = errno.EADDRNOTAVAIL if isinstance(error, socket.gaierror) else code
            raise DeviceError(code, f"no metrics at {name}: {error.strerror or error}") from None
        self.socket.setblocking(False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()
        if isinstance(self._address, Path):
            with contextlib.suppress(OSError):
                self._address.unlink()

    def _listen_at(self, path: Path) -> socket.socket:
        mode, uid, gid = self._rights
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_answered(path):
            path.unlink()
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(socket.socket(socket.AF_UNIX))
            # Nobody's, until it is whose it should be (net/unix/af_unix.c: unix_bind_bsd).
            os.fchmod(listening.fileno(), 0)
            listening.bind(str(path))
            undo.callback(path.unlink)
            path.chmod(mode)  # while it is still ours: later that takes CAP_FOWNER
            if (uid, gid) != (-1, -1):
                os.chown(path, uid, gid)
            listening.listen()
            undo.pop_all()
        return listening


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


class Exposition:
    """Context manager: from entry to exit, who asks at `listening` is answered by `application`
    (PEP 3333), on threads of its own. The socket stays the caller's."""

    def __init__(self, listening: socket.socket, application: Callable[..., Iterable[bytes]]):
        self._server = _Server(listening, application)
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._wake, self._end = socket.socketpair()

    def __enter__(self) -> Exposition:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wake.close()
        self._thread.join()
        self._end.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._server.socket, selectors.EVENT_READ)
            waiting.register(self._end, selectors.EVENT_READ)
            while all(key.fileobj is not self._end for key, _ in waiting.select()):
                self._server.handle_request()


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody wants to read of every scrape."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    timeout = 0  # of handle_request: it is called when there is one
    address_family = socket.AF_UNIX  # of one that is closed at once: a unit may allow no other

    def __init__(self, listening: socket.socket, application: Any) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()
        self.set_app(application)
        self._room = threading.BoundedSemaphore(CLIENTS_MAX)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Raises OSError: another worker was quicker, or the client has gone."""
        try:
            client, _ = self.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_PAUSE_S)  # it stays where it is, and would be seen again at once
            raise
        return client, ("", 0)  # of a path there is no better one

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        logger.debug("who asked for metrics was not answered", exc_info=True)
