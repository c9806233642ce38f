"""hidraw: a HID device, /dev/hidrawN, as drivers/hid/hidraw.c has it.

    class Button(hidraw.Device):
        descriptor = bytes.fromhex("0600ff0901a10109021500250175089501 8102c0")

        def press(self):
            self.send_input(b"\\1")

    cuse.serve(Button("hidraw9"))

docs/classes/hidraw.md is its manual. Numbers and layouts: linux/hidraw.h.
"""

from __future__ import annotations

import errno
import json
import select
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cuse_scullv import cuse
from cuse_scullv._errors import oserror

from .hid_descriptor import DESCRIPTOR_MAX, report_ids
from .needs import check_parts
from .turns import Turns

__all__ = ["Device"]

RING = 63  # reports that wait for a reader: HIDRAW_BUFFER_SIZE, less the one that keeps it open
REPORT_MAX = 16384  # bytes, with the number: HID_MAX_BUFFER_SIZE
BUS_USB, BUS_BLUETOOTH, BUS_VIRTUAL, BUS_I2C = 0x03, 0x05, 0x06, 0x18  # linux/input.h
DEVINFO = struct.Struct("=IHH")
"""struct hidraw_devinfo; vendor and product are signed there, and everybody takes them unsigned."""
RDESC_SIZE = cuse.IOR("H", 0x01, "=i")
RDESC = cuse.IOR("H", 0x02, 4 + DESCRIPTOR_MAX)
RAWINFO = cuse.IOR("H", 0x03, DEVINFO)
REVOKE = cuse.IOW("H", 0x0D, "=i")
# The numbers of these are those of the header with a length of 0; the client's length is added.
RAWNAME, RAWPHYS, RAWUNIQ = (cuse.IOR("H", number, 0) for number in (0x04, 0x05, 0x08))
SFEATURE, GFEATURE, SINPUT, GINPUT, SOUTPUT, GOUTPUT = (
    cuse.IOWR("H", number, 0) for number in (0x06, 0x07, 0x09, 0x0A, 0x0B, 0x0C)
)


@dataclass(eq=False)
class _Reader:
    """An open file (struct hidraw_list)."""

    reports: deque[bytes] = field(default_factory=deque)
    revoked: bool = False


