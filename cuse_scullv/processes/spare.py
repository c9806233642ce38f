"""Spare: a worker that has prepared all, and follows the one that serves as soon as that has died.

A new process would first have to get pages of its own for most of what it touches, and to make its
channels: more than half of what a client waits at a death.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import NoReturn

from cuse_scullv.processes.worker import Ends, Worker

CALM_S = 0.02
"""How long after its fork it prepares, seconds: just after a death clients need the CPUs."""
AGAIN_S = 5.0
"""The same for the one after a spare that died."""

logger = logging.getLogger(__name__)


class Spare:
    """The keeper's, which calls look() when something has happened."""

    def __init__(self, work: Callable[[Ends], NoReturn]) -> None:
        """`work`: of worker.Worker."""
        self._work = work
        self._worker: Worker | None = None

    def make(self, calm: float = CALM_S) -> None:
        """Of what the keeper holds now, in place of the one before."""

        def work(ends: Ends) -> NoReturn:
            select.select([ends.orders], [], [], calm)
            self._work(ends)

        self.drop()
        self._worker = Worker(work)

    def look(self) -> None:
        """Whether it has died: then there is to be another."""
        worker = self._worker
        if worker is not None and worker.has_died():
            logger.warning("a spare worker died: %s", worker.last_words())
            self.make(AGAIN_S)

    def take(self) -> Worker | None:
        """It is the caller's. None: there is none, or it has died."""
        worker, self._worker = self._worker, None
        if worker is None or not worker.has_died():
            return worker
        worker.close()
        return None

    def drop(self) -> None:
        """There is none any more."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
