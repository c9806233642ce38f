"""What a storm is let loose on: a real channel of each kind, on a socket that this process got.

    python stormed.py FD node|kept|file|foreign|loop|late|late-foreign|late-loop

It ends with 0 when the other end has gone and all has been closed, with 1 if it had anything to
complain of.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

from cuse_scullv import _native, cuse, ioctl
from cuse_scullv.backing import MEMFD, Backing, Ground
from cuse_scullv.cuse import IO, Channel, File, IoctlReply, IoctlRequest, Workers
from cuse_scullv.device import ScullDevice, Shared
from cuse_scullv.params import Params
from cuse_scullv.state import Place, State
from cuse_scullv.view import fileview
from cuse_scullv.view.fileview import FileView

LIMIT = 64 << 20
BYTES_MOST = 4 << 20  # of a device in Python
WAIT_S = 0.02
LATE = ["delay:ms=0.5,jitter=0.5,rate=5%,op=open+read+write+ioctl+poll+fsync", "rate:bytes=10G"]
GRACE_S = 60.0  # for threads to end, on a machine that others use as well


class Complaints(logging.Handler):
    """Counts what a server may not have to say, whatever it is told."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "the client gets EIO" in record.getMessage():
            return  # what a kernel that lies left no room for
        self.count += 1
        print(f"stormed: {self.format(record)}", file=sys.stderr, flush=True)


class Bytes:
    """What a device in Python holds, by scullv's rules as far as honest clients see them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.data = bytearray()
        self.opens = 0

    def read(self, file: File, size: int) -> bytes:
        with self.lock:
            data = bytes(self.data[file.state : file.state + size])
            file.state += len(data)
        return data

    def write(self, file: File, data: memoryview) -> int:
        with self.lock:
            at, end = file.state, file.state + len(data)
            if end > BYTES_MOST:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.data.extend(bytes(max(0, end - len(self.data))))
            self.data[at:end] = data
            file.state = end
        return len(data)

    def control(self, file: File, request: IoctlRequest) -> IoctlReply | None:
        """None: it waits."""
        shared = Params()
        verdict = ioctl.decide(
            ioctl.Request(request.cmd, request.arg, request.data, file.writable), shared
        )
        match verdict:
            case ioctl.Seek(offset, _):
                if not 0 <= offset <= BYTES_MOST:
                    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
                file.state = offset
                return IoctlReply(0, verdict.reply(offset))
            case ioctl.Trim():
                with self.lock:
                    self.data.clear()
            case ioctl.Punch(offset, length):
                with self.lock:
                    end = min(offset + length, len(self.data))
                    self.data[offset:end] = bytes(max(0, end - offset))
            case ioctl.Info():
                numbers = dict.fromkeys(ioctl.Information.__match_args__, 0)
                return IoctlReply(0, ioctl.Information(**numbers | {"opens": self.opens}).pack())
            case ioctl.Answer():
                return IoctlReply(verdict.result, verdict.data)
        return IoctlReply()


WAIT, WAKE = IO("z", 1), IO("z", 2)


class Threaded(cuse.Device):
    """A device whose handlers run on threads, and wait at times."""

    def __init__(self) -> None:
        super().__init__("storm")
        self.bytes = Bytes()
        self.woken = cuse.Condition()

    def open(self, file: File) -> int:
        with self.bytes.lock:
            self.bytes.opens += 1
        return 0

    def release(self, file: File) -> None:
        with self.bytes.lock:
            self.bytes.opens -= 1

    def read(self, file: File, size: int) -> bytes:
        return self.bytes.read(file, size)

    def write(self, file: File, data: memoryview) -> int:
        return self.bytes.write(file, data)

    def poll(self, file: File) -> int:
        return select.POLLIN

    def ioctl(self, file: File, request: IoctlRequest) -> IoctlReply | None:
        if request.cmd == WAIT:
            with self.woken:
                self.woken.wait(WAIT_S)
            return None
        if request.cmd == WAKE:
            with self.woken:
                self.woken.notify_all()
            self.notify()
            return None
        return self.bytes.control(file, request)


class OnLoop(cuse.Device):
    """The same on the loop of the process."""

    def __init__(self) -> None:
        super().__init__("storm")
        self.bytes = Bytes()

    async def open(self, file: File) -> int:
        self.bytes.opens += 1
        return 0

    async def release(self, file: File) -> None:
        self.bytes.opens -= 1

    async def read(self, file: File, size: int) -> bytes:
        return self.bytes.read(file, size)

    async def write(self, file: File, data: memoryview) -> int:
        return self.bytes.write(file, data)

    async def poll(self, file: File) -> int:
        return select.POLLIN

    async def ioctl(self, file: File, request: IoctlRequest) -> IoctlReply | None:
        if request.cmd == WAIT:
            await asyncio.sleep(WAIT_S)
            return None
        return self.bytes.control(file, request)


def scull(
    stack: contextlib.ExitStack, count: int, backing: Backing | None = None
) -> list[ScullDevice]:
    shared = Shared(Params(), Ground(backing or Backing(), count, LIMIT))
    devices = [ScullDevice(f"storm{number}", shared, number) for number in range(count)]
    for device in devices:
        stack.callback(device.close)
    return devices


def kept(stack: contextlib.ExitStack) -> Place:
    """Where messages lie in memory that outlives the process."""
    state = State.create(1, 1)
    stack.callback(state.close)
    return Place(state, 0)


def server(fd: int, kind: str, stack: contextlib.ExitStack) -> AbstractContextManager[object]:
    """What serves. Its end is told by `ended`."""
    workers = Workers(threads=3)
    filters = LATE if kind.startswith("late") else []
    if kind == "file":
        return FileView(scull(stack, 2), "/nowhere", workers, fd=fd, on_end=ended.set)
    if kind in ("node", "late"):
        return Channel(scull(stack, 1)[0], fd, workers, ended.set, filters=filters)
    if kind == "kept":
        (device,) = scull(stack, 1, Backing(MEMFD))
        return Channel(device, fd, workers, ended.set, place=kept(stack))
    device = OnLoop() if kind.endswith("loop") else Threaded()
    return Channel(device, fd, workers, ended.set, filters=filters)


ended = threading.Event()


def is_expected() -> bool:
    """The sanitizers over the ordinary build would find nothing, and say nothing."""
    expected = os.environ.get("CUSE_SCULLV_EXPECT_NATIVE")
    return expected is None or Path(_native.__file__).is_relative_to(expected)


def main() -> int:
    if not is_expected():
        print(f"stormed: this is {_native.__file__}", file=sys.stderr)
        return 1
    fd, kind = int(sys.argv[1]), sys.argv[2]
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    fileview.GRACE_S = GRACE_S
    with contextlib.ExitStack() as stack, server(fd, kind, stack) as served:
        ended.wait()
        if isinstance(served, Channel):
            served.close(GRACE_S)
    return 1 if complaints.count else 0


if __name__ == "__main__":
    sys.exit(main())
