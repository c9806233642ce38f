"""Keeping what `serve` serves, until a signal or the end of --run CMD."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import sdnotify

from cuse_scullv.cli._logging import say
from cuse_scullv.pidfile import PidFile
from cuse_scullv.processes.background import Background
from cuse_scullv.processes.keeper import Keeper
from cuse_scullv.processes.supervise import Supervisor, cannot_run
from cuse_scullv.registry import registered
from cuse_scullv.server.daemon import ServeError
from cuse_scullv.view.mount import LeftMountedError

ENDED = 1

_Keeper = TypeVar("_Keeper", bound=Keeper)


@dataclass(frozen=True)
class Served(Generic[_Keeper]):
    """What is to be kept."""

    places: Sequence[Path]
    """Of the nodes and files, by which other commands find it."""
    keeper: Callable[[], _Keeper]
    summary: Callable[[_Keeper], str]
    """The line that says what is there, once it is."""
    cmd: Sequence[str] = ()
    """The command to serve; none: until a signal."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the command, besides our own."""


@contextmanager
def named(pidfile: Path | None) -> Iterator[None]:
    """The file of --pidfile, if there is one, while this serves. Raises ServeError."""
    with ExitStack() as stack:
        try:
            if pidfile is not None:
                stack.enter_context(PidFile(pidfile))
        except BlockingIOError as error:
            raise ServeError(f"--pidfile {pidfile}: {error.strerror}: type another") from None
        except OSError as error:
            raise ServeError(
                f"--pidfile {pidfile}: {error.strerror}: type a path that you may write"
            ) from None
        yield


def keep(served: Served[_Keeper], background: Background | None) -> int:
    """Until a signal, or while the command runs; the exit status."""
    try:
        return _keep(served, background)
    except LeftMountedError as error:
        _complain(str(error.strerror), background)
        return ENDED


def _complain(what: str, background: Background | None) -> None:
    """Says why this ends: in the background there is nobody to read stderr, but a log."""
    if background is None:
        say(what, logging.ERROR)
    else:
        logging.getLogger(__name__).error(what)


def _keep(served: Served[_Keeper], background: Background | None) -> int:
    """The same; raises LeftMountedError besides."""
    with Supervisor() as supervisor, registered(served.places), served.keeper() as keeper:
        say(served.summary(keeper))
        notifier = sdnotify.SystemdNotifier()
        notifier.notify("READY=1")
        if keeper.unseparated:
            logging.getLogger(__name__).info(
                "the process that serves has this one's privileges: %s", keeper.unseparated
            )
        if background is not None:
            keeper.let_go()
            background.ready()
        status = 0
        if served.cmd:
            status = _run(supervisor, keeper, served)
        else:
            supervisor.wait(keeper.ended, keeper.reload)
        notifier.notify("STOPPING=1")
        if keeper.why:
            _complain(keeper.why, background)
            return ENDED
    return status


def _run(supervisor: Supervisor, keeper: Keeper, served: Served[_Keeper]) -> int:
    """Runs the command; its exit status."""
    try:
        return supervisor.run(served.cmd, {**os.environ, **served.environment}, keeper.ended)
    except OSError as error:
        status, message = cannot_run(served.cmd[0], error)
        say(message, logging.ERROR)
        return status
