"""serve: serves devices until somebody ends the program."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from cuse_scullv.processes.background import Background, detach
from cuse_scullv.processes.supervise import Supervisor
from cuse_scullv.registry import registered

from .channel import Channel
from .device import Device
from .errors import DeviceError, print_plainly
from .filterspec import FilterSpec, parse_filters
from .metrics import Metrics, check_metrics
from .mistakes import check_device
from .nodes import Nodes
from .recover import DeviceKeeper
from .workers import Workers


def arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser of a driver's command line: `--name`, `name` unless given, and `--daemon`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", default=name, help=f"of the node, below /dev; {name}")
    parser.add_argument("--daemon", action="store_true", help="return when the node is there")
    return parser


def serve(
    *devices: Device,
    workers: Workers | None = None,
    on_ready: Callable[[], None] | None = None,
    daemon: bool = False,
    recover: bool = False,
    metrics: str | int | None = None,
    filters: Iterable[str | FilterSpec] = (),
) -> None:
    """Serves `devices` until SIGINT, SIGTERM or `cuse-scullv stop NAME`, then ends them all. For
    the main thread.

    `on_ready` is called when every node can be opened; unless given, a line on stderr says so.
    With `daemon` the program returns then, with status 0, and this serves on in the background:
    it must have made no thread. With `recover` too: a process of its own serves then, and where it
    dies, of whatever, another one goes on, and no client hears of it (docs/cuse.md says what is
    promised, and what a device does for it). `filters`: of each device, as of Channel.
    DeviceError if a device cannot be served (none is then), or ended by itself; where nobody
    catches it, Python prints its sentence alone. TypeError without devices, or with what is
    none; ValueError for a filter that is none."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("serve() needs the main thread, for its signals; elsewhere use Channel")
    if not devices:
        raise TypeError("serve() needs a device: serve(Upper('upper'))")
    for device in devices:
        check_device(device)
    specs = parse_filters(filters)
    background = detach() if daemon else None
    try:
        check_metrics(metrics)
        if recover:
            _serve_kept(devices, workers, on_ready, background, metrics, specs)
        else:
            _serve_here(devices, workers, on_ready, background, metrics, specs)
    except DeviceError as error:
        print_plainly(error)
        raise


def _serve_here(
    devices: Sequence[Device],
    workers: Workers | None,
    on_ready: Callable[[], None] | None,
    background: Background | None,
    metrics: str | int | None,
    filters: Sequence[FilterSpec],
) -> None:
    with _wakeup() as (read_fd, wake), ExitStack() as stack:
        channels = [
            stack.enter_context(Channel(device, workers=workers, on_end=wake, filters=filters))
            for device in devices
        ]
        if metrics is not None:
            stack.enter_context(Metrics(metrics, channels))
        places = [channel.path for channel in channels if channel.path is not None]
        stack.enter_context(registered(places))
        _say_ready(places, on_ready)
        if background is not None:
            background.ready()
        os.read(read_fd, 1)
        for channel in channels:
            if channel.ended:
                raise DeviceError(
                    errno.ENODEV, f"the device {channel.device.name!r} was ended by the kernel"
                )


def _serve_kept(
    devices: Sequence[Device],
    workers: Workers | None,
    on_ready: Callable[[], None] | None,
    background: Background | None,
    metrics: str | int | None,
    filters: Sequence[FilterSpec],
) -> None:
    if threading.active_count() > 1:
        raise RuntimeError("serve(recover=True) makes processes: begin no thread before")
    nodes = Nodes.opened(devices)
    with (
        Supervisor() as supervisor,
        registered(nodes.paths),
        DeviceKeeper(devices, workers, nodes, metrics, filters) as keeper,
    ):
        _say_ready(nodes.paths, on_ready)
        if background is not None:
            keeper.let_go()
            background.ready()
        supervisor.wait(keeper.ended)
        if keeper.why:
            raise DeviceError(errno.ENODEV, keeper.why)


def _say_ready(places: Sequence[Path], on_ready: Callable[[], None] | None) -> None:
    if on_ready is not None:
        on_ready()
    else:
        print("serving", *places, file=sys.stderr, flush=True)


@contextmanager
def _wakeup() -> Iterator[tuple[int, Callable[[], None]]]:
    """A descriptor that can be read once a signal came or the function was called.

    A pipe and no lock: the interpreter writes to it whichever thread the signal hit."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)

    def wake() -> None:
        os.write(write_fd, b"\0")

    def handler(number: int, frame: FrameType | None) -> None:
        wake()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup_before = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield read_fd, wake
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, old in before.items():
            signal.signal(number, old)
        os.close(read_fd)
        os.close(write_fd)
