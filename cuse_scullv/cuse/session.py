"""Session: a device on a channel. An upcall comes in, a handler runs, one reply goes out.

Where a handler runs is settled in running.py. The loop brings the calls itself where all of a
device's handlers are its own (pump.py).

State: `pending`, requests not answered yet; `files`, files that are open; both are dicts whose
single operations are atomic."""

from __future__ import annotations

import asyncio
import errno
import inspect
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from cuse_scullv._native import ffi, lib
from cuse_scullv.state import open_files

from .answer import logger
from .current import current
from .deadline import Deadlines
from .device import DataPathDevice, Device, overrides
from .ending import Ending
from .errors import DeviceError
from .file import File
from .filter_ioctl import COMMANDS
from .filters import Filters
from .ioctl import IoctlRequest
from .keeping import Keeping
from .loop import handler_loop, start
from .native import warn_refused
from .polls import Polls
from .pool import Pool
from .pump import can_pump
from .readinto import reader
from .remote import RemoteMemory
from .request import Request
from .running import Running

if TYPE_CHECKING:
    from cuse_scullv._native import Call, CData

_EARLY_MAX = 256  # interrupts kept for calls that have not come; the rest were answered before
_FLAG_COMPAT, _FLAG_UNRESTRICTED = 1, 2  # FUSE_IOCTL_COMPAT, FUSE_IOCTL_UNRESTRICTED


