"""The server: devices, their nodes, the file view, in the order they need one another.

What is made is undone in reverse, also where making stops half-way: nothing is left of a server
that could not start.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from cuse_scullv import cuse
from cuse_scullv.backing import (
    ANON,
    AUTO,
    FILE,
    MAP,
    PASSTHROUGH,
    Backing,
    BackingError,
    Ground,
)
from cuse_scullv.device import MemDevice, ScullDevice, Shared
from cuse_scullv.params import Params
from cuse_scullv.registry import DEV


class ServeError(Exception):
    """Serving cannot start: one line, with what to type."""


@dataclass(frozen=True)
class Settings:
    """What to serve, as `cuse-scullv serve` takes it."""

    name: str = "scullv"
    """Of the node, below /dev; with several devices the stem of their names."""
    devices: int = 1
    major: int = 0
    """0: the kernel's choice."""
    minor: int = 0
    """Of the first device; those that follow count on from it."""
    params: Params = field(default_factory=Params)
    max_bytes: int | None = None
    """Bytes of all devices together; None: `default_limit`, or of a file what its disk has."""
    backing: Backing = field(default_factory=Backing)
    """Where the bytes are."""
    view: str = AUTO
    """Whether the kernel does the file view's I/O: backing.VIEWS."""
    owner: str | int | None = None
    group: str | int | None = None
    mode: int = 0o660
    workers: cuse.Workers = field(default_factory=cuse.Workers)
    node: bool = True
    """Whether there are nodes in /dev; without them `files` is all there is."""
    mem_node: bool = False
    """Whether there is a node /dev/NAMEmem with the scullvmem text."""
    files: Path | None = None
    """Where the file view is mounted; None: nowhere."""

    def __post_init__(self) -> None:
        if not self.node and self.files is None:
            raise ServeError("nothing to serve: with --no-node, type --files DIR as well")
        if self.mem_node and not self.node:
            raise ServeError("--mem-node makes a node: leave out --no-node or --mem-node")
        if self.backing.kind == MAP and self.max_bytes is not None:
            raise ServeError("what is mapped does not grow: leave out --max-bytes or --map")
        if self.view == PASSTHROUGH and self.files is None:
            raise ServeError("--view is for files: type --files DIR as well")

    @property
    def names(self) -> list[str]:
        """The devices' names: NAME alone, or NAME0, NAME1, … as the book's scullv_load."""
        if self.devices == 1:
            return [self.name]
        return [f"{self.name}{number}" for number in range(self.devices)]

    @property
    def places(self) -> list[Path]:
        """Where clients find all this: the nodes, and the directory of files."""
        nodes = {DEV / name: None for name in (self.name, *self.names)} if self.node else {}
        files = [Path(os.path.realpath(self.files))] if self.files is not None else []
        return [*nodes, *files]


def make_devices(settings: Settings) -> list[ScullDevice]:
    """The devices, served by nobody yet; the caller closes them. Raises ServeError."""
    with ExitStack() as undo:
        ground = Ground(
            settings.backing,
            settings.devices,
            settings.max_bytes,
            exact_holes=settings.params.ldd3,
        )
        undo.callback(ground.close)
        shared = Shared(settings.params, ground)
        devices = []
        for number, name in enumerate(settings.names):
            devices.append(_make_device(settings, shared, number, name))
            undo.callback(devices[-1].close)
        ground.close()  # its devices' files keep it
        undo.pop_all()
    return devices


def _make_device(settings: Settings, shared: Shared, number: int, name: str) -> ScullDevice:
    try:
        return ScullDevice(
            name,
            shared,
            number,
            major=settings.major,
            minor=settings.minor + number if settings.major else settings.minor,
            mode=settings.mode,
            owner=settings.owner,
            group=settings.group,
        )
    except BackingError as error:
        raise ServeError(str(error)) from None


