"""Serves a device that is kept, of the kind that the first argument names, on the channel whose
descriptor is the second one, or as a node of that name. Its workers may die: see
tests/test_cuse_recover.py."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from cuse_scullv import cuse
from cuse_scullv.classes import hidraw, i2c, random, rtc, spi, watchdog
from cuse_scullv.cuse.nodes import Nodes
from cuse_scullv.cuse.recover import DeviceKeeper
from cuse_scullv.jobserver.device import Jobserver
from cuse_scullv.processes.supervise import Supervisor

EXCHANGE = cuse.IOWR("k", 1, 8)
HANG = cuse.IO("k", 2)
TOO_MUCH = cuse.IO("k", 3)
FILES = cuse.IOR("k", 4, 8)
DIE = cuse.IO("k", 5)
MAIL = cuse.IO("k", 6)
SLOW = cuse.IO("k", 7)
LEFT = cuse.IO("k", 8)


class Kept(cuse.Device):
    """read: the next number of the open file, and the sum; write: adds to the sum; EXCHANGE: of a
    value; MAIL: makes poll say POLLIN, which a read takes back."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sum = self.value = self.files = 0
        self.mail = False
        self.blob = b""
        self.waiting = cuse.Condition()

    # --- what is kept

    def save(self, file: cuse.File | None) -> bytes:
        if file is not None:
            return json.dumps(file.state).encode()
        fields = [self.sum, self.value, self.files, self.mail]
        return json.dumps(fields).encode() + self.blob

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        if file is not None:
            file.state = json.loads(data)
        else:
            self.sum, self.value, self.files, self.mail = json.loads(data)

    # --- what handlers do

    def begin(self) -> dict[str, int]:
        self.files += 1
        return {"reads": 0}

    def next(self, file: cuse.File) -> bytes:
        file.state["reads"] += 1
        self.mail = False
        return struct.pack("QQ", file.state["reads"], self.sum)

    def add(self, data: memoryview) -> None:
        self.sum += sum(struct.unpack(f"{len(data) // 8}Q", data))

    def exchange(self, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        before, self.value = self.value, struct.unpack("Q", request.data)[0]
        return cuse.IoctlReply(0, struct.pack("Q", before))

    def post(self) -> None:
        self.mail = True
        self.notify()


class Threads(Kept):
    @cuse.retry
    def open(self, file: cuse.File) -> dict[str, int]:
        return self.begin()

    def release(self, file: cuse.File) -> None:
        self.files -= 1

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> bytes:
        return self.next(file)

    @cuse.retry
    def write(self, file: cuse.File, data: memoryview) -> None:
        self.add(data)

    def poll(self, file: cuse.File) -> int:
        return select.POLLIN if self.mail else 0

    @cuse.ioctl(EXCHANGE, raw=True)
    @cuse.retry
    def on_exchange(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        return self.exchange(request)

    @cuse.ioctl(FILES, raw=True)
    @cuse.retry
    def on_files(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply:
        return cuse.IoctlReply(0, struct.pack("Q", self.files))

    @cuse.ioctl(HANG, raw=True)
    def on_hang(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        with self.waiting:
            self.waiting.wait()

    @cuse.ioctl(SLOW, raw=True)
    @cuse.retry
    def on_slow(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        time.sleep(0.5)
        if file.interrupted:
            raise InterruptedError

    @cuse.ioctl(TOO_MUCH, raw=True)
    def on_too_much(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        self.blob = bytes(5 << 20)

    @cuse.ioctl(DIE, raw=True)
    def on_die(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        os._exit(3)

    @cuse.ioctl(MAIL, raw=True)
    def on_mail(self, file: cuse.File, request: cuse.IoctlRequest) -> None:
        self.post()


class Loop(Kept):
    @cuse.retry
    async def open(self, file: cuse.File) -> dict[str, int]:
        return self.begin()

    async def release(self, file: cuse.File) -> None:
        self.files -= 1

    @cuse.retry
    async def read(self, file: cuse.File, size: int) -> bytes:
        return self.next(file)

    @cuse.retry
    async def write(self, file: cuse.File, data: memoryview) -> None:
        self.add(data)

    async def poll(self, file: cuse.File) -> int:
        return select.POLLIN if self.mail else 0

    @cuse.retry
    async def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> Any:
        if request.cmd == EXCHANGE:
            return self.exchange(request)
        if request.cmd == FILES:
            return cuse.IoctlReply(0, struct.pack("Q", self.files))
        if request.cmd == MAIL:
            return self.post()
        await asyncio.sleep(3600)
        return None


class Mixed(Threads):
    async def read(self, file: cuse.File, size: int) -> bytes:  # type: ignore[override]
        return self.next(file)


class Starting(Threads):
    """The value is the number of the process that serves."""

    def started(self) -> None:
        self.value = os.getpid()


class Watching(Threads):
    """A client's death adds its number to the sum."""

    def client_gone(self, file: cuse.File, client: cuse.Client) -> None:
        self.sum += client.pid


class WatchingLoop(Loop):
    async def client_gone(self, file: cuse.File, client: cuse.Client) -> None:
        self.sum += client.pid


class MixedWatching(Loop):
    def client_gone(self, file: cuse.File, client: cuse.Client) -> None:
        self.sum += client.pid


class Tokens(cuse.Device):
    """Three tokens: a read takes one, a write gives one back; LEFT: how many nobody has."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tokens = cuse.Semaphore(3)

    def save(self, file: cuse.File | None) -> bytes:
        return str(self.tokens.value if file is None else file.state).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        if file is None:
            self.tokens.value = int(data)
        else:
            file.state = int(data)

    def give_back(self, file: cuse.File) -> None:
        file.state -= 1
        self.tokens.release()


class ThreadTokens(Tokens):
    @cuse.retry
    def open(self, file: cuse.File) -> int:
        return 0

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> bytes:
        self.tokens.acquire(file)
        file.state += 1
        return b"+"

    @cuse.retry
    def write(self, file: cuse.File, data: memoryview) -> None:
        self.give_back(file)

    def poll(self, file: cuse.File) -> int:
        return select.POLLIN if self.tokens.poll(file) else 0

    @cuse.ioctl(LEFT)
    @cuse.retry
    def left(self, file: cuse.File, arg: int) -> int:
        return self.tokens.value


class LoopTokens(Tokens):
    @cuse.retry
    async def open(self, file: cuse.File) -> int:
        return 0

    @cuse.retry
    async def read(self, file: cuse.File, size: int) -> bytes:
        await self.tokens.acquire_async(file)
        file.state += 1
        return b"+"

    @cuse.retry
    async def write(self, file: cuse.File, data: memoryview) -> None:
        self.give_back(file)

    async def poll(self, file: cuse.File) -> int:
        return select.POLLIN if self.tokens.poll(file) else 0

    @cuse.retry
    async def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> int:
        return self.tokens.value


class Echo(i2c.Adapter):
    """Gives back its address."""

    def transfer(self, address: int, messages: Any) -> Any:
        return [bytes([address] * m.length) for m in messages if isinstance(m, i2c.Read)]


class LoopEcho(i2c.Adapter):
    """The same, on the loop."""

    async def transfer(self, address: int, messages: Any) -> Any:
        await asyncio.sleep(0)
        return [bytes([address] * m.length) for m in messages if isinstance(m, i2c.Read)]


class Wire(spi.Device):
    def transfer(self, words: spi.Words) -> spi.Words:
        return words


class Gadget(hidraw.Device):
    """Sends what it gets."""

    descriptor = b"\x06\x00\xff"

    def output(self, number: int, data: bytes) -> None:
        self.send_input(data)


class Dog(watchdog.Watchdog):
    def expired(self) -> None:
        print("expired", file=sys.stderr, flush=True)


class Clock(rtc.Clock):
    """Its time is that since the machine was started, twice as fast."""

    rate = 2.0

    def get(self) -> datetime.datetime:
        return datetime.datetime(2000, 1, 1) + datetime.timedelta(
            seconds=self.rate * time.monotonic()
        )

    def set(self, moment: datetime.datetime) -> None:
        pass


class Source(random.Generator):
    def __init__(self, name: str) -> None:
        super().__init__(name, entropy=0)

    def bytes(self, n: int) -> bytes:
        return bytes(n)

    def permits(self, file: cuse.File, capability: int) -> bool:
        return True


class Whole(cuse.Device):
    transfers = "whole"


KINDS: dict[str, Callable[[str], cuse.Device]] = {
    "jobserver": partial(Jobserver, tokens=3),
    "tokens": ThreadTokens,
    "loop tokens": LoopTokens,
    "def": Threads,
    "async def": Loop,
    "mixed": Mixed,
    "starting": Starting,
    "watching": Watching,
    "watching loop": WatchingLoop,
    "mixed watching": MixedWatching,
    "i2c": Echo,
    "i2c loop": LoopEcho,
    "spi": Wire,
    "hidraw": Gadget,
    "watchdog": Dog,
    "rtc": Clock,
    "random": Source,
    "whole": Whole,
}


def main(kind: str, where: str) -> None:
    if not where.isdecimal():
        cuse.serve(KINDS[kind](where), recover=True)
        return
    device = KINDS[kind]("kept")
    nodes = Nodes.none([device], [int(where)])
    with Supervisor() as supervisor, DeviceKeeper([device], None, nodes) as keeper:
        supervisor.wait(keeper.ended)
        if keeper.why:
            sys.exit(keeper.why)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
