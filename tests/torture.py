"""Verified load for a server whose workers are killed: `python torture.py ROLE PATH`.

Each role loops until its standard input ends, and checks all that it gets: the first thing that is
wrong ends it with a traceback. It prints a line when its first operation is done, and at the end a
line of JSON: `operations`; `slow`, those that took more than SLOW_S, as (begin, end) by
CLOCK_MONOTONIC; and what else the role has to tell.

`torture` starts a `Load` of some roles, kills meanwhile, and says how long clients waited at each
death.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import random
import select
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cuse_scullv import client, ioctl

XQSET = ioctl.NUMBERS["SCULLV_IOCXQSET"]
SLOW_S = 0.002
BLOCK = 1536  # bytes; crosses quanta
FILE_BYTES = 1 << 20
OWNERS, PLACES, PLACE_BYTES = 64, 16, 4096
TURN_S = 5.0  # a role starts over about so often


class Log:
    """What a role did."""

    def __init__(self) -> None:
        self.operations = 0
        self.slow: list[tuple[float, float]] = []
        self.more: dict[str, Any] = {}
        self._input = threading.Thread(target=sys.stdin.read, daemon=True)
        self._input.start()

    def goes_on(self) -> bool:
        return self._input.is_alive()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """An operation."""
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self.operations += 1
        if self.operations == 1:
            print("began", flush=True)
        if end - begin > SLOW_S:
            self.slow.append((begin, end))


def block(seed: int, number: int) -> bytes:
    return struct.pack("<QQ", seed, number) * (BLOCK // 16)


def seek(fd: int, offset: int, whence: int) -> int:
    return ioctl.unpack_seek(fcntl.ioctl(fd, ioctl.SEEK, ioctl.pack_seek(offset, whence)))


# --- roles ----------------------------------------------------------------------------------------


def stream(path: str, log: Log) -> None:
    """Writes blocks in sequence through a node, whose position is the server's; then reads them. An
    acknowledged byte that is missing, or is there twice, moves all that follow."""
    seed = os.getpid()
    while log.goes_on():
        with log.one():
            fd = os.open(path, os.O_RDWR)
        with log.one():
            fcntl.ioctl(fd, ioctl.TRIM)
        written = 0
        turn = time.monotonic() + random.uniform(0.2, TURN_S)
        while log.goes_on() and time.monotonic() < turn and written < 4000:
            with log.one():
                assert os.write(fd, block(seed, written)) == BLOCK
            written += 1
        with log.one():
            assert seek(fd, 0, os.SEEK_CUR) == written * BLOCK
        with log.one():
            assert seek(fd, 0, os.SEEK_SET) == 0
        for number in range(written):
            with log.one():
                assert os.read(fd, BLOCK) == block(seed, number), number
        with log.one():
            assert os.read(fd, BLOCK) == b""
        with log.one():
            os.close(fd)


def place(path: str, log: Log) -> None:
    """Writes to places of a file of the view, and reads what was acknowledged last."""
    fd = os.open(path, os.O_RDWR)
    seed, last = os.getpid(), Counter[int]()
    while log.goes_on():
        at = random.randrange(FILE_BYTES // BLOCK)
        if random.random() < 0.5:
            last[at] += 1
            with log.one():
                assert os.pwrite(fd, block(seed, last[at]), at * BLOCK) == BLOCK
        elif last[at]:
            with log.one():
                assert os.pread(fd, BLOCK, at * BLOCK) == block(seed, last[at])
    os.close(fd)


def own(path: str, log: Log) -> None:
    """Writes to places of a node that no other client has, punches some, and reads what was
    acknowledged last; opens and closes meanwhile."""
    seed, first = os.getpid(), os.getpid() % OWNERS * PLACES
    last = Counter[int]()
    while log.goes_on():
        with log.one():
            fd = os.open(path, os.O_RDWR)
        for _ in range(50):
            at = random.randrange(PLACES)
            where = (first + at) * PLACE_BYTES
            with log.one():
                assert seek(fd, where, os.SEEK_SET) == where
            if last[at] and random.random() < 0.5:
                with log.one():
                    assert os.read(fd, BLOCK) == block(seed, last[at])
            elif random.random() < 0.2:
                last[at] = 0
                with log.one():
                    fcntl.ioctl(fd, ioctl.PUNCH, struct.pack("<QQ", where, PLACE_BYTES))
            else:
                last[at] += 1
                with log.one():
                    assert os.write(fd, block(seed, last[at])) == BLOCK
        with log.one():
            os.close(fd)


def cut(path: str, log: Log) -> None:
    """Truncates a file of the view, and lets it grow again."""
    number = 0
    while log.goes_on():
        number += 1
        with log.one():
            fd = os.open(path, os.O_RDWR | os.O_TRUNC)
        with log.one():
            assert os.pwrite(fd, block(1, number), BLOCK) == BLOCK
        with log.one():
            os.ftruncate(fd, 2 * BLOCK - 16)
        with log.one():
            assert os.pread(fd, 9 * BLOCK, 0) == bytes(BLOCK) + block(1, number)[:-16]
        with log.one():
            os.close(fd)


def trim(path: str, log: Log) -> None:
    """Opens for writing, which empties a node, again and again."""
    number = 0
    while log.goes_on():
        number += 1
        with log.one():
            fd = os.open(path, os.O_WRONLY)
        with log.one():
            assert os.write(fd, block(0, number)) == BLOCK
        with log.one():
            os.close(fd)
        with log.one():
            fd = os.open(path, os.O_RDONLY)
        with log.one():
            assert os.read(fd, 2 * BLOCK) == block(0, number)
        os.close(fd)


def exchange(path: str, log: Log) -> None:
    """Exchanges the pending quantum set for numbers that nobody else has: what was put is got
    once."""
    fd = os.open(path, os.O_RDWR)
    put, got = [], []
    number = os.getpid() % 1000 * 1000 + 1
    while log.goes_on():
        value = number + len(put) % 900
        data = struct.pack("<i", value)
        with log.one():
            answer = fcntl.ioctl(fd, XQSET, data)
        put.append(value)
        got.append(struct.unpack("<i", answer)[0])
        time.sleep(0.002)
    os.close(fd)
    log.more |= {"put": put, "got": got}


def wait(path: str, log: Log) -> None:
    """Polls, and asks for information."""
    fd = os.open(path, os.O_RDWR)
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLOUT)
    while log.goes_on():
        with log.one():
            assert poll.poll(30_000)
        with log.one():
            assert os.fstat(fd).st_mode
    os.close(fd)


def store(path: str, log: Log) -> None:
    """Counts in a mapping of a file of the view, and finds every count again."""
    fd = os.open(path, os.O_RDWR)
    os.ftruncate(fd, mmap.PAGESIZE)
    count = 0
    with mmap.mmap(fd, mmap.PAGESIZE) as memory:
        while log.goes_on():
            assert struct.unpack_from("<Q", memory)[0] == count
            count += 1
            struct.pack_into("<Q", memory, 0, count)
            if count % 1000 == 0:
                with log.one():
                    assert os.fstat(fd).st_size == mmap.PAGESIZE
            time.sleep(0.0001)
    os.close(fd)


ROLES = {role.__name__: role for role in (stream, place, own, cut, trim, exchange, wait, store)}


# --- all of them ----------------------------------------------------------------------------------


class Load:
    """Clients, each in a process of its own, which have begun."""

    def __init__(self, roles: list[tuple[str, Path]]) -> None:
        end, self._going = os.pipe()
        self._clients = [
            subprocess.Popen(
                [sys.executable, __file__, role, path],
                stdin=end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for role, path in roles
        ]
        os.close(end)
        for process in self._clients:
            assert process.stdout is not None
            process.stdout.readline()

    def finish(self, seconds: float = 60.0) -> list[dict[str, Any]]:
        """What they have to tell; AssertionError, with a traceback, where one failed or hangs."""
        os.close(self._going)
        told = []
        for process in self._clients:
            try:
                out, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{process.args!r} hangs") from None
            assert process.returncode == 0, errors
            told.append(json.loads(out))
        return told


def kill_workers(worker: Callable[[], int], deaths: int, gap_s: tuple[float, float]) -> list[float]:
    """Kills the process that `worker()` names so often, at random moments; when that was."""
    times: list[float] = []
    last = 0
    end = time.monotonic() + seconds_for(deaths)
    while len(times) < deaths:
        assert time.monotonic() < end, f"{len(times)} of {deaths} deaths only"
        time.sleep(random.uniform(*gap_s))
        pid = worker()
        if pid in (0, last):
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            times.append(time.monotonic())
            last = pid
    return times


def seconds_for(deaths: int) -> float:
    """More than they take, in an emulator on a busy machine as well."""
    return 60.0 + 5.0 * deaths


def check_exchanges(told: list[dict[str, Any]], first: int, last: int) -> None:
    """Every number that was put was got by somebody once, but for the one that is left."""
    put = Counter(value for each in told for value in each.get("put", ()))
    got = Counter(value for each in told for value in each.get("got", ()))
    assert put + Counter([first]) == got + Counter([last])


def stalls(told: list[dict[str, Any]], times: list[float]) -> list[float]:
    """For each death the longest that a client waited over it, seconds."""
    return [
        max(
            (end - begin for each in told for begin, end in each["slow"] if begin <= at <= end),
            default=0.0,
        )
        for at in times
    ]


def torture(roles: list[tuple[str, Path]], kill: Callable[[], list[float]]) -> None:
    """Under load of these roles, one of which waits, workers are killed; `kill` says when."""
    (path,) = {path for role, path in roles if role == "wait"}
    with client.open(path) as device:
        first = device.info().pending_qset
    load = Load(roles)
    times = kill()
    told = load.finish()
    with client.open(path) as device:
        check_exchanges(told, first, device.info().pending_qset)
    waits = stalls(told, times)
    operations = sum(each["operations"] for each in told)
    print(
        f"{len(times)} deaths, {operations} operations; the longest wait of a client at a death:"
        f" median {statistics.median(waits) * 1e3:.1f} ms, worst {max(waits) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    role, path = sys.argv[1:]
    log = Log()
    ROLES[role](path, log)
    print(json.dumps({"operations": log.operations, "slow": log.slow, **log.more}))
