"""What a server is to serve, and what is made of that before anybody serves it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cuse_scullv import cuse
from cuse_scullv.access import DEVICES
from cuse_scullv.backing import (
    ANON,
    AUTO,
    DIRECT,
    FILE,
    MAP,
    MEMFD,
    PASSTHROUGH,
    Backing,
    BackingError,
    Ground,
)
from cuse_scullv.cuse.filterspec import FILTERS_MAX, FilterSpec
from cuse_scullv.device import ScullDevice, Shared
from cuse_scullv.params import Params
from cuse_scullv.processes.keeper import KeeperError
from cuse_scullv.registry import DEV
from cuse_scullv.server.takeover import Taken
from cuse_scullv.state import State


class ServeError(KeeperError):
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
    recover: bool = False
    """Whether a worker that dies is followed by another, and nothing is lost."""
    user: str | None = None
    """Whom the worker becomes if root serves; None: scullv if there is one, else nobody."""
    drop: bool = True
    """Whether the worker gives its privileges up."""
    filters: tuple[FilterSpec, ...] = ()
    """What befalls the requests of each device, in order."""
    metrics: str | None = None
    """Where Prometheus finds metrics: metrics_server.located; None: nowhere."""
    log_requests: Path | None = None
    """The file that open, release and ioctl are logged in; None: they are not."""

    def __post_init__(self) -> None:
        if not self.node and self.files is None:
            raise ServeError("nothing to serve: with --no-node, type --files DIR as well")
        if self.mem_node and not self.node:
            raise ServeError("--mem-node makes a node: leave out --no-node or --mem-node")
        if self.backing.kind == MAP and self.max_bytes is not None:
            raise ServeError("what is mapped does not grow: leave out --max-bytes or --map")
        if self.recover and self.backing.kind not in (MEMFD, FILE):
            raise ServeError(
                "--recover needs bytes that outlive a worker: type --backing memfd,"
                " or --backing FILE"
            )
        if self.params.preset.guarded and not self._is_memory_behind_nodes:
            raise ServeError(
                f"{self.params.preset.name} is a node, and memory of its own: leave out --files,"
                " --mem-node, --backing, --map and --recover"
            )
        if self.user is not None and not self.drop:
            raise ServeError("--user is whom the worker becomes: leave out --no-drop or --user")
        if self.view == PASSTHROUGH and self.files is None:
            raise ServeError("--view is for files: type --files DIR as well")
        if self.view == PASSTHROUGH and self.filters:
            raise ServeError(
                "no filter sees what the kernel reads and writes by itself: type --view direct,"
                " or leave out --filter"
            )
        if len(self.filters) > FILTERS_MAX:
            raise ServeError(f"a device has {FILTERS_MAX} filters at most: leave some out")

    @property
    def io_view(self) -> str:
        """Whether the kernel does the file view's I/O, as things are: filters see all of it."""
        return DIRECT if self.filters and self.view == AUTO else self.view

    @property
    def _is_memory_behind_nodes(self) -> bool:
        return self.backing.kind == ANON and self.files is None and not self.mem_node

    @property
    def names(self) -> list[str]:
        return names_of(self.name, self.devices)

    @property
    def paths(self) -> list[Path]:
        """What clients open: the nodes, or the files where there are no nodes."""
        if self.node:
            return [DEV / name for name in self.names]
        assert self.files is not None
        return [self.files / name for name in self.names]

    @property
    def places(self) -> list[Path]:
        """Where clients find all this: the nodes, and the directory of files."""
        return self.places_at(os.path.realpath(self.files) if self.files is not None else None)

    def served_from(self, typed_in: str) -> list[str]:
        """What another command has to serve to go on with what this one's keeper held; `typed_in`:
        the folder that relative paths are of. Looks at nothing, as there may be nobody who answers.
        """
        nodes = [*self.names, *(["mem"] if self.mem_node else [])] if self.node else []
        folder = [os.path.normpath(Path(typed_in, self.files))] if self.files is not None else []
        return [f"{self.devices} devices", *nodes, *folder]

    def places_at(self, directory: str | None) -> list[Path]:
        """The same, where the directory's real path is known: nobody may be there to answer who
        looks at it."""
        nodes = {DEV / name: None for name in (self.name, *self.names)} if self.node else {}
        return [*nodes, *([Path(directory)] if directory is not None else [])]


def names_of(name: str, devices: int) -> list[str]:
    """NAME alone, or NAME0, NAME1, … as the book's scull_load."""
    return [name] if devices == 1 else [f"{name}{number}" for number in range(devices)]


def make_devices(
    settings: Settings, state: State | None = None, taken: Taken | None = None
) -> list[ScullDevice]:
    """The devices, served by nobody yet; the caller closes them. `state`: where what they are to
    remember outlives this process. `taken`: what a keeper before had opened. Raises ServeError."""
    with ExitStack() as undo:
        ground = Ground(
            settings.backing,
            settings.devices,
            settings.max_bytes,
            exact_holes=settings.params.ldd3,
            inherited=taken.inherited if taken is not None else None,
        )
        undo.callback(ground.close)
        shared = Shared(settings.params, ground, state)
        devices = []
        for number, name in enumerate(settings.names):
            devices.append(_make_device(settings, shared, number, name))
            undo.callback(devices[-1].close)
        ground.close()  # its devices' files keep it
        undo.pop_all()
    return devices


def _make_device(settings: Settings, shared: Shared, number: int, name: str) -> ScullDevice:
    try:
        return DEVICES.get(settings.params.preset.name, ScullDevice)(
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


def require_cuse() -> None:
    """Raises ServeError where this machine cannot serve nodes, with both ways out."""
    state = cuse.availability()
    if not state.ok:
        raise ServeError(
            f"{state.reason}: {state.fix}; or do without a node: type "
            "'cuse-scullv serve --no-node --files DIR'"
        )


def check_node(path: Path) -> None:
    """Raises ServeError unless `path` is a character device that can be opened for reading, as far
    as we may try: a device cgroup may keep us from it, or its mode once it is somebody else's.

    EBUSY, EAGAIN and EINVAL are answers too: of a device that is not open to everybody
    (access.py)."""
    try:
        if not stat.S_ISCHR(path.stat().st_mode):
            raise ServeError(f"{path} is no character device: move it away, or type --name")
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if isinstance(error, PermissionError) and not os.statvfs(path).f_flag & os.ST_NODEV:
            return
        if error.errno in (errno.EBUSY, errno.EAGAIN, errno.EINVAL):
            return
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


def take_over_link(path: Path) -> None:
    """Removes the link of that name which a crashed server of several devices left."""
    if not path.exists():
        with suppress(PermissionError):
            _unlink(path, f"{path.name}0")


def _unlink(path: Path, target: str) -> None:
    if path.is_symlink() and str(path.readlink()) == target:
        path.unlink()


def summary(settings: Settings, shared: Shared) -> str:
    """The line that announces a server: what is served, where, and how large it may grow."""
    pending = shared.params.pending
    where = ", ".join(str(path) for path in settings.paths)
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
