"""Random: a /dev/random of one's own.

As drivers/char/random.c has it (random_fops), by the numbers of include/uapi/linux/random.h;
random(4) has their meaning."""

from __future__ import annotations

import ctypes
import errno
import json
import select
import struct
from typing import Any, TypeAlias

from cuse_scullv import cuse
from cuse_scullv.capability import CAP_SYS_ADMIN

from .needs import check_method
from .steps import Steps, either

POOL_BITS = 256
"""Bits of entropy that a pool can have, and must have before anything is read from it."""
_HEAD = struct.Struct("=ii")  # struct rand_pool_info: entropy_count, buf_size, and then buf

Data: TypeAlias = bytes  # which is a method in Generator

GETENTCNT = cuse.IOR("R", 0x00, ctypes.c_int)
ADDTOENTCNT = cuse.IOW("R", 0x01, ctypes.c_int)
ADDENTROPY = cuse.IOW("R", 0x03, ctypes.c_int * 2)  # and as many bytes more as the second says
ZAPENTCNT = cuse.IO("R", 0x04)
CLEARPOOL = cuse.IO("R", 0x06)
RESEEDCRNG = cuse.IO("R", 0x07)


class Generator(cuse.Device):
    """A source of random bytes. Define bytes(), and mix() and reseed() where they mean something;
    each may be `async def`.

    Until 256 bits of entropy are credited, reads wait (EAGAIN where the file is O_NONBLOCK)."""

    def __init__(self, name: str, *, entropy: int = POOL_BITS, **settings: Any) -> None:
        """`entropy`: bits credited at the start, 0 to 256. `settings`: as of cuse.Device.

        Raises TypeError for a class without bytes(), DeviceError (EINVAL) for such an entropy as
        cannot be."""
        check_method(self, Generator, "bytes", "bytes(self, n)")
        super().__init__(name, unrestricted=True, **settings)
        if not 0 <= entropy <= POOL_BITS:
            raise cuse.DeviceError(
                errno.EINVAL, f"{name} cannot have {entropy} bits of entropy: take 0 to {POOL_BITS}"
            )
        self._entropy = entropy
        self._changed = cuse.Condition()

    # --- to be filled in --------------------------------------------------------------------

    def bytes(self, n: int) -> Any:
        """The next `n` bytes, 1 to 131,072. Fewer end the client's read early."""

    def mix(self, data: memoryview) -> Any:
        """A client has written `data`, or added them as entropy: to be mixed into what comes. Where
        it is not defined they are dropped, as by a generator in hardware."""

    def reseed(self) -> Any:
        """RNDRESEEDCRNG: a client with CAP_SYS_ADMIN wants what comes to be seeded anew."""

    def permits(self, file: cuse.File, capability: int) -> bool:
        """Whether the caller may do what takes the capability (CAP_SYS_ADMIN); EPERM if not."""
        return file.caller.capable(capability)

    # --- the pool ---------------------------------------------------------------------------

    @property
    def entropy(self) -> int:
        """Bits credited, 0 to 256."""
        return self._entropy

    @property
    def ready(self) -> bool:
        """There is enough entropy to read (crng_ready)."""
        return self._entropy >= POOL_BITS

    def credit(self, bits: int) -> None:
        """So many bits more are in the pool; what does not fit is dropped. Any thread. ValueError
        below 0."""
        if bits < 0:
            raise ValueError(f"{bits} bits of entropy cannot be credited: take 0 or more")
        with self._changed:
            self._entropy = min(POOL_BITS, self._entropy + bits)
            self._changed.notify_all()
        self.notify()

    # --- the file ---------------------------------------------------------------------------

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> Any:
        """random_read_iter."""
        if not self.ready:
            if file.nonblocking:
                raise BlockingIOError
            with self._changed:
                self._changed.wait_for(lambda: self.ready)
        return self.bytes(size)

    @either
    def write(self, file: cuse.File, data: memoryview) -> Steps:
        """random_write_iter: all of it, and no entropy is credited for it."""
        yield self.mix(data)

    def poll(self, file: cuse.File) -> int:
        """random_poll: to be read when ready, and wanting to be written before."""
        if self.ready:
            return select.POLLIN | select.POLLRDNORM
        return select.POLLOUT | select.POLLWRNORM

    # --- what outlives a worker -------------------------------------------------------------

    def save(self, file: cuse.File | None) -> Data:
        """A JSON object: a subclass may add keys of its own."""
        return json.dumps({"entropy": self._entropy}).encode()

    def restore(self, file: cuse.File | None, data: Data) -> None:
        self._entropy = json.loads(data)["entropy"]

    # --- ioctls -----------------------------------------------------------------------------

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        """random_ioctl: what it does not know is EINVAL, where other drivers say ENOTTY."""
        try:
            return super().ioctl(file, request)
        except OSError as error:
            if error.errno == errno.ENOTTY:
                raise OSError(errno.EINVAL, "no ioctl of /dev/random") from error
            raise

    @cuse.ioctl(GETENTCNT)
    def _get_entropy(self, file: cuse.File) -> int:
        return self.entropy

    @cuse.ioctl(ADDTOENTCNT)
    def _add_to_entropy(self, file: cuse.File, bits: int) -> None:
        self._need_admin(file)
        self.credit(_count(bits))

    @cuse.ioctl(ADDENTROPY, raw=True)
    @either
    def _add_entropy(self, file: cuse.File, request: cuse.IoctlRequest) -> Steps:
        self._need_admin(file)
        bits, size = _HEAD.unpack(request.fetch(request.arg, _HEAD.size))
        _count(bits)
        if size < 0:
            raise OSError(errno.EFAULT, "a negative number of bytes")
        data = request.fetch(request.arg + _HEAD.size, size)
        yield self.mix(memoryview(data))
        self.credit(bits)

    @cuse.ioctl(ZAPENTCNT)
    @cuse.ioctl(CLEARPOOL)
    def _clear(self, file: cuse.File, arg: int) -> None:
        self._need_admin(file)  # "No longer has any effect" (random_ioctl)

    @cuse.ioctl(RESEEDCRNG)
    @either
    def _reseed(self, file: cuse.File, arg: int) -> Steps:
        self._need_admin(file)
        if not self.ready:
            raise OSError(errno.ENODATA, "not seeded yet")
        yield self.reseed()

    def _need_admin(self, file: cuse.File) -> None:
        if not self.permits(file, CAP_SYS_ADMIN):
            raise OSError(errno.EPERM, "this takes CAP_SYS_ADMIN")


def _count(bits: int) -> int:
    if bits < 0:
        raise OSError(errno.EINVAL, "a negative number of bits")
    return bits
