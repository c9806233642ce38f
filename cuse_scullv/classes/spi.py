"""spi: a device on an SPI bus, /dev/spidevB.C, as drivers/spi/spidev.c has it.

    class Inverter(spi.Device):
        def transfer(self, words):
            return [word ^ 0xFF for word in words]

    cuse.serve(Inverter("spidev0.0"))

docs/classes/spi.md is its manual. Numbers and layouts: linux/spi/spidev.h, linux/spi/spi.h.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cuse_scullv import cuse
from cuse_scullv._errors import oserror

from .needs import check_method, check_parts
from .spi_transfer import TRANSFER, WORD_BITS_MAX, Transfer, unpack_transfers
from .spi_words import Words, join, pack, unpack
from .turns import Turns

__all__ = ["Device", "Settings", "Words"]

CPHA, CPOL, CS_HIGH, LSB_FIRST, THREE_WIRE, LOOP, NO_CS, READY = (1 << bit for bit in range(8))
MANY_LINES = 0x6F00  # SPI_TX_DUAL … SPI_RX_OCTAL
MODE_MAX = 0x1FFFF  # SPI_MODE_USER_MASK
AREAS_MAX = 255  # of one ioctl, beside that of the transfers (FUSE_IOCTL_MAX_IOV)
MESSAGE = cuse.IOW("k", 0, 0)
"""SPI_IOC_MESSAGE(n) without its size, n * 32 bytes."""
_INT_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How the bus is set up, for all who have the device open."""

    mode: int = 0
    """SPI_CPHA, SPI_CPOL … of linux/spi/spi.h."""
    bits_per_word: int = 8
    """1 to 32."""
    max_speed_hz: int = 1_000_000


