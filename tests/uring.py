"""A read or write by io_uring, without liburing (io_uring(7), linux/io_uring.h)."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

READ, WRITE = 22, 23  # IORING_OP_READ, IORING_OP_WRITE
_SETUP, _ENTER = 425, 426  # on every architecture
_PARAMS = struct.Struct("=10I 10I 10I")  # entries …, struct io_sqring_offsets, io_cqring_offsets
_SQE = struct.Struct("=BBHiQQIIQ24x")  # opcode flags ioprio fd off addr len rw_flags user_data
_CQE = struct.Struct("=QiI")  # user_data res flags
_RING, _SQES = 0, 0x10000000  # offsets to map: IORING_OFF_SQ_RING, IORING_OFF_SQES
_GETEVENTS = 1

_libc = ctypes.CDLL(None, use_errno=True)


def transfer(opcode: int, fd: int, address: int, size: int) -> int:
    """The result: a count. OSError."""
    params = ctypes.create_string_buffer(_PARAMS.size)
    ring = _checked(_libc.syscall(_SETUP, 1, params))
    try:
        values = _PARAMS.unpack(params)
        submit, complete = values[10:20], values[20:30]
        length = max(submit[6] + 4, complete[5] + 2 * _CQE.size)  # array, completions
        with (
            mmap.mmap(ring, length, offset=_RING) as rings,
            mmap.mmap(ring, _SQE.size, offset=_SQES) as entries,
        ):
            _SQE.pack_into(entries, 0, opcode, 0, 0, fd, 0, address, size, 0, 0)
            struct.pack_into("=I", rings, submit[6], 0)  # array[0]
            struct.pack_into("=I", rings, submit[1], 1)  # tail
            _checked(_libc.syscall(_ENTER, ring, 1, 1, _GETEVENTS, None, ctypes.c_size_t(0)))
            result: int = _CQE.unpack_from(rings, complete[5])[1]
    finally:
        os.close(ring)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
