"""Traffic of a serial line at full speed, there and back, in small pieces: is any byte lost, and
how much of a CPU does the server take? Over a real node where the kernel has CUSE, else over the
fake kernel. That one is in this process; the server is always one of its own:

    python tests/programs/serial_rate.py
    python tests/programs/serial_rate.py --bare    # what the binding alone takes
    tools/guest -- python tests/programs/serial_rate.py"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cuse_scullv import cuse
from cuse_scullv.classes import serial
from cuse_scullv.cuse.testing import FakeKernel

NAME = "ttyRATE"
BITS = 10  # of a byte on the line: 8N1
ROUND_S = 0.5


class Loopback(serial.Port):
    def transmit(self, data: bytes) -> int:
        return self.feed(data)


class Bare(cuse.Device):
    """The least that can send back what it gets."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.waiting = bytearray()

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.waiting += data

    def read(self, file: cuse.File, size: int) -> bytes:
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        return data


class OpenFile(Protocol):
    def read(self, size: int) -> bytes: ...
    def write(self, data: bytes) -> int: ...


class Node:
    """The real one, open."""

    def __init__(self) -> None:
        self.fd = os.open(f"/dev/{NAME}", os.O_RDWR | os.O_NOCTTY)
        if os.isatty(self.fd):
            tty.setraw(self.fd)

    def read(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data)


def serve(fd: int | None, bare: bool) -> None:
    """What the child does, until its input ends."""
    device = Bare(NAME) if bare else Loopback(NAME, raw=True)
    with cuse.Channel(device, fd=fd) as channel:
        if fd is None:
            channel.wait_ready()
        print("serving", flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def served(bare: bool) -> Iterator[tuple[OpenFile, int]]:
    """An open file, and the process that serves it."""
    with contextlib.ExitStack() as stack:
        words, fds, kernel = [sys.executable, __file__, "--serve"], [], None
        if not cuse.availability().ok:
            kernel = stack.enter_context(FakeKernel())
            fds = [kernel.server_fd]
            words.append(str(fds[0]))
        if bare:
            words.append("--bare")
        child = stack.enter_context(
            subprocess.Popen(words, pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"serving\n"
        if kernel is None:
            yield Node(), child.pid
        else:
            kernel.init()
            yield kernel.open(), child.pid


def cpu_seconds(pid: int) -> float:
    """What a process and its threads have used so far: its clock, as of clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


@dataclass
class Traffic:
    """What went there and back, in rounds of half a second."""

    size: int
    counts: list[int] = field(default_factory=list)  # pieces
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds of the server's

    def loads(self, baud: int = 921_600) -> list[float]:
        """Of each round: how much of a CPU the server would take at that rate."""
        per_second = baud / (self.size * BITS)
        return [cpu / count * per_second for cpu, count in zip(self.cpu, self.counts, strict=True)]

    def __str__(self) -> str:
        count, seconds = sum(self.counts), sum(self.seconds)
        loads = self.loads()
        return (
            f"{count} pieces of {self.size} bytes there and back in {seconds:.2f} s, none lost:"
            f" {count * self.size * BITS / seconds:.0f} baud, {sum(self.cpu) / seconds:.2f} of a"
            f" CPU; at 921600 baud {statistics.median(loads):.2f}, {min(loads):.2f} in the best"
            " half second"
        )


def exchange(file: OpenFile, baud: int, size: int, seconds: float) -> int:
    """Sends pieces when they are due, and reads each back. How many; AssertionError for a byte that
    is not the one that was sent."""
    interval = size * BITS / baud
    begun, number = time.monotonic(), 0
    while (now := time.monotonic() - begun) < seconds:
        early = number * interval - now
        if early > 0.001:  # shorter sleeps take longer than they should
            time.sleep(early)
        sent = (number.to_bytes(4, "little") * (size // 4 + 1))[:size]
        assert file.write(sent) == size
        got = file.read(size)
        while len(got) < size:
            got += file.read(size - len(got))
        assert got == sent, (number, got, sent)
        number += 1
    return number


def measure(baud: int, size: int, seconds: float, bare: bool = False) -> Traffic:
    traffic = Traffic(size)
    with served(bare) as (file, pid):
        exchange(file, baud, size, ROUND_S)
        for _ in range(max(int(seconds / ROUND_S), 1)):
            cpu, begun = cpu_seconds(pid), time.monotonic()
            traffic.counts.append(exchange(file, baud, size, ROUND_S))
            traffic.seconds.append(time.monotonic() - begun)
            traffic.cpu.append(cpu_seconds(pid) - cpu)
    return traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--baud", type=int, default=921600)
    parser.add_argument("--size", type=int, default=16, help="bytes of a piece")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--bare", action="store_true", help="a device that only sends back")
    parser.add_argument("--serve", nargs="?", type=int, const=-1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(None if asked.serve < 0 else asked.serve, asked.bare)
    else:
        print(measure(asked.baud, asked.size, asked.seconds, asked.bare))


if __name__ == "__main__":
    main()
