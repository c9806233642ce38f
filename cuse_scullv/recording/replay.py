"""Replay: a device that answers from a log."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuse_scullv import cuse

from .arguments import argument_of
from .asked import asked_by
from .flags import DRIVERS
from .log import Log
from .readiness import Readiness, Union
from .requests import Answer, Exchange, Ioctl, Open, Read, Request, Write
from .script import AnyOrder, DivergedError, InOrder, Play

logger = logging.getLogger(__name__)

_FOREVER_S = 365 * 86400.0


@dataclass(slots=True)
class _Played:
    """The state of an open file."""

    play: Play
    readiness: Readiness | Union
    at_us: int
    """The log's time when it was answered last, and"""
    since: float
    """ours then, time.monotonic()."""
    woken_us: int = -1
    """The log's time at which pollers are going to be woken."""


class Replay(cuse.Device):
    """The device of `log`, a file at `path`.

    A request that the log does not have next is EIO, and an error in the log of the program that
    says where; the next of this open file is then still what it was. `speed`: 1 takes the time that
    the device took, 2 half of it; 0 none. `any_order`: see AnyOrder."""

    def __init__(
        self,
        name: str,
        path: Path,
        log: Log,
        *,
        speed: float = 0.0,
        any_order: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(name, unrestricted=True, **options)
        self.divergences = 0
        """How many requests were EIO."""
        self._path = path
        self._speed = speed
        self._changed = cuse.Condition()  # guards what is played
        exchanges = log.exchanges
        self._common = AnyOrder(exchanges) if any_order else None
        self._union = Union(exchanges)
        self._opens: Play = self._common or InOrder(e for e in exchanges if _is_open(e))
        self._of_file: dict[int, list[Exchange]] = defaultdict(list)
        for exchange in exchanges:
            if not _is_open(exchange):
                self._of_file[exchange.file].append(exchange)

    def open(self, file: cuse.File) -> _Played:
        opened = self._exchange(self._opens, Open(file.flags & DRIVERS))
        opened.answer.check()
        at_us, since = opened.end_us, time.monotonic()
        if self._common is not None:
            return _Played(self._common, self._union, at_us, since)
        own = self._of_file[opened.file]
        return _Played(InOrder(own), Readiness(own), at_us, since)

    def read(self, file: cuse.File, size: int) -> bytes | memoryview:
        return self._answer(file, Read(size)).data

    def write(self, file: cuse.File, data: memoryview) -> int:
        return self._answer(file, Write(bytes(data))).result

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        argument = argument_of(request.cmd, request.arg)
        asked = Ioctl(request.cmd) if argument is None else asked_by(request, argument)
        answer = self._answer(file, asked)
        return cuse.IoctlReply(answer.result, bytes(answer.data[: request.out_size]))

    def poll(self, file: cuse.File) -> int:
        played: _Played = file.state
        with self._changed:
            until_us = played.play.next_us if isinstance(played.play, InOrder) else None
            if self._speed:
                until_us = self._wake_in_time(file, played, until_us)
            return played.readiness.events(until_us)

    def _wake_in_time(self, file: cuse.File, played: _Played, until_us: int | None) -> int:
        """Now, as the log has it; the client will be woken when the next poll of the log is so."""
        passed_us = (time.monotonic() - played.since) * self._speed * 1e6
        now_us = played.at_us + int(passed_us)
        if until_us is not None:
            now_us = min(now_us, until_us)
        next_us = played.readiness.next_us(now_us)
        if next_us is not None and (until_us is None or next_us <= until_us):
            self._wake_at(file, played, next_us, (next_us - now_us) / 1e6 / self._speed)
        return now_us

    def _wake_at(self, file: cuse.File, played: _Played, when_us: int, seconds: float) -> None:
        if played.woken_us == when_us:
            return

        def wake() -> None:
            played.woken_us = -1
            file.notify()

        played.woken_us = when_us
        timer = threading.Timer(seconds, wake)
        timer.daemon = True
        timer.start()

    def _answer(self, file: cuse.File, request: Request) -> Answer:
        played: _Played = file.state
        exchange = self._exchange(played.play, request, file)
        with self._changed:
            played.at_us, played.since, played.woken_us = exchange.end_us, time.monotonic(), -1
        file.notify()  # what is so for pollers may be another now
        return exchange.answer.check()

    def _exchange(self, play: Play, request: Request, file: cuse.File | None = None) -> Exchange:
        """The exchange that the request is, when its answer is due."""
        began = time.monotonic()
        with self._changed:
            exchange = self._taken(play, request)
        if file is not None:
            file.notify()
        try:
            if exchange.was_interrupted:
                cuse.sleep(_FOREVER_S)  # until a signal hits the client here too
            if self._speed:
                took = (exchange.end_us - exchange.start_us) / 1e6 / self._speed
                cuse.sleep(max(0.0, began + took - time.monotonic()))
            with self._changed:
                self._changed.wait_for(lambda: play.is_due(exchange))
        finally:
            with self._changed:
                play.answered(exchange)
                self._changed.notify_all()
        return exchange

    def _taken(self, play: Play, request: Request) -> Exchange:
        try:
            return play.take(request)
        except DivergedError as diverged:
            self.divergences += 1
            where = f"{self._path}:{diverged.line}" if diverged.line else str(self._path)
            logger.error("%s: %s; the client gets EIO", where, diverged)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from None


def _is_open(exchange: Exchange) -> bool:
    return isinstance(exchange.request, Open)
