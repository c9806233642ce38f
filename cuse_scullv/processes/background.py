"""Going into the background: the command returns when the server is ready, or with its error.

The process forks before it has made anything. The child serves; the parent waits for its word, and
ends with status 0, or as the child ended, whose messages were seen by then. Ready, the child lets
go of the terminal: what it has to say later goes to the system's log, where there is one.
"""

from __future__ import annotations

import ctypes
import logging
import logging.handlers
import os
from pathlib import Path

from cuse_scullv.log_format import JsonFormatter

_PR_SET_NAME = 15
_LOG = Path("/dev/log")
_TAG = "cuse-scullv[%(process)d]: "


class Background:
    """The child's side."""

    def __init__(self, word: int) -> None:
        self._word = word

    def ready(self) -> None:
        """The parent returns. To be called once, when clients can open what is served."""
        let_go()
        os.write(self._word, b"!")
        os.close(self._word)


def name_process(name: str) -> None:
    """As `ps` and `pgrep` show it (prctl(2): PR_SET_NAME); at most 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def let_go() -> None:
    """Of the terminal, and of the folder that the command was typed in."""
    _log_elsewhere()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def detach() -> Background:
    """Returns in the child alone; the parent exits. No thread may have been made yet."""
    heard, word = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        os.setsid()
        return Background(word)
    os.close(word)
    is_ready = os.read(heard, 1) == b"!"
    os._exit(0 if is_ready else _status(pid))


def _status(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _log_elsewhere() -> None:
    root = logging.getLogger()
    is_json = any(isinstance(handler.formatter, JsonFormatter) for handler in root.handlers)
    for handler in list(root.handlers):
        root.removeHandler(handler)
    if not _LOG.exists():
        root.addHandler(logging.NullHandler())
        return
    system = logging.handlers.SysLogHandler(str(_LOG), logging.handlers.SysLogHandler.LOG_DAEMON)
    plain = logging.Formatter(f"{_TAG}%(message)s")
    system.setFormatter(JsonFormatter(_TAG) if is_json else plain)
    root.addHandler(system)