class Device(cuse.Device):
    """A device on an SPI bus, alone there. Define transfer().

    The class's calls of transfer(), deselected() and setup() come one at a time, so what they share
    needs no lock. Each may be `def` or `async def`."""

    settings = Settings()
    """As they are now; in a class, as they are at the start."""
    mode_bits = CPHA | CPOL | CS_HIGH | LSB_FIRST | THREE_WIRE | LOOP
    """What modes the bus can have; others are EINVAL to who sets them."""
    bufsiz = 4096
    """Bytes of one message each way, EMSGSIZE beyond: spidev's module parameter."""

    def __init__(self, name: str, **options: Any) -> None:
        """`name`: spidevB.C, which is what tools look for. `options`: of cuse.Device.

        TypeError for a class without transfer(), or with a part of this one hidden."""
        super().__init__(name, unrestricted=True, **options)
        check_method(self, Device, "transfer", "transfer(self, words)")
        check_parts(self, Device)
        self.__turns = Turns(self.transfer, self.deselected, self.setup)
        self.__speed_at_start = self.settings.max_speed_hz
        self.__users_lock = threading.Lock()
        self.__users = 0  # under __users_lock

    def transfer(self, words: Words) -> Any:
        """The bus clocks `words` out to the device, and as many in, at the same time: those are
        returned, or yielded; None is zeros. bytes where no word has more than 8 bits, else ints.

        It is called once for all transfers between which the chip select stays active. Where the
        client only reads, zeros are sent; where it only writes, what is returned is dropped."""
        raise NotImplementedError

    def deselected(self) -> Any:
        """The chip select went inactive: what was begun ends here."""

    def setup(self, settings: Settings) -> Any:
        """A client sets the bus up so, and `settings` become these when this returns. OSError
        EINVAL refuses."""

    # --- the kernel's half ---------------------------------------------------------------------

    def open(self, file: cuse.File) -> Any:
        with self.__users_lock:
            self.__users += 1

    def release(self, file: cuse.File) -> Any:
        with self.__users_lock:
            self.__users -= 1
            if not self.__users:  # spidev_release; all else stays
                self.settings = dataclasses.replace(
                    self.settings, max_speed_hz=self.__speed_at_start
                )

    def read(self, file: cuse.File, size: int) -> Any:
        self._check_size(size)
        return self.__turns.run(self._receive(Transfer(rx=1, length=size)))

    def write(self, file: cuse.File, data: memoryview) -> Any:
        self._check_size(len(data))
        return self.__turns.run(self._send(Transfer(tx=1, length=len(data)), bytes(data)))

    def save(self, file: cuse.File | None) -> bytes:
        """Of the device a JSON object, to which a subclass may add keys of its own."""
        if file is not None:
            return b""
        settings = dataclasses.asdict(self.settings)
        return json.dumps({"settings": settings, "users": self.__users}).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        if file is None:
            kept = json.loads(data)
            self.settings, self.__users = Settings(**kept["settings"]), kept["users"]

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        if request.unsized == MESSAGE:
            return self._message(request)
        return super().ioctl(file, request)

    @cuse.ioctl(cuse.IOR("k", 1, "=B"))
    def _get_mode(self, file: cuse.File) -> int:
        return self.settings.mode & 0xFF

    @cuse.ioctl(cuse.IOR("k", 5, "=I"))
    def _get_mode32(self, file: cuse.File) -> int:
        return self.settings.mode

    @cuse.ioctl(cuse.IOW("k", 1, "=B"))
    @cuse.ioctl(cuse.IOW("k", 5, "=I"))
    def _set_mode(self, file: cuse.File, mode: int) -> Any:
        if mode & ~MODE_MAX:
            raise oserror(errno.EINVAL)
        return self.__turns.run(self._apply(lambda now: dataclasses.replace(now, mode=mode)))

    @cuse.ioctl(cuse.IOR("k", 2, "=B"))
    def _get_lsb_first(self, file: cuse.File) -> int:
        return int(bool(self.settings.mode & LSB_FIRST))

    @cuse.ioctl(cuse.IOW("k", 2, "=B"))
    def _set_lsb_first(self, file: cuse.File, on: int) -> Any:
        bit = LSB_FIRST if on else 0
        return self.__turns.run(
            self._apply(lambda now: dataclasses.replace(now, mode=now.mode & ~LSB_FIRST | bit))
        )

    @cuse.ioctl(cuse.IOR("k", 3, "=B"))
    def _get_bits(self, file: cuse.File) -> int:
        return self.settings.bits_per_word

    @cuse.ioctl(cuse.IOW("k", 3, "=B"))
    def _set_bits(self, file: cuse.File, bits: int) -> Any:
        return self.__turns.run(
            self._apply(lambda now: dataclasses.replace(now, bits_per_word=bits or 8))
        )

    @cuse.ioctl(cuse.IOR("k", 4, "=I"))
    def _get_speed(self, file: cuse.File) -> int:
        return self.settings.max_speed_hz

    @cuse.ioctl(cuse.IOW("k", 4, "=I"))
    def _set_speed(self, file: cuse.File, speed_hz: int) -> Any:
        if not speed_hz:
            raise oserror(errno.EINVAL)
        return self.__turns.run(
            self._apply(lambda now: dataclasses.replace(now, max_speed_hz=speed_hz))
        )

    def _message(self, request: cuse.IoctlRequest) -> Any:
        """drivers/spi/spidev.c: spidev_get_ioc_message, spidev_message."""
        if request.size % TRANSFER.size:
            raise oserror(errno.EINVAL)
        table = request.fetch(request.arg, request.size)
        transfers = unpack_transfers(table, request.compat)
        ins = [(t.tx, t.length) for t in transfers if t.tx]
        outs = [(t.rx, t.length) for t in transfers if t.rx]
        self._check_size(*(sum(length for _, length in areas) for areas in (ins, outs)))
        total = sum(t.length for t in transfers)
        if total > _INT_MAX or len(ins) + len(outs) > AREAS_MAX:
            raise oserror(errno.EMSGSIZE)
        given = iter(request.exchange(ins, outs))
        sent = [next(given) if t.tx else None for t in transfers]
        return self.__turns.run(self._exchange(transfers, sent, total))

    def _check_size(self, *sizes: int) -> None:
        if max(sizes) > self.bufsiz:
            raise oserror(errno.EMSGSIZE)

    # Coroutines, for Turns.run.

    async def _apply(self, change: Callable[[Settings], Settings]) -> None:
        """drivers/spi/spi.c: spi_setup."""
        async with self.__turns:
            wanted = change(self.settings)
            mode = wanted.mode
            if (mode & THREE_WIRE and mode & MANY_LINES) or wanted.bits_per_word > WORD_BITS_MAX:
                raise oserror(errno.EINVAL)
            # More lines than there are: one is taken, as by the kernel.
            mode &= self.mode_bits | ~MANY_LINES
            if mode & ~self.mode_bits:
                raise oserror(errno.EINVAL)
            wanted = dataclasses.replace(wanted, mode=mode)
            await self.__turns.ready(self.setup(wanted))
            self.settings = wanted

    async def _receive(self, transfer: Transfer) -> bytes:
        async with self.__turns:
            return (await self._clock([transfer], [None]))[0]

    async def _send(self, transfer: Transfer, data: bytes) -> int:
        async with self.__turns:
            await self._clock([transfer], [data])
        return len(data)

    async def _exchange(
        self, transfers: list[Transfer], sent: list[bytes | None], total: int
    ) -> cuse.IoctlReply:
        async with self.__turns:
            received = await self._clock(transfers, sent)
        data = b"".join(part for t, part in zip(transfers, received, strict=True) if t.rx)
        return cuse.IoctlReply(total, data)

    async def _clock(self, transfers: list[Transfer], sent: list[bytes | None]) -> list[bytes]:
        """What comes in, a transfer. The turn is ours."""
        settings = self.settings
        shares_line = bool(settings.mode & THREE_WIRE)
        widths = [t.width(settings.bits_per_word, shares_line) for t in transfers]
        parts = [
            # One without buffers is a delay, whatever its length.
            unpack(bytes(t.length if t.rx else 0) if data is None else data, bits)
            for t, data, bits in zip(transfers, sent, widths, strict=True)
        ]
        try:
            return await self._shift(transfers, parts, widths)
        except BaseException:
            await self.__turns.ready(self.deselected())  # spi_transfer_one_message
            raise

    async def _shift(
        self, transfers: list[Transfer], parts: list[Words], widths: list[int]
    ) -> list[bytes]:
        received: list[bytes] = []
        for end, transfer in enumerate(transfers, 1):
            is_last = end == len(transfers)
            if is_last or transfer.cs_change:
                start = len(received)
                received += await self._selected(parts[start:end], widths[start:end])
                if bool(transfer.cs_change) != is_last:  # at the last one it means: stay active
                    await self.__turns.ready(self.deselected())
        return received

    async def _selected(self, parts: list[Words], widths: list[int]) -> list[bytes]:
        """Of transfers between which the chip select stays active."""
        words = join(parts)
        given: Any = words
        if words and not self.settings.mode & LOOP:
            given = await self.__turns.ready(self.transfer(words))
        if given is None:
            given = bytes(len(words))
        if not isinstance(given, Sequence) or len(given) != len(words):
            raise ValueError(f"transfer() is to give as many words as it gets, {len(words)}")
        received, start = [], 0
        for part, bits in zip(parts, widths, strict=True):
            received.append(pack(given[start : start + len(part)], bits))
            start += len(part)
        return received
