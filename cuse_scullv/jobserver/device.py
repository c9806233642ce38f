"""Jobserver: the device. Whoever reads a byte has a token; whoever writes it gives it back.

Every token is either in the semaphore, where those who want one stand in a line, or in an account.
How many are in the semaphore follows from the accounts (_balance), so only these are kept for the
next worker: what it makes of them is right, whatever the one before was at.

All of it runs on the binding's loop, one method at a time: there is no lock."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import select
from typing import Any

from cuse_scullv import cuse

from . import protocol
from .accounts import Accounts, Holder
from .gate import Gate
from .kin import ancestors_of, start_of
from .watch import Watch

logger = logging.getLogger("cuse_scullv.jobserver")

TOKEN = b"+"  # as GNU make's (src/posixos.c: token)
LOOK_S = 1.0
"""How often the load and the memory are looked at while nobody reads or writes, seconds."""
_UNSEEN = (0, 0)  # pid and start of a process of another pid namespace


class Jobserver(cuse.Device):
    """Tokens for jobs, by make's protocol: read(2) takes one, write(2) gives back."""

    def __init__(
        self, name: str = "jobserver", tokens: int = 1, gate: Gate | None = None, **node: Any
    ) -> None:
        """`tokens`: at most so many are out. `node`: mode, owner and group, as of cuse.Device.
        DeviceError, EINVAL, for no number of tokens."""
        super().__init__(name, **node)
        if not 1 <= tokens <= protocol.TOKENS_MAX:
            raise cuse.DeviceError(
                errno.EINVAL, f"no {tokens} tokens: take 1 to {protocol.TOKENS_MAX}"
            )
        self._tokens = tokens
        self._gate = gate or Gate()
        self._accounts = Accounts()
        self._opened = 0  # open files so far: they are numbered
        self._handed = 0  # tokens read so far
        self._refused = 0  # bytes written that were no tokens
        self._semaphore = cuse.Semaphore(0)
        self._watch = Watch(self._died)
        self._looks: asyncio.Task[None] | None = None

    # --- for as long as it is served

    async def started(self) -> None:
        self._look()
        self._looks = asyncio.get_running_loop().create_task(self._look_now_and_then())

    async def stopped(self) -> None:
        if self._looks is not None:
            self._looks.cancel()
        self._watch.keep(frozenset())

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._look()
            except Exception:
                logger.exception("%s: a fault of the jobserver itself", self.name)

    def _look(self) -> None:
        holders = [holder for holder, _ in self._accounts if holder.pid]
        for holder in holders:
            self._watch.follow(holder.pid, holder.start)
        self._watch.keep({holder.pid for holder in holders})
        self._balance()

    # --- make's protocol

    @cuse.retry
    async def open(self, file: cuse.File) -> int:
        self._opened += 1
        return self._opened

    @cuse.retry
    async def read(self, file: cuse.File, size: int) -> bytes:
        """One token a call, whatever `size` is: so that none takes all at once."""
        holder = self._holder(file)
        await self._semaphore.acquire_async(file)
        self._accounts.take(holder)
        self._handed += 1
        if holder.pid:
            self._watch.follow(holder.pid, holder.start)
        self._balance()
        return TOKEN

    @cuse.retry
    async def write(self, file: cuse.File, data: memoryview) -> None:
        """Takes all bytes, as a FIFO does; those that are no tokens are dropped."""
        giver = self._holder(file)
        back = self._accounts.give_back(len(data), giver, lambda: ancestors_of(giver.pid))
        if back < len(data):
            if not self._refused:
                logger.warning(
                    "%s: process %d wrote %d bytes for %d tokens that it had; of this and the like"
                    " no token is made (cuse-scullv info counts them)",
                    *(self.name, giver.pid, len(data), back),
                )
            self._refused += len(data) - back
        self._balance()

    async def poll(self, file: cuse.File) -> int:
        events = select.POLLOUT if file.writable else 0
        # Who cannot read must not stand in the line.
        if file.readable and self._semaphore.poll(file):
            events |= select.POLLIN
        return events

    async def release(self, file: cuse.File) -> None:
        """A process keeps its tokens until it dies; of one that cannot be seen this is the end."""
        unseen = Holder(*_UNSEEN, file.state)
        if self._accounts.drop(lambda holder: holder == unseen):
            self._balance()

    def _holder(self, file: cuse.File) -> Holder:
        try:
            pid = file.caller.tgid
            return Holder(pid, start_of(pid), file.state)
        except ProcessLookupError:
            return Holder(*_UNSEEN, file.state)

    def _died(self, pid: int, start: int) -> None:
        if self._accounts.drop(lambda holder: holder[:2] == (pid, start)):
            self._balance()

    def _balance(self) -> None:
        """Puts as many tokens into the semaphore as may be taken, those on their way to a reader
        among them. While the gate is shut that is one where none is out, so that work goes on."""
        out = self._accounts.total
        most = 1 if self._is_shut() else self._tokens
        missing = max(most - out, 0) - self._semaphore.value
        if missing > 0:
            self._semaphore.release(missing)
        else:
            self._semaphore.withdraw(-missing)

    def _is_shut(self) -> bool:
        return not self._gate.is_open

    # --- what outlives a worker

    def save(self, file: cuse.File | None) -> bytes:
        if file is not None:
            return str(file.state).encode()
        limits = [self._tokens, self._gate.load, self._gate.min_memory]
        counts = [self._opened, self._handed, self._refused]
        return json.dumps([limits, counts, list(self._accounts)]).encode()

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        if file is not None:
            file.state = int(data)
            return
        (self._tokens, *limits), counts, held = json.loads(data)
        self._gate = Gate(*limits)
        self._opened, self._handed, self._refused = counts
        self._accounts = Accounts((Holder(*holder), count) for holder, count in held)

    # --- what can be seen of it, and changed (protocol.py)

    def measures(self) -> dict[str, float]:
        return {
            "jobserver_tokens": self._tokens,
            "jobserver_tokens_held": self._accounts.total,
            "jobserver_handed_total": self._handed,
            "jobserver_refused_total": self._refused,
            "jobserver_shut": self._is_shut(),
        }

    @cuse.ioctl(protocol.STATE)
    @cuse.retry
    async def state(self, file: cuse.File) -> protocol.State:
        return protocol.State(
            tokens=self._tokens,
            held=self._accounts.total,
            load=self._gate.load,
            min_memory=self._gate.min_memory,
            handed=self._handed,
            refused=self._refused,
            is_shut=self._is_shut(),
        )

    @cuse.ioctl(protocol.HOLDERS)
    @cuse.retry
    async def holders(self, file: cuse.File) -> protocol.Holders:
        counts: dict[int, int] = {}
        for holder, count in self._accounts:
            counts[holder.pid] = counts.get(holder.pid, 0) + count
        return protocol.Holders.of(counts)

    @cuse.ioctl(protocol.LIMITS)
    @cuse.retry
    async def limit(self, file: cuse.File, limits: protocol.Limits) -> None:
        """EPERM but for root and whom the server is; EINVAL for what is no limit."""
        if file.caller.uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        limits.check()
        self._tokens = limits.tokens
        self._gate = Gate(limits.load, limits.min_memory)
        self._balance()
