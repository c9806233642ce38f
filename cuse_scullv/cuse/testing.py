"""A fake kernel: the kernel's half of CUSE in Python, over a socket pair.

A driver is tested with no privileges and no CUSE: `serve(device)` runs it on one end of a SEQPACKET
socket pair and gives back a `FakeKernel` on the other, whose files answer as `/dev/NAME` would:

    with cuse.testing.serve(Rot13("rot13")) as kernel, kernel.open(os.O_RDWR) as file:
        file.write(b"hello")
        assert file.read(5) == b"uryyb"

What it does is what Linux does in fs/fuse/{cuse,dev,file,ioctl}.c, down to the errno: system calls
are cut into requests of 128 KiB, a short answer ends the call, the offset counts bytes of one
system call, I/O of no bytes never reaches the server, pointers are checked before the server is
asked. What the server may not do (answer twice, with more than was asked for, with a length or an
errno that the kernel refuses) is a ProtocolError, in the call that it hits and once more in
`FakeKernel.close`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .fake.file import FakeFile, IoctlResult
from .fake.kernel import Blocked, DeviceInfo, FakeKernel, ProtocolError
from .fake.memory import BAD, Bad, ClientMemory
from .fake.wire import MAX_REQUEST

if TYPE_CHECKING:
    from .device import Device
    from .filterspec import FilterSpec
    from .workers import Workers

__all__ = [
    "BAD",
    "MAX_REQUEST",
    "Bad",
    "Blocked",
    "ClientMemory",
    "DeviceInfo",
    "FakeFile",
    "FakeKernel",
    "IoctlResult",
    "ProtocolError",
    "serve",
]


@contextlib.contextmanager
def serve(
    device: Device, workers: Workers | None = None, filters: Iterable[str | FilterSpec] = ()
) -> Iterator[FakeKernel]:
    """Runs `device` on a channel whose kernel is the FakeKernel that this gives; `filters` befall
    its requests.

    ProtocolError at the end if the driver broke the rules without a call noticing."""
    from .channel import Channel

    with (
        FakeKernel() as kernel,
        Channel(device, fd=kernel.server_fd, workers=workers, filters=filters),
    ):
        kernel.init()
        yield kernel
