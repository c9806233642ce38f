"""File views for tests: always served by another process.

Whoever touches a mapping of a file that he serves himself may wait for himself for ever; so a test
never serves what it opens.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cuse_scullv import client
from nodes import SERVER_S, RealServer

COHERENCE_SERVER = Path(__file__).with_name("coherence_server.py")


# Where the bytes are, and who reads and writes them. A limit is ours to keep for a file, so the
# server is asked.
BACKINGS = {
    "anon": (),
    "memfd": ("--backing", "memfd"),
    "memfd-direct": ("--backing", "memfd", "--view", "direct"),
    "file": ("--backing", "{}/image%d"),
    "file-direct": ("--backing", "{}/image%d", "--view", "direct", "--recover"),
}


def backing(kind: str, folder: Path) -> list[str]:
    """The options that say so; files are made in `folder`."""
    return [word.replace("{}", str(folder)) for word in BACKINGS[kind]]


class FilesServer(RealServer):
    """A `cuse-scullv serve --files` of its own; without nodes unless `node`."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        name: str = "scullv",
        node: bool = False,
        under: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        words = [] if node else ["--no-node"]
        super().__init__(*words, "--files", str(directory), *arguments, name=name, under=under)

    @property
    def files(self) -> list[Path]:
        """The devices' files."""
        return [self.directory / path.name for path in self.paths]

    @property
    def is_on_disk(self) -> bool:
        """A disk's own records of a file count as its memory."""
        return any("/image" in word for word in self.arguments)

    @property
    def text(self) -> Path:
        return self.directory / "scullvmem"

    def names(self) -> list[str]:
        """What the directory lists, sorted."""
        return sorted(path.name for path in self.directory.iterdir())

    def empty(self) -> None:
        """As if it had just been started."""
        for path in self.files:
            with client.open(path, "r+") as file:
                file.reset()
                file.trim()


@contextlib.contextmanager
def served(directory: Path, *arguments: str, **options: Any) -> Iterator[FilesServer]:
    """A server until the context ends, which must have had nothing to complain of."""
    directory.mkdir(exist_ok=True)
    server = FilesServer(directory, *arguments, **options)
    try:
        yield server
    finally:
        status = server.stop()
    assert status == 0, server.errors.decode()
    server.check_log()
    assert not directory.is_mount()


class NodeAndFile:
    """A device's node (of a fake kernel, in the process that serves) and its file."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, str(COHERENCE_SERVER), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.path = directory / self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def _do(self, *words: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def write(self, offset: int, data: bytes) -> None:
        """Writes through the node."""
        self._do("write", offset, data.hex())

    def read(self, offset: int, size: int) -> bytes:
        """Reads through the node."""
        return bytes.fromhex(self._do("read", offset, size))

    def trim(self) -> None:
        self._do("trim")

    def punch(self, offset: int, length: int) -> None:
        self._do("punch", offset, length)

    def hammer(self, seconds: float) -> None:
        """Writes and trims through the node on two threads for so long."""
        self._do("hammer", seconds)

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(SERVER_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
        assert status == 0


def blocks(path: Path) -> int:
    """Bytes of memory that a file has."""
    return path.stat().st_blocks * 512


def memory_of(path: Path, *spans: tuple[int, int]) -> int:
    """Bytes of memory that data in these spans (first byte, end) takes: whole quanta, or of a file
    pages."""
    with client.open(path) as device:
        info = device.info()
    unit = info.region_bytes if info.backing == "anon" else info.page_size
    units = {at for first, end in spans for at in range(first // unit, (end - 1) // unit + 1)}
    return unit * len(units)


def large_pages(path: Path, most: int) -> int:
    """How many bytes next to a change of `most` may have become zeros that are data: of a memfd,
    whose pages may be larger than its quanta."""
    with client.open(path) as device:
        return most if device.info().backing == "memfd" else 0


def unmount(path: Path) -> None:
    """Lazily, as root or not; what a test leaves behind otherwise."""
    subprocess.run(["fusermount3", "-u", "-z", "-q", str(path)], check=False)


def is_root() -> bool:
    return os.geteuid() == 0