class Device(cuse.Device):
    """A HID device. Set `descriptor`; define what it does with the reports that it gets, and call
    send_input() for those that it sends.

    A report is its bytes without the number that precedes them on the wire; its number is 0 where
    the descriptor has no Report ID. The methods are called one at a time, may be `def` or `async
    def`, and one that the device does not have is EPIPE to the client, as a USB device's stall.
    `file.state` is the class's."""

    descriptor = b""
    """The report descriptor, 1 to 4,096 bytes."""
    bus, vendor, product = BUS_USB, 0x0000, 0x0000
    """BUS_… of linux/input.h, and 16 bits each."""
    title, phys, uniq = "", "", ""
    """The device's name, where it is plugged in, and its serial number."""

    def __init__(self, name: str, **options: Any) -> None:
        """`name`: hidrawN, which is what tools look for. `options`: of cuse.Device.

        DeviceError (EINVAL) for a descriptor or numbers that cannot be; TypeError where a part of
        this class is hidden."""
        super().__init__(name, unrestricted=True, **options)
        check_parts(self, Device)
        kind = type(self).__name__
        try:
            self.__ids = report_ids(self.descriptor)
        except ValueError as error:
            raise cuse.DeviceError(
                errno.EINVAL, f"{kind}.descriptor is no report descriptor: {error}"
            ) from None
        try:
            self.__info = DEVINFO.pack(self.bus, self.vendor, self.product)
        except struct.error:
            raise cuse.DeviceError(
                errno.EINVAL, f"{kind}.bus, vendor and product are to be ints of 32, 16 and 16 bits"
            ) from None
        self.__readers: list[_Reader] = []  # under __arrived, as all that is in them
        self.__arrived = cuse.Condition()
        self.__last: dict[int, bytes] = {}
        self.__turns = Turns(
            self.output,
            self.get_feature,
            self.set_feature,
            self.get_input,
            self.set_input,
            self.get_output,
        )
        self.__texts: dict[int, str] = {RAWNAME: "title", RAWPHYS: "phys", RAWUNIQ: "uniq"}
        self.__gets: dict[int, Callable[..., Any]] = {
            GFEATURE: self.get_feature,
            GINPUT: self.get_input,
            GOUTPUT: self.get_output,
        }
        self.__sets: dict[int, Callable[..., Any]] = {
            SFEATURE: self.set_feature,
            SINPUT: self.set_input,
            SOUTPUT: self.output,
        }

    def output(self, number: int, data: bytes) -> Any:
        """An output report: of write(2), or HIDIOCSOUTPUT."""
        raise oserror(errno.EPIPE)

    def get_feature(self, number: int) -> Any:
        """The feature report `number`, as bytes."""
        raise oserror(errno.EPIPE)

    def set_feature(self, number: int, data: bytes) -> Any:
        """A feature report."""
        raise oserror(errno.EPIPE)

    def get_input(self, number: int) -> Any:
        """The input report `number`, as HIDIOCGINPUT asks for it: unless defined, the last one that
        was sent."""
        if number not in self.__last:
            raise oserror(errno.EPIPE)
        return self.__last[number]

    def set_input(self, number: int, data: bytes) -> Any:
        """An input report to the device (HIDIOCSINPUT), which few know."""
        raise oserror(errno.EPIPE)

    def get_output(self, number: int) -> Any:
        """The output report `number`, as HIDIOCGOUTPUT asks for it."""
        raise oserror(errno.EPIPE)

    def send_input(self, data: bytes, number: int = 0) -> None:
        """The device sends an input report: each open file gets it. Of one that has 63 that were
        not read it is lost, as in the kernel (hidraw_report_event). Any thread.

        ValueError for a number that the descriptor does not have, or a report without bytes."""
        if number not in (self.__ids or {0}):
            known = ", ".join(map(str, sorted(self.__ids))) or "0, as they are not numbered"
            raise ValueError(f"no report {number}: the descriptor has {known}")
        report = (bytes([number]) if self.__ids else b"") + bytes(data)
        if not data or len(report) > REPORT_MAX:
            raise ValueError(f"a report has 1 to {REPORT_MAX} bytes, not {len(report)}")
        with self.__arrived:
            self.__last[number] = bytes(data)
            for reader in self.__readers:
                if len(reader.reports) < RING and not reader.revoked:
                    reader.reports.append(report)
            self.__arrived.notify_all()
        self.notify()

    # --- the kernel's half ---------------------------------------------------------------------

    def open(self, file: cuse.File) -> Any:
        reader = _Reader()
        with self.__arrived:
            self.__readers.append(reader)
        return reader

    def release(self, file: cuse.File) -> Any:
        with self.__arrived:
            self.__readers.remove(file.state)

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> Any:
        reader: _Reader = file.state
        with self.__arrived:
            if file.nonblocking and not reader.reports and not reader.revoked:
                raise BlockingIOError
            self.__arrived.wait_for(lambda: reader.reports or reader.revoked)
            if reader.revoked:
                raise oserror(errno.ENODEV)
            return reader.reports.popleft()[:size]

    def write(self, file: cuse.File, data: memoryview) -> Any:
        self._check_use(file, len(data))
        return self.__turns.run(self._write(bytes(data)))

    def poll(self, file: cuse.File) -> Any:
        if file.state.revoked:
            return select.POLLERR | select.POLLHUP
        events = select.POLLOUT | select.POLLWRNORM
        return events | (select.POLLIN | select.POLLRDNORM if file.state.reports else 0)

    def save(self, file: cuse.File | None) -> bytes:
        """A JSON object, of the device one to which a subclass may add keys of its own. Reports
        that wait to be read are not in it: they are lost with a worker, as with a full ring."""
        if file is not None:
            return json.dumps({"revoked": file.state.revoked}).encode()
        with self.__arrived:
            last = {number: data.hex() for number, data in self.__last.items()}
        return json.dumps({"last": last}).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        kept = json.loads(data)
        if file is None:
            self.__last = {int(n): bytes.fromhex(report) for n, report in kept["last"].items()}
            return
        file.state = _Reader(revoked=kept["revoked"])
        self.__readers.append(file.state)

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        if file.state.revoked:
            raise oserror(errno.ENODEV)
        if request.cmd >> 8 & 0xFF != ord("H"):
            raise oserror(errno.EINVAL)
        kind, size = request.unsized, request.size
        if kind in self.__texts:
            return self._text(request, getattr(self, self.__texts[kind]), size)
        if kind in self.__gets:
            self._check_use(file, size)
            (head,) = request.exchange([(request.arg, 1)], [(request.arg, size)])
            return self.__turns.run(self._get(self.__gets[kind], head[0], size))
        if kind in self.__sets:
            self._check_use(file, size)
            report = request.fetch(request.arg, size)
            return self.__turns.run(self._set(self.__sets[kind], report))
        return super().ioctl(file, request)

    @cuse.ioctl(RDESC_SIZE)
    def _get_descriptor_size(self, file: cuse.File) -> int:
        return len(self.descriptor)

    @cuse.ioctl(RDESC, raw=True)
    def _get_descriptor(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        # The number says that nothing comes in, and the driver looks at `size` all the same.
        wanted = int.from_bytes(request.fetch(request.arg, 4), "little")
        if wanted > DESCRIPTOR_MAX - 1:
            raise oserror(errno.EINVAL)
        part = self.descriptor[:wanted]
        request.reserve(request.arg + 4, len(part))
        return cuse.IoctlReply(0, part)

    @cuse.ioctl(RAWINFO, raw=True)
    def _get_info(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        request.reserve(request.arg, len(self.__info))
        return cuse.IoctlReply(0, self.__info)

    @cuse.ioctl(REVOKE, raw=True)
    def _revoke(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        """Takes this open file its rights, for good (Linux 6.12)."""
        if request.arg:
            raise oserror(errno.EINVAL)
        with self.__arrived:
            file.state.revoked = True
            self.__arrived.notify_all()
        file.notify()

    def _text(self, request: cuse.IoctlRequest, text: str, size: int) -> cuse.IoctlReply:
        part = (text.encode() + b"\0")[:size]
        request.reserve(request.arg, len(part))
        return cuse.IoctlReply(len(part), part)

    def _check_use(self, file: cuse.File, size: int) -> None:
        """hidraw_send_report, hidraw_get_report: OSError for a file or size that cannot be."""
        if file.state.revoked:
            raise oserror(errno.ENODEV)
        if not 2 <= size <= REPORT_MAX:
            raise oserror(errno.EINVAL)

    # Coroutines, for Turns.run.

    async def _write(self, report: bytes) -> int:
        return (await self._set(self.output, report)).result

    async def _set(self, method: Callable[..., Any], report: bytes) -> cuse.IoctlReply:
        async with self.__turns:
            await self.__turns.ready(method(report[0], report[1:]))
        return cuse.IoctlReply(len(report))

    async def _get(self, method: Callable[..., Any], number: int, size: int) -> cuse.IoctlReply:
        async with self.__turns:
            data = await self.__turns.ready(method(number))
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{method.__name__}() is to return bytes, not {type(data).__name__}")
        report = (bytes([number]) + bytes(data))[:size]
        return cuse.IoctlReply(len(report), report)