class Session(Running):
    """One device, from the start of its channel to the end."""

    node = 0
    """In a file view, whose open files these are; 0: all of the channel's."""

    def __init__(self, device: Device, callers: int, on_end: Callable[[], None]) -> None:
        """`callers`: threads that handlers with a deadline may take. `on_end`: the channel ended
        by itself. DeviceError (EBUSY) if the device is served already."""
        super().__init__(can_pump(device))
        if device._session is not None:
            raise DeviceError(errno.EBUSY, f"the device {device.name!r} object is served already")
        self.device = device
        self._on_end = on_end
        self._closing = False
        self._early: OrderedDict[int, bool] = OrderedDict()
        self._polls = Polls()
        self.filters: Filters | None = None
        """Those that clients may ask for; None: none."""
        self._deadlines: Deadlines | None = None
        if device.timeout is not None:
            self._pool = Pool(callers, self.warn_crowded)
            self._deadlines = Deadlines(device.timeout, self.pending, self.expire)
        self._bind()
        device._session = self

    def _bind(self) -> None:
        device = self.device
        self._open, self._run_open = self._way(device.open)
        self._release, self._run_release = self._way(device.release)
        into = overrides(device, "readinto")
        self._read, self._run_read = self._way(reader(device.readinto) if into else device.read)
        self._write, self._run_write = self._way(device.write)
        self._ioctl, self._run_ioctl = self._way(device.ioctl)
        self._poll, self._run_poll = self._way(device.poll)
        self._read_name = "readinto" if into else "read"
        self._has_poll = overrides(device, "poll")
        self._memory_max = device.client_memory
        kinds: dict[int, Callable[[Call], None]] = {
            lib.CALL_OPEN: self._on_open,
            lib.CALL_RELEASE: self._on_release,
            lib.CALL_READ: self._on_read,
            lib.CALL_WRITE: self._on_write,
            lib.CALL_IOCTL: self._on_ioctl,
            lib.CALL_POLL: self._on_poll,
            lib.CALL_INTERRUPT: self._on_interrupt,
            lib.CALL_HANGUP: self._on_hangup,
            lib.CALL_CROWDED: self._on_crowded,
            lib.CALL_REFUSED: self._on_refused,
        }
        self._kinds = [kinds.get(kind, self._on_unknown) for kind in range(max(kinds) + 1)]

    # --- upcalls ----------------------------------------------------------------------------

    def upcall(self, call: Call) -> None:
        kind = call.kind
        try:
            self._kinds[kind](call)
        except BaseException:  # noqa: BLE001 - there is nobody above who would catch it
            logger.critical("%s: a fault of the session itself", self.device.name, exc_info=True)
            for request in [r for r in list(self.pending.values()) if r.call is call]:
                if self.pending.pop(request.id, None) is not None:
                    lib.call_reply_error(call, errno.EIO)

    def _begin(self, call: Call, file: File, handler: str) -> Request | None:
        """The request of `call`; None: it has been refused, the device is going away."""
        request = Request(call, file, handler)
        if self._deadlines is not None:
            request.started = time.monotonic()
        self.pending[request.id] = request
        current.set(request)
        if self._early and self._early.pop(request.id, False):
            request.cancel(errno.EINTR)
        if self._closing and self.pending.pop(request.id, None) is not None:
            lib.call_reply_error(call, errno.ENODEV)
            return None
        if call.again and not self._may_repeat(request):
            return None
        return request

    def _may_repeat(self, request: Request) -> bool:
        """Of a request whose handler a worker before had begun. If not, it has been answered."""
        if self.keeping is None or self.keeping.may_repeat(request):
            return True
        logger.warning(
            "%s: %s() was running when a worker died; the client gets EIO (see cuse.retry)",
            self.device.name,
            request.handler,
        )
        if self.pending.pop(request.id, None) is not None:
            lib.call_reply_error(request.call, errno.EIO)
        return False

    def heed(self, filters: Filters) -> None:
        """Clients may ask for these, and change them."""
        self.filters = filters
        if self.on_loop:
            filters.on_change = self._delayed.release

    def keep(self, ledger: CData) -> None:
        """What the device is outlives this process, in `ledger`; a worker before this one may have
        left something there. Before the channel is opened. DeviceError as of Keeping."""
        keeping = self.keeping = Keeping(self.device, ledger)
        if keeping.lock is not None:
            self._run_there = self._run_alone
            self._bind()

        self.files = {file._number: file for file in keeping.restore(self._left_open)}

    def _left_open(self, number: int, flags: int) -> File:
        """A file that a worker before this one has opened."""
        file = File(self.device, flags, self)
        file._number = number
        return file

    def restore(self, ledger: CData) -> None:
        """Takes over the files that clients opened while a worker before this one was there. Before
        the channel is opened."""
        device = self.device
        assert isinstance(device, DataPathDevice)
        for found in open_files(ledger):
            if self.node not in (0, found.node):
                continue
            file = self._left_open(found.number, found.flags)
            file.state = device.reopen(file)
            lib.ledger_attach(ledger, found.number, device.handle(file))
            self.files[file._number] = file

    def _on_open(self, call: Call) -> None:
        if call.open in self.files:  # a worker before this one did all but answer, or even that
            lib.call_reply_open(call, call.open)
            return
        file = File(self.device, call.flags, self)
        request = self._begin(call, file, "open")
        if request is not None:
            self._run_open(request, self.finish_open, self._open, file)

    def _file_of(self, call: Call) -> File | None:
        """The open file of `call`; None: it has been refused, there is no such file."""
        file = self.files.get(call.open)
        if file is None:
            lib.call_reply_error(call, errno.EBADF)
        return file

    def _on_release(self, call: Call) -> None:
        number = call.open
        # The answer frees the file's handle, whatever it says: finish() must not do so again.
        file = self.files.pop(number, None)
        if file is None:  # as above, or it was never open
            lib.call_reply_error(call, errno.EBADF)
            return
        self._polls.set(number, 0)
        if file._ends is not None:
            file._end()
        if file.ending is None:
            file.ending = _UNKNOWN
        request = self._begin(call, file, "release")
        if request is None:
            self.release_now(file)
        else:
            self._run_release(request, self.finish_release, self._release, file)

    def _on_read(self, call: Call) -> None:
        file = self._file_of(call)
        if file is None:
            return
        request = self._begin(call, file, self._read_name)
        if request is not None:
            request.size = size = call.size
            file.flags = call.flags
            self._run_read(request, self.finish_read, self._read, file, size)

    def _on_write(self, call: Call) -> None:
        file = self._file_of(call)
        if file is None:
            return
        request = self._begin(call, file, "write")
        if request is not None:
            request.size = size = call.data_size
            file.flags = call.flags
            # A copy: the handler may keep it, and the call's memory ends with the upcall.
            data = memoryview(ffi.buffer(call.data, size)[:])
            self._run_write(request, self.finish_write, self._write, file, data)

    def _on_ioctl(self, call: Call) -> None:
        file = self._file_of(call)
        if file is None:
            return
        if self.filters is not None and call.cmd in COMMANDS:
            self._control(call, self.filters)
            return
        request = self._begin(call, file, "ioctl")
        if request is not None:
            flags = call.ioctl_flags
            size = call.data_size
            request.ioctl = IoctlRequest(
                cmd=call.cmd,
                arg=call.arg,
                data=ffi.buffer(call.data, size)[:] if size else b"",
                out_size=call.out_size,
                compat=bool(flags & _FLAG_COMPAT),
                unrestricted=bool(flags & _FLAG_UNRESTRICTED),
            )
            if self._memory_max:
                is_waiting = partial(self.pending.__contains__, request.id)
                request.ioctl._memory = RemoteMemory(call.pid, self._memory_max, is_waiting)
            self._run_ioctl(request, self.finish_ioctl, self._ioctl, file, request.ioctl)

    def _control(self, call: Call, filters: Filters) -> None:
        size = call.data_size
        room = call.cmd >> 16 & 0x3FFF
        if not size and call.ioctl_flags & _FLAG_UNRESTRICTED:
            lib.call_reply_retry(call, [call.arg, room, call.arg, room], 1, 1)
            return
        try:
            data = filters.control(call.cmd, ffi.buffer(call.data, size)[:], call.pid)
        except OSError as error:
            lib.call_reply_error(call, error.errno or errno.EIO)
        else:
            lib.call_reply_ioctl(call, 0, data, len(data))

    def _on_poll(self, call: Call) -> None:
        number = call.open
        poll = call.poll
        file = self._file_of(call)
        if file is None:
            if poll:
                lib.call_drop_poll(poll)
            return
        # Before the handler looks: a notify() that comes while it does must reach the client.
        if poll:
            self._polls.set(number, poll)
        request = self._begin(call, file, "poll")
        if request is None:
            return
        if self._has_poll:
            self._run_poll(request, self.finish_poll, self._poll, file)
        elif self.pending.pop(request.id, None) is not None:
            lib.call_reply_error(call, errno.ENOSYS)  # the kernel asks no more: always ready

    def _on_interrupt(self, call: Call) -> None:
        request = self.pending.get(call.id)
        if request is not None:
            request.cancel(errno.EINTR)
            return
        # Answered already, or its thread has not got here yet.
        self._early[call.id] = True
        if len(self._early) > _EARLY_MAX:
            with suppress(KeyError):
                self._early.popitem(last=False)
        request = self.pending.get(call.id)
        if request is not None:  # it came meanwhile
            request.cancel(errno.EINTR)

    def _on_hangup(self, call: Call) -> None:
        self._on_end()

    def _on_crowded(self, call: Call) -> None:
        self.warn_crowded()

    def warn_crowded(self) -> None:
        """Requests wait, and no more handlers may run beside those that do not end."""
        counts = Counter(request.handler for request in list(self.pending.values()))
        logger.warning(
            "%s: too many handlers block, so requests wait: %s; wait in cuse.Condition or"
            " cuse.sleep, or write them as async def",
            self.device.name,
            ", ".join(f"{count} in {name}()" for name, count in counts.most_common()),
        )

    def _on_refused(self, call: Call) -> None:
        warn_refused(logger, self.device.name, call)

    def _on_unknown(self, call: Call) -> None:
        lib.call_reply_error(call, errno.ENOSYS)

    # --- poll -------------------------------------------------------------------------------

    def notify(self, file: File) -> None:
        self._polls.wake(file._number)

    def notify_all(self) -> None:
        self._polls.wake_all()

    # --- the end ----------------------------------------------------------------------------

    def stop(self, grace: float) -> None:
        """Ends all handlers: those that can be cancelled are, and have `grace` seconds to end;
        clients of the others get ENODEV, as do those of requests that come from here on."""
        self._closing = True
        deadline = time.monotonic() + grace
        for request in list(self.pending.values()):
            request.cancel(errno.ENODEV)
        while self.pending and time.monotonic() < deadline:
            time.sleep(0.002)
        for request in list(self.pending.values()):
            if self.pending.pop(request.id, None) is not None:
                logger.error(
                    "%s: %s() has not ended with the device", self.device.name, request.handler
                )
                lib.call_reply_error(request.call, errno.ENODEV)
        self._polls.end()
        if self._deadlines is not None:
            self._deadlines.stop()
        if self._pool is not None:
            self._pool.close()

    def finish(self) -> None:
        """After the channel's end: files that clients still have open are released."""
        for number in list(self.files):
            self.release_now(self.files.pop(number))
        self.device._session = None

    def release_now(self, file: File) -> None:
        request = Request(cast("Call", _NOBODY), file, "release")
        file.ending = Ending("ended")
        before = current.set(request)
        try:
            file._end()
            result = self._release(file)
            if inspect.isawaitable(result):
                self._await_release(request, result)
        except BaseException:  # noqa: BLE001 - no client hears of it
            logger.exception("%s: release() raised", self.device.name)
        finally:
            current.reset(before)

    def _await_release(self, request: Request, result: Awaitable[Any]) -> None:
        async def driver() -> None:
            current.set(request)
            try:
                await result
            except BaseException:  # noqa: BLE001 - no client hears of it
                logger.exception("%s: release() raised", self.device.name)

        loop = handler_loop()
        if asyncio._get_running_loop() is loop:
            start(driver())
        else:
            asyncio.run_coroutine_threadsafe(driver(), loop).result(_RELEASE_S)


# Whom a release() is for that no client asked for.
_NOBODY = SimpleNamespace(id=0, pid=0, uid=0, gid=0)
_UNKNOWN = Ending("unknown")
_RELEASE_S = 5.0  # most that the end of a device waits for one such release()
