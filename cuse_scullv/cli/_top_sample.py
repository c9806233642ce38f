"""What `cuse-scullv top` knows at one moment, and what changed since the one before."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import click

from cuse_scullv.cli._device import opened
from cuse_scullv.client import Scullv
from cuse_scullv.counts import Count, Counts
from cuse_scullv.ioctl import Information
from cuse_scullv.openers import Opener, openers
from cuse_scullv.view.fileview import TEXT_NAME

FILES = "files"
"""What the file view is called."""


@dataclass(frozen=True)
class DeviceSample:
    """Of one device."""

    path: str
    info: Information
    counts: Counts
    """Of its node."""

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True)
class Sample:
    """Of the devices of one server."""

    at: float
    """By time.monotonic()."""
    devices: tuple[DeviceSample, ...]
    view: Counts
    """Of the file view."""
    openers: tuple[Opener, ...]

    @property
    def counted(self) -> dict[str, Counts]:
        """By name, what has counts; the view is one for all devices."""
        nodes = {device.name: device.counts for device in self.devices if device.counts.placement}
        return nodes | ({FILES: self.view} if self.view.placement else {})


@dataclass(frozen=True)
class Change:
    """Of one operation of a node or view between two samples."""

    name: str
    operation: str
    total: int
    """Requests since the process that serves began."""
    count: Count
    seconds: float

    def rate(self, number: int) -> float:
        """Of that many, a second."""
        return number / self.seconds if self.seconds else 0.0


def changes(now: Sample, before: Sample | None) -> list[Change]:
    """Of all operations that were ever asked for; without a sample before, since the start."""
    found = []
    for name, counts in now.counted.items():
        old = before.counted.get(name, Counts()) if before is not None else counts
        seconds = now.at - before.at if before is not None else 0.0
        for operation, count in counts.operations.items():
            if count.requests:
                since = count.since(old.operations.get(operation, Count()))
                found.append(Change(name, operation, count.requests, since, seconds))
    return found


class Sampler:
    """Asks all devices of the server of one; a context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: list[tuple[str, Scullv]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Sampler:
        """click.ClickException, OSError: as of `opened`."""
        with ExitStack() as stack:
            first = _first(self._path)
            file = stack.enter_context(opened(first))
            devices = file.info().devices
            self._files = [(os.path.realpath(first), file)]
            if devices > 1:
                stack.close()
                stem = re.sub(r"\d+$", "", os.path.realpath(first))
                paths = [f"{stem}{number}" for number in range(devices)]
                self._files = [(path, stack.enter_context(opened(path))) for path in paths]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)  # what has gone wrong gets its advice there

    def take(self) -> Sample:
        """Raises OSError: the server has ended."""
        devices = tuple(
            DeviceSample(path, file.info(), _without_us(file.statistics(), file.is_node))
            for path, file in self._files
        )
        first = self._files[0][1]
        view = _without_us(first.statistics(view=True), not first.is_node)
        paths = [path for path, _ in self._files]
        return Sample(time.monotonic(), devices, view, tuple(openers(paths)))


def _without_us(counts: Counts, is_asked: bool) -> Counts:
    """Our own question is under way, where it went by the one that it is about."""
    return replace(counts, under_way=counts.under_way - 1) if is_asked else counts


def _first(path: str) -> str:
    """A device of the file view, where its directory is named."""
    if not os.path.isdir(path):  # noqa: PTH112
        return path
    files = sorted(set(os.listdir(path)) - {TEXT_NAME})  # noqa: PTH208
    if not files:
        raise click.ClickException(f"{path} has no devices: type the path of one")
    return os.path.join(path, files[0])  # noqa: PTH118
