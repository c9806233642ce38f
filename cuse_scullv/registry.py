"""Which process serves what: a locked file for each node and each directory of files.

They are in /run/cuse-scullv for root, in the user's own runtime directory for others. `stop` looks
there. A server that cannot leave its name there serves all the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from cuse_scullv.pidfile import PidFile, holder

DEV = Path("/dev")

logger = logging.getLogger(__name__)


class NotServedError(Exception):
    """No server serves what was named."""


FOLDER = Path("/run/cuse-scullv")
"""Where root's servers leave their names."""


def folder() -> Path:
    """Where this user's servers leave their names."""
    if os.geteuid() == 0:
        return FOLDER
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "cuse-scullv"
    return Path(tempfile.gettempdir()) / f"cuse-scullv-{os.geteuid()}"


def _record(place: Path) -> Path:
    return folder() / f"{quote(str(place), safe='')}.pid"


@contextlib.contextmanager
def registered(places: Iterable[Path]) -> Iterator[None]:
    """While the context lasts, `find` finds this process by these nodes and directories."""
    with contextlib.ExitStack() as stack:
        try:
            _make_folder()
            for place in places:
                stack.enter_context(PidFile(_record(place)))
        except BlockingIOError as error:
            logger.info("%s serves that already", error)  # and will be in the way
        except OSError as error:
            logger.warning("'cuse-scullv stop' will not find this server: %s", error)
        yield


def _make_folder() -> None:
    path = folder()
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise PermissionError(f"{path} is another user's")


def places_named(name: str) -> Iterator[Path]:
    """What `name` may mean: a node's name or path, a directory of files or a file in it."""
    path = Path(os.path.realpath(name))
    if "/" in name:
        yield Path(name).absolute()  # a symbolic link to the first of several nodes
        yield path.parent
    else:
        yield DEV / name
    yield path
    if "/" in name and name[0] not in "./":
        yield DEV / name  # of a node in a folder


def served() -> list[Path]:
    """The nodes and directories that are served now by this user or by root, in order. Never
    raises: what cannot be asked is left out."""
    places = set()
    for record in {*folder().glob("*.pid"), *FOLDER.glob("*.pid")}:
        with contextlib.suppress(OSError, ValueError):
            if holder(record) is not None:
                places.add(Path(unquote(record.stem)))
    return sorted(places)


def find(name: str) -> int:
    """The process that serves `name`. NotServedError: none does."""
    for place in places_named(name):
        pid = holder(_record(place))
        if pid is not None:
            return pid
    raise NotServedError(name)


def stop(name: str, timeout: float) -> bool:
    """Ends the server of `name`, and waits until it has gone. False: it has not after `timeout`
    seconds. NotServedError; PermissionError: it is another user's."""
    pid = find(name)
    fd = os.pidfd_open(pid)
    try:
        if find(name) != pid:  # it ended, and its number was given again before we held it
            raise NotServedError(name)
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(fd)
