"""SystemCall: which bytes of its memory a client has asked the kernel to read or write.

The kernel cuts a read(2) or write(2) into requests of at most 32 pages, of which none says how many
follow (fs/fuse/file.c: fuse_direct_io). The thread that waits knows."""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

from .remote import Area, Remote

READ, WRITE = range(2)

# By machine, for READ and WRITE: numbers of those with (fd, buffer, count), then of those with (fd,
# iovec, count): read, pread64; readv, preadv, preadv2; and so on. arch/x86/entry/syscalls/
# syscall_64.tbl; include/uapi/asm-generic/unistd.h. No 32-bit program makes a request by one of
# these numbers.
_GENERIC = (((63, 67), (65, 69, 286)), ((64, 68), (66, 70, 287)))
NUMBERS = {
    "x86_64": (((0, 17), (19, 295, 327)), ((1, 18), (20, 296, 328))),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
}
_IOVEC = struct.Struct("=QQ")
_WORDS = 9  # number, six arguments, sp, pc
_IOVECS_MAX = 1024  # UIO_MAXIOV
_BYTES_MAX = 0x7FFFF000  # MAX_RW_COUNT: more the kernel does not take at once


@dataclass(frozen=True, slots=True)
class SystemCall:
    """A read or a write."""

    areas: list[Area]
    """Of the client's memory, in order."""
    total: int
    """Bytes, all together."""

    def first(self, size: int) -> list[Area]:
        """The areas of its first `size` bytes."""
        found = []
        for address, length in self.areas:
            if size <= 0:
                break
            found.append((address, min(length, size)))
            size -= length
        return found


def system_call_of(client: Remote, direction: int) -> SystemCall | None:
    """What the thread is in; None: neither read nor write nor their like, but io_uring or AIO, say,
    or a 32-bit program's. OSError: it cannot be seen (remote.py)."""
    plain, vector = NUMBERS.get(platform.machine(), (((), ()), ((), ())))[direction]
    words = client.system_call().split()
    if len(words) != _WORDS or not words[0].isdecimal():
        return None
    number, (_, address, count, *_, pc) = int(words[0]), (int(word, 16) for word in words[1:])
    if pc == 0:  # a thread of io_uring, which has what its maker was in when it was made
        return None
    if number in plain:
        areas = [(address, count)]
    elif number in vector and count <= _IOVECS_MAX:
        table = client.read([(address, count * _IOVEC.size)])
        if len(table) < count * _IOVEC.size:
            return None
        areas = list(_IOVEC.iter_unpack(table))
    else:
        return None
    total = min(sum(length for _, length in areas), _BYTES_MAX)
    return SystemCall(areas, total)
