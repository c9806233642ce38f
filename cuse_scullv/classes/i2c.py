"""i2c: an I2C bus, /dev/i2c-N, as drivers/i2c/i2c-dev.c has it. SMBus falls out of it.

    class Eeprom(i2c.Adapter):
        memory, position = bytearray(256), 0

        def transfer(self, address, messages):
            if address != 0x50:
                raise i2c.NackError
            for message in messages:
                if isinstance(message, i2c.Read):
                    yield self.memory[self.position :][: message.length]
                ...

    cuse.serve(Eeprom("i2c-9"))

docs/classes/i2c.md is its manual. Numbers and layouts: linux/i2c-dev.h, linux/i2c.h.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import struct
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from cuse_scullv import cuse
from cuse_scullv._errors import oserror

from . import smbus
from .i2c_message import (
    BLOCK_MAX,
    LAYOUT,
    M_RD,
    M_RECV_LEN,
    M_TEN,
    Message,
    NackError,
    Read,
    Write,
    check_answers,
    counted_read,
)
from .needs import check_method, check_parts
from .smbus import checksum
from .turns import Turns

__all__ = ["Adapter", "Message", "NackError", "Read", "Write", "checksum"]

I2C_RETRIES, I2C_TIMEOUT, I2C_SLAVE, I2C_TENBIT = 0x0701, 0x0702, 0x0703, 0x0704
I2C_FUNCS, I2C_SLAVE_FORCE, I2C_RDWR, I2C_PEC, I2C_SMBUS = 0x0705, 0x0706, 0x0707, 0x0708, 0x0720
FUNC_I2C, FUNC_10BIT_ADDR = 0x00000001, 0x00000002
FUNC_SMBUS_EMUL_ALL = 0x0FFF8008
RDWR_MAX = 42  # I2C_RDWR_IOCTL_MAX_MSGS
MESSAGE_MAX = 8192  # bytes; i2c-dev.c
_INT_MAX = 2**31 - 1
# By whether the client is a 32-bit program.
_RDWR = {False: struct.Struct("=QI4x"), True: struct.Struct("=II")}
_SMBUS = {False: struct.Struct("=BB2xIQ"), True: struct.Struct("=BB2xII")}
_ULONG = {False: struct.Struct("=Q"), True: struct.Struct("=I")}


@dataclass
class _Client:
    """An open file (struct i2c_client)."""

    address: int = 0
    ten_bit: bool = False
    pec: bool = False

    @property
    def flags(self) -> int:
        return M_TEN if self.ten_bit else 0


class Adapter(cuse.Device):
    """An I2C bus with whatever answers on it. Define transfer().

    Transfers come one at a time, so what they share needs no lock. `file.state` is the class's:
    the address and flags that the client has set."""

    functions = FUNC_I2C | FUNC_10BIT_ADDR | FUNC_SMBUS_EMUL_ALL
    """What the adapter can do: I2C_FUNC_… of linux/i2c.h, for I2C_FUNCS. Without FUNC_I2C plain
    messages are EOPNOTSUPP."""
    claimed: Collection[int] = ()
    """Addresses that a driver of the kernel would hold: I2C_SLAVE of them is EBUSY, and i2cdetect
    shows UU."""
    retries = 0
    """How often a transfer that raises EAGAIN (arbitration lost) is tried again; I2C_RETRIES."""
    retry_s = 1.0
    """Seconds after which it is not tried again; I2C_TIMEOUT."""

    def __init__(self, name: str, **options: Any) -> None:
        """`name`: i2c-N, which is what tools look for. `options`: of cuse.Device.

        TypeError for a class without transfer(), or with a part of this one hidden."""
        super().__init__(name, unrestricted=True, **options)
        check_method(self, Adapter, "transfer", "transfer(self, address, messages)")
        check_parts(self, Adapter)
        self.__turns = Turns(self.transfer)

    def transfer(self, address: int, messages: Sequence[Message]) -> Any:
        """One transfer on the bus: `messages`, Write and Read, without a stop between them.

        `address` is that of the first, 7 or 10 bits; a client may give each its own, in
        `message.address`. Returns, or yields, bytes for each Read, as many as it asks for; None
        where there is none. `def` or `async def`.

        Raises NackError where no device has the address; OSError EIO for a byte that is not
        acknowledged, EAGAIN for lost arbitration."""
        raise NotImplementedError

    # --- the kernel's half ---------------------------------------------------------------------

    def open(self, file: cuse.File) -> Any:
        return _Client()

    def read(self, file: cuse.File, size: int) -> Any:
        client: _Client = file.state
        message = Read(client.address, min(size, MESSAGE_MAX), client.flags | M_RD)
        return self.__turns.run(self._receive(message))

    def write(self, file: cuse.File, data: memoryview) -> Any:
        client: _Client = file.state
        message = Write(client.address, bytes(data[:MESSAGE_MAX]), client.flags)
        return self.__turns.run(self._send(message))

    def save(self, file: cuse.File | None) -> bytes:
        """A JSON object, of the device one to which a subclass may add keys of its own."""
        if file is not None:
            return json.dumps(dataclasses.asdict(file.state)).encode()
        return json.dumps({"retries": self.retries, "retry_s": self.retry_s}).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        kept = json.loads(data)
        if file is not None:
            file.state = _Client(**kept)
        else:
            self.retries, self.retry_s = kept["retries"], kept["retry_s"]

    @cuse.ioctl(I2C_SLAVE)
    def _set_address(self, file: cuse.File, address: int) -> None:
        self._check_address(file, address)
        if address in self.claimed:
            raise oserror(errno.EBUSY)
        file.state.address = address

    @cuse.ioctl(I2C_SLAVE_FORCE)
    def _force_address(self, file: cuse.File, address: int) -> None:
        self._check_address(file, address)
        file.state.address = address

    @cuse.ioctl(I2C_TENBIT)
    def _set_ten_bit(self, file: cuse.File, on: int) -> None:
        file.state.ten_bit = bool(on)

    @cuse.ioctl(I2C_PEC)
    def _set_pec(self, file: cuse.File, on: int) -> None:
        file.state.pec = bool(on)

    @cuse.ioctl(I2C_RETRIES)
    def _set_retries(self, file: cuse.File, retries: int) -> None:
        self.retries = _checked_int(retries)

    @cuse.ioctl(I2C_TIMEOUT)
    def _set_timeout(self, file: cuse.File, hundredths: int) -> None:
        self.retry_s = _checked_int(hundredths) / 100

    @cuse.ioctl(I2C_FUNCS, raw=True)
    def _get_functions(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        layout = _ULONG[request.compat]
        request.reserve(request.arg, layout.size)
        return cuse.IoctlReply(0, layout.pack(self.functions))

    @cuse.ioctl(I2C_RDWR, raw=True)
    def _rdwr(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        layout, message = _RDWR[request.compat], LAYOUT[request.compat]
        pointer, count = layout.unpack(request.fetch(request.arg, layout.size))
        if not pointer or not 1 <= count <= RDWR_MAX:
            raise oserror(errno.EINVAL)
        fields = list(message.iter_unpack(request.fetch(pointer, count * message.size)))
        if any(length > MESSAGE_MAX for _, _, length, _ in fields):
            raise oserror(errno.EINVAL)
        contents = request.exchange(
            [(at, _taken(flags, length)) for _, flags, length, at in fields],
            [(at, length) for _, flags, length, at in fields if flags & M_RD],
        )
        messages = [
            _message(address, flags, length, content)
            for (address, flags, length, _), content in zip(fields, contents, strict=True)
        ]
        return self.__turns.run(self._exchange(messages, contents))

    @cuse.ioctl(I2C_SMBUS, raw=True)
    def _smbus(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        layout = _SMBUS[request.compat]
        reads, command, kind, at = layout.unpack(request.fetch(request.arg, layout.size))
        if kind > smbus.I2C_BLOCK_DATA or reads > 1:
            raise oserror(errno.EINVAL)
        asked = smbus.Transaction(kind, bool(reads), command)
        if asked.has_data and not at:
            raise oserror(errno.EINVAL)
        (data,) = request.exchange(
            [(at, asked.size if asked.needs_data else 0)],
            [(at, asked.size if asked.gives_data else 0)],
        )
        if kind == smbus.I2C_BLOCK_BROKEN:  # of old programs: a read has no length
            kind, data = smbus.I2C_BLOCK_DATA, bytes([BLOCK_MAX]) + data[1:] if reads else data
        asked = dataclasses.replace(asked, kind=kind, data=data)
        return self.__turns.run(self._transact(file.state, asked))

    def _check_address(self, file: cuse.File, address: int) -> None:
        if address > (0x3FF if file.state.ten_bit else 0x7F):
            raise oserror(errno.EINVAL)

    # Coroutines, for Turns.run.

    async def _receive(self, message: Read) -> bytes:
        return (await self._plain([message]))[0]

    async def _send(self, message: Write) -> int:
        await self._plain([message])
        return len(message.data)

    async def _exchange(self, messages: list[Message], contents: list[bytes]) -> cuse.IoctlReply:
        answers = iter(await self._plain(messages))
        data = b""
        for message, content in zip(messages, contents, strict=True):
            if isinstance(message, Read):
                answer = next(answers)
                data += answer + content[len(answer) :]
        return cuse.IoctlReply(len(messages), data)

    async def _transact(self, client: _Client, asked: smbus.Transaction) -> cuse.IoctlReply:
        messages = smbus.messages(asked, client.address, client.flags, client.pec)
        answers = await self._transfer(messages)
        return cuse.IoctlReply(0, smbus.result(asked, messages, answers, client.pec))

    async def _plain(self, messages: list[Message]) -> list[bytes]:
        if not self.functions & FUNC_I2C:
            raise oserror(errno.EOPNOTSUPP)
        return await self._transfer(messages)

    async def _transfer(self, messages: list[Message]) -> list[bytes]:
        """drivers/i2c/i2c-core-base.c: __i2c_transfer, under the bus's lock."""
        async with self.__turns:
            tries, end = self.retries + 1, time.monotonic() + self.retry_s
            while True:
                try:
                    given = await self.__turns.ready(
                        self.transfer(messages[0].address, tuple(messages))
                    )
                    return check_answers(messages, given)
                except BlockingIOError:
                    tries -= 1
                    if not tries or time.monotonic() > end:
                        raise
                await self.__turns.pause()


def _message(address: int, flags: int, length: int, content: bytes) -> Message:
    """drivers/i2c/i2c-dev.c: i2cdev_ioctl_rdwr. OSError EINVAL for a counted read that is none, or
    has too little room."""
    if not flags & M_RECV_LEN:
        return Read(address, length, flags) if flags & M_RD else Write(address, content, flags)
    if not flags & M_RD or not content or not 1 <= content[0] <= length - BLOCK_MAX:
        raise oserror(errno.EINVAL)
    return counted_read(address, content[0] - 1, flags)


def _taken(flags: int, length: int) -> int:
    """Bytes of a message's buffer that are looked at: none of a plain read's; all of a counted
    one's, which begins with a number, and of which what the device does not send is to stay."""
    return 0 if flags & M_RD and not flags & M_RECV_LEN else length


def _checked_int(value: int) -> int:
    if value > _INT_MAX:
        raise oserror(errno.EINVAL)
    return value
