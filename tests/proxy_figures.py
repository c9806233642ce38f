"""Prints what cuse-scullv proxy costs: the rate at 64 KiB, and the time of a 16-byte exchange.

In a guest, as root: tools/guest -- python tests/proxy_figures.py. Rounds are short and take turns,
and the best of each counts: what else the machine does spoils many, and none for the better."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from terminals import terminal

CLI = [sys.executable, "-m", "cuse_scullv"]
ROUNDS = 25
BLOCK, BLOCKS = 1 << 16, 40
EXCHANGE, EXCHANGES = b"0123456789abcdef", 50

Measure = Callable[[str], float]
Best = Callable[[list[float]], float]


@contextlib.contextmanager
def serving(*words: str) -> Iterator[None]:
    """A server, from when its node can be opened."""
    name = words[words.index("--name") + 1]
    subprocess.run([*CLI, *words, "--daemon"], check=True, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([*CLI, "stop", name], check=True)


def write_rate(path: str) -> float:
    """MiB/s."""
    fd, block = os.open(path, os.O_WRONLY | os.O_NOCTTY), bytes(BLOCK)
    begun = time.perf_counter()
    for _ in range(BLOCKS):
        assert os.write(fd, block) == BLOCK
    took = time.perf_counter() - begun
    os.close(fd)
    return BLOCK * BLOCKS / took / 2**20


def read_rate(path: str) -> float:
    """MiB/s."""
    fd, room = os.open(path, os.O_RDONLY), bytearray(BLOCK)
    begun = time.perf_counter()
    for _ in range(BLOCKS):
        assert os.readv(fd, [room]) == BLOCK
    took = time.perf_counter() - begun
    os.close(fd)
    return BLOCK * BLOCKS / took / 2**20


def exchange_time(path: str) -> float:
    """Microseconds for 16 bytes to the far end of a terminal and back."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    begun = time.perf_counter()
    for _ in range(EXCHANGES):
        os.write(fd, EXCHANGE)
        left = len(EXCHANGE)
        while left:
            left -= len(os.read(fd, left))
    took = time.perf_counter() - begun
    os.close(fd)
    return took / EXCHANGES * 1e6


def report(what: str, unit: str, measure: Measure, best: Best, *paths: str) -> None:
    """Of the real device, of the proxy, and of one that records; each over the first."""
    found: dict[str, list[float]] = {path: [] for path in paths}
    for _ in range(ROUNDS):
        for path, values in found.items():
            values.append(measure(path))
    bests = [best(values) for values in found.values()]
    row = "  ".join(f"{value:8.0f} ({value / bests[0]:.2f})" for value in bests)
    print(f"{what:24} {unit:6} {row}", flush=True)


def swallow(master: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            os.read(master, BLOCK)


def echo(master: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            os.write(master, os.read(master, BLOCK))


@contextlib.contextmanager
def line(far_end: Callable[[int], None]) -> Iterator[tuple[str, str, str]]:
    """A terminal with proxies before it, and what is at its other end."""
    with terminal() as pair:
        threading.Thread(target=far_end, args=(pair.master,), daemon=True).start()
        with proxies(pair.path) as nodes:
            yield nodes


def main() -> None:
    print(f"{'':24} {'':6} {'real':>15}  {'proxy':>15}  {'--record':>15}")
    with serving("serve", "--name", "real"), proxies("/dev/real") as nodes:
        report("scullv: write 64 KiB", "MiB/s", write_rate, max, *nodes)
        report("scullv: read 64 KiB", "MiB/s", read_rate, max, *nodes)
    with line(swallow) as nodes:
        report("pty: write 64 KiB", "MiB/s", write_rate, max, *nodes)
    with line(echo) as nodes:
        report("pty: 16 bytes and back", "us", exchange_time, min, *nodes)


@contextlib.contextmanager
def proxies(real: str) -> Iterator[tuple[str, str, str]]:
    record = ("--record", "/tmp/figures.log")
    with serving("proxy", real, "--name", "front"):
        with serving("proxy", real, "--name", "noting", *record):
            yield real, "/dev/front", "/dev/noting"


if __name__ == "__main__":
    main()