class Server:
    """Context manager: from entry to exit, what the settings ask for can be opened.

    Entering raises ServeError, or OSError, where it cannot be, and leaves nothing behind.
    """

    def __init__(self, settings: Settings, on_end: Callable[[], None] = lambda: None) -> None:
        """`on_end` is called, from any thread, when a node ended by itself; see `ended`."""
        self.settings = settings
        self.devices: list[ScullDevice] = []
        self.paths: list[Path] = []
        """What clients open: the nodes, or the files where there are no nodes."""
        self._on_end = on_end
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether a node ended by itself: aborted through sysfs, or its module went."""
        return self._ended

    def __enter__(self) -> Server:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        settings = self.settings
        self.devices = make_devices(settings)
        for device in self.devices:
            stack.callback(device.close)
        if settings.node:
            self._start_nodes(stack)
        if settings.files is not None:
            from cuse_scullv.fileview import FileView

            stack.enter_context(
                FileView(
                    self.devices,
                    settings.files,
                    settings.workers,
                    view=settings.view,
                    on_end=self._hung_up,
                )
            )
            if not settings.node:
                self.paths = [settings.files / device.name for device in self.devices]

    def _start_nodes(self, stack: ExitStack) -> None:
        settings = self.settings
        require_cuse()
        for device in self.devices:
            stack.enter_context(self._node(device))
        self.paths = [DEV / device.name for device in self.devices]
        if settings.mem_node:
            mem = MemDevice(
                f"{settings.name}mem",
                self.devices,
                mode=settings.mode & 0o444,
                owner=settings.owner,
                group=settings.group,
            )
            stack.enter_context(self._node(mem))
        if settings.devices > 1:
            stack.enter_context(symlink(DEV / settings.name, settings.names[0]))

    @contextmanager
    def _node(self, device: cuse.Device) -> Iterator[None]:
        workers = self.settings.workers
        with cuse.Channel(device, workers=workers, on_end=self._hung_up):
            check_node(DEV / device.name)
            yield

    def _hung_up(self) -> None:
        self._ended = True
        self._on_end()


def require_cuse() -> None:
    """Raises ServeError where this machine cannot serve nodes, with both ways out."""
    state = cuse.availability()
    if not state.ok:
        raise ServeError(
            f"{state.reason}: {state.fix}; or do without a node: type "
            "'cuse-scullv serve --no-node --files DIR'"
        )


def check_node(path: Path) -> None:
    """Raises ServeError unless `path` is a character device that can be opened for reading."""
    try:
        if not stat.S_ISCHR(path.stat().st_mode):
            raise ServeError(f"{path} is no character device: move it away, or type --name")
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise ServeError(f"{path} was made but cannot be opened: {error.strerror}") from error


@contextmanager
def symlink(path: Path, target: str) -> Iterator[None]:
    """`path` -> `target` while the context lasts. One that a crashed server left is taken over;
    anything else of that name raises ServeError."""
    _unlink(path, target)
    try:
        path.symlink_to(target)
    except FileExistsError:
        raise ServeError(f"{path} exists already: remove it, or type another --name") from None
    try:
        yield
    finally:
        _unlink(path, target)


def _unlink(path: Path, target: str) -> None:
    if path.is_symlink() and str(path.readlink()) == target:
        path.unlink()


def summary(server: Server) -> str:
    """The line that announces a server: what is served, where, and how large it may grow."""
    settings = server.settings
    shared = server.devices[0].shared
    pending = shared.params.pending
    where = ", ".join(str(path) for path in server.paths)
    if settings.node and settings.files is not None:
        where += f" and files in {settings.files}"
    rules = ", the book's rules" if settings.params.ldd3 else ""
    return (
        f"serving {where}: quantum {pending.quantum} bytes (order {pending.order}), "
        f"qset {pending.qset}, {_stands_on(shared.ground)}{rules}"
    )


def _stands_on(ground: Ground) -> str:
    backing = ground.backing
    most = f"at most {ground.limit} bytes"
    if backing.kind == ANON:
        return f"{most} of memory"
    if backing.kind == FILE:
        return f"in {backing.path}" + (f", {most}" if ground.limit else "")
    if backing.kind == MAP:
        return f"mapped from {backing.path}" + (", read-only" if ground.read_only else "")
    return f"{most} of memory, in files of the kernel's"
