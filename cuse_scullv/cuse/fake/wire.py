"""The messages of FUSE and CUSE, as include/uapi/linux/fuse.h lays them out."""

from __future__ import annotations

import struct
from typing import Final

IN_HEADER = struct.Struct("=IIQQIIIHH")  # len opcode unique nodeid uid gid pid extlen padding
OUT_HEADER = struct.Struct("=IiQ")  # len error unique
CUSE_INIT_IN = struct.Struct("=IIII")  # major minor unused flags
CUSE_INIT_OUT = struct.Struct("=IIIIIIII40x")  # … max_read max_write dev_major dev_minor spare
OPEN_IN = struct.Struct("=II")  # flags open_flags
OPEN_OUT = struct.Struct("=QII")  # fh open_flags padding
READ_IN = struct.Struct("=QQIIQII")  # fh offset size read_flags lock_owner flags padding
WRITE_IN = READ_IN
WRITE_OUT = struct.Struct("=II")  # size padding
RELEASE_IN = struct.Struct("=QIIQ")  # fh flags release_flags lock_owner
INTERRUPT_IN = struct.Struct("=Q")  # unique
IOCTL_IN = struct.Struct("=QIIQII")  # fh flags cmd arg in_size out_size
IOCTL_OUT = struct.Struct("=iIII")  # result flags in_iovs out_iovs
IOCTL_AREA = struct.Struct("=QQ")  # base len
POLL_IN = struct.Struct("=QQII")  # fh kh flags events
POLL_OUT = struct.Struct("=II")  # revents padding
NOTIFY_POLL = struct.Struct("=Q")  # kh

OP_OPEN, OP_READ, OP_WRITE, OP_RELEASE = 14, 15, 16, 18
OP_INTERRUPT, OP_IOCTL, OP_POLL, OP_CUSE_INIT = 36, 39, 40, 4096
NOTIFY_CODE_POLL = 1
INTERRUPT_BIT = 1  # of a unique: this message is about the interruption of unique & ~1
UNIQUE_STEP = 2

IOCTL_COMPAT, IOCTL_UNRESTRICTED, IOCTL_RETRY, IOCTL_32BIT = 1, 2, 4, 8
IOCTL_MAX_AREAS = 256
CUSE_UNRESTRICTED_IOCTL = 1
POLL_SCHEDULE_NOTIFY = 1
ERRNO_LIMIT = 512  # the kernel refuses replies of this errno and above

PROTOCOL_MAJOR, PROTOCOL_MINOR = 7, 38  # of Linux 6.1 … 6.6
MAX_REQUEST: Final = 32 * 4096  # bytes: FUSE_DEFAULT_MAX_PAGES_PER_REQ pages, not negotiable
