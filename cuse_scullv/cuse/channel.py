"""Channel: a device being served: its CUSE channel, its session, its node."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import inspect
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cuse_scullv._native import ffi, lib
from cuse_scullv.state import Place, new_ledger

from . import node as node_module
from .device import DataPathDevice, Device, handlers
from .errors import DeviceError
from .filters import Filters
from .filterspec import FilterSpec
from .hooks import Hooks
from .host import open_cuse
from .loop import handler_loop
from .mistakes import check_device
from .native import NativeChannel
from .node import Node
from .pump import Pump
from .session import Session
from .sessions import session_of
from .statistics import Statistics
from .workers import Workers

if TYPE_CHECKING:
    from cuse_scullv._native import CData

logger = logging.getLogger("cuse_scullv.cuse")

READY_S = 30.0
"""How long the kernel may take to make a device, seconds; it needs milliseconds."""
GRACE_S = 1.0
"""How long handlers may take to end when the device is closed, seconds."""

_names_lock = threading.Lock()
_names: set[str] = set()  # under _names_lock: of the nodes that this process serves
_started: set[Channel] = set()  # to be closed before the interpreter goes


@atexit.register
def _close_all() -> None:
    """An upcall into an interpreter that is going would never come back."""
    for channel in list(_started):
        channel.close()


class Channel:
    """Serves `device` from start() to close(); a context manager does both.

        with cuse.Channel(Rot13("rot13")):
            ...                                 # /dev/rot13 is there

    Methods may be called from any thread, but not from a handler of the device.
    """

    def __init__(
        self,
        device: Device,
        fd: int | None = None,
        workers: Workers | None = None,
        on_end: Callable[[], None] | None = None,
        *,
        filters: Filters | Iterable[str | FilterSpec] = (),
        place: Place | None = None,
    ) -> None:
        """`fd`: in place of an open /dev/cuse, a SEQPACKET socket with a kernel or a
        `testing.FakeKernel` at its other end; it is the channel's from start() on. A socket
        makes no node. `on_end` is called, on some thread, when the channel ended by itself: it was
        aborted through /sys/class/cuse/NAME/abort, or the other end was closed. `filters`: what
        befalls its requests, in order, as `serve --filter` takes it. `place`: where a
        keeper keeps what outlives this process; the node is the keeper's too.

        Raises TypeError or DeviceError (EINVAL) for a device that cannot be one: a class, one whose
        __init__ has not called Device's, one with an attribute in a method's place; ValueError for
        a filter that is none."""
        check_device(device)
        self.device = device
        self.workers = workers or Workers()
        self._on_end = on_end
        self._fd = fd
        self._place = place
        if not isinstance(filters, Filters):
            filters = Filters(filters, place=place)
        self.filters: Filters = filters
        """What befalls the device's requests; may be changed while clients are at work."""
        self._is_socket = fd is not None and stat.S_ISSOCK(os.fstat(fd).st_mode)
        self._has_node = place is None and not self._is_socket
        self._node: Node | None = None
        self._hooks = Hooks(device)
        self._session: Session | None = None
        self._channel: NativeChannel | None = None
        self._pump: Pump | None = None
        self._ledger = ffi.NULL  # the channel's
        self._number = -1  # the descriptor, which is C's while there is a channel
        self._taken_over = False
        self._ready = False
        self._ended = threading.Event()
        self._counting = threading.Lock()  # the channel does not end while it is asked
        self._counted: NativeChannel | None = None  # under it: the channel, until that ends
        self._statistics = Statistics()

    def __enter__(self) -> Channel:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "serving" if self._channel else "closed"
        return f"<cuse.Channel of {self.device.name!r}, {state}>"

    @property
    def path(self) -> Path | None:
        """Of the node; None if there is none."""
        return self._node.path if self._node is not None else None

    @property
    def ended(self) -> bool:
        """The channel ended by itself; close() is still to be called."""
        return self._ended.is_set()

    @property
    def requests(self) -> int:
        """Reads and writes that were answered in C."""
        return self._channel.requests if self._channel is not None else 0

    def statistics(self) -> Statistics:
        """What was answered since start(): requests, errors, bytes, time, by operation and ioctl
        command. Of one that is closed, what it was then. Any thread."""
        with self._counting:
            if self._counted is not None:
                return self._counted.statistics()
            return self._statistics

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop that `async def` methods of all devices of this process run on; it is
        started where there is none yet. From other threads: `loop.call_soon_threadsafe` and
        `asyncio.run_coroutine_threadsafe`."""
        return handler_loop()

    def prepare(self) -> None:
        """Makes all that start() needs, and serves nothing yet: start() is quick then. Raises what
        start() does."""
        if self._channel:
            raise DeviceError(errno.EBUSY, f"{self!r} is started already")
        with contextlib.ExitStack() as undo:
            undo.callback(self._close_fd)
            if self._has_node:
                self._take_name(undo)
            session = session_of(self.device, self.workers.callers, self._hung_up)
            undo.callback(session.finish)
            if self._fd is None:
                self._fd = open_cuse()
            self._open(session)
            self._session = session
            undo.pop_all()

    def start(self) -> None:
        """Begins to serve. DeviceError: no CUSE here, the name is taken, the device is served
        already; its message says what to do. What the device's started() raises."""
        if self._channel is None or self._counted is not None:
            self.prepare()
        try:
            self.take_over()
            self._begin()
        except BaseException:
            self.close(0)
            raise

    def take_over(self) -> None:
        """After prepare(): what a worker before this process has left, which has to be dead. Once
        start() has been called there is nothing left to do."""
        channel, session = self._channel, self._session
        assert channel is not None
        assert session is not None
        if self._taken_over:
            return
        self._taken_over = True
        if isinstance(self.device, DataPathDevice):
            session.restore(self._ledger)
        elif self._ledger:
            session.keep(self._ledger)
        self._hooks.begin()
        try:
            channel.take_over()
        except OSError as error:
            raise self._no_session(error) from None

    def _take_name(self, undo: contextlib.ExitStack) -> None:
        name = self.device.name
        self._node = Node(self.device)
        with _names_lock:
            if name in _names:
                raise DeviceError(
                    errno.EEXIST,
                    f"this process serves a device {name!r} already: take another name",
                )
            _names.add(name)
        undo.callback(_names.discard, name)
        self._node.check_free()

    def _new_ledger(self) -> CData:
        if isinstance(self.device, DataPathDevice):
            return self._place.ledger() if self._place is not None else new_ledger()
        if self._place is not None and self._place.is_kept:
            return self._place.ledger(saves=True)
        return ffi.NULL

    def _open(self, session: Session) -> None:
        device = self.device
        self._ledger = self._new_ledger()
        session.heed(self.filters)
        name = ffi.new("char[]", os.fsencode(device.name))
        setup = ffi.new("struct cuse_setup *")
        setup.name = name
        setup.major, setup.minor = device.major, device.minor
        setup.unrestricted = device.unrestricted
        setup.data_path = isinstance(device, DataPathDevice)
        setup.interruptible = any(map(inspect.iscoroutinefunction, handlers(device)))
        setup.ledger = self._ledger
        setup.filters = self.filters.pointer
        setup.pumped = session.on_loop
        fd, self._fd = self._fd, None  # C closes it, also where it fails
        assert fd is not None
        if session.on_loop and not self._is_socket:
            os.set_blocking(fd, False)  # a request may be withdrawn just before it is read
        options = self.workers.options()
        try:
            self._channel = NativeChannel(
                session, lambda owner: lib.cuse_open(fd, setup, options, owner)
            )
        except OSError as error:
            raise self._no_session(error) from None
        self._number = fd

    def _begin(self) -> None:
        channel, session = self._channel, self._session
        assert channel is not None
        assert session is not None
        try:
            channel.begin()
        except OSError as error:
            raise self._no_session(error) from None
        self._counted = channel
        if session.on_loop:
            self._pump = Pump(self._number, channel.pointer)
        _started.add(self)

    def _no_session(self, error: OSError) -> DeviceError:
        return DeviceError(
            error.errno or errno.EIO, f"no session for {self.device.name!r}: {error.strerror}"
        )

    def _close_fd(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def wait_ready(self, timeout: float = READY_S) -> None:
        """Returns when clients can open the device. DeviceError: EEXIST, the name or the number
        is taken; ETIMEDOUT, it took more than `timeout` seconds; and those of the node."""
        if self._ready:
            return
        if self._channel is None:
            raise DeviceError(errno.ENODEV, f"{self!r} is not started")
        deadline = time.monotonic() + timeout
        code = self._channel.wait_ready(timeout)
        if code:
            raise self._refused(code, timeout)
        if self._node is not None:
            self._node.appear(max(0.1, deadline - time.monotonic()))
        self._ready = True

    def _refused(self, code: int, timeout: float) -> DeviceError:
        device = self.device
        path = node_module.DEV / device.name
        if code == errno.EEXIST and device.major:
            return DeviceError(
                code,
                f"the kernel refused {path}: another driver has that name, or the number"
                f" {device.major}:{device.minor}; take others, or major 0",
            )
        if code == errno.EEXIST:
            return node_module.taken(path)
        if code == errno.ETIMEDOUT:
            return DeviceError(code, f"the kernel has not taken {path} within {timeout:g} s")
        return DeviceError(code, f"the channel of {path} ended: {os.strerror(code)}")

    def close(self, grace: float = GRACE_S) -> None:
        """Ends the device. Handlers under way are cancelled and have `grace` seconds to end; files
        that clients still have open are released. What a client does then is ENODEV or ENOTCONN."""
        channel, self._channel = self._channel, None
        session, self._taken_over = self._session, False
        if channel is None or session is None:
            return
        _started.discard(self)
        session.stop(grace)
        if self._pump is not None:
            self._pump.stop(grace)
        with self._counting:
            self._counted, self._statistics = None, channel.statistics()
        channel.close(grace, self._complain)
        if self._node is not None:
            self._node.remove()
            with _names_lock:
                _names.discard(self.device.name)
        session.finish()
        self._hooks.end()

    def _complain(self) -> None:
        logger.error("%s: a handler hangs; its thread is left behind", self.device.name)

    def _hung_up(self) -> None:
        self._ended.set()
        if self._on_end is not None:
            self._on_end()


def start_all(channels: Sequence[Channel]) -> None:
    """Of those that are prepared. None answers before all have taken over: its clients would take
    the CPU from those that wait for the others. Raises what start() does."""
    for channel in channels:
        channel.take_over()
    for channel in channels:
        channel.start()
