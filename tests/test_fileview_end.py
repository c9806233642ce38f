"""A file view's server ends at once whatever its clients are at, time after time.

CUSE_SCULLV_ENDS says how often; 1000 takes a quarter of an hour."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nodes import SERVER_S
from views import FilesServer, unmount

ENDS = int(os.environ.get("CUSE_SCULLV_ENDS", "10"))
END_S = 5.0  # it promises two; a busy machine takes longer

# Each does one thing to the file for ever; the errors of a server that goes are no concern.
CLIENT = """
import mmap, os, sys
kind, path = sys.argv[1:]
data = os.urandom(1 << 20)
while True:
    try:
        flags = os.O_RDWR | (os.O_APPEND if kind == "append" else 0)
        fd = os.open(path, flags)
        for turn in range(100):
            if kind == "write":
                os.pwrite(fd, data, turn << 16)
            elif kind == "read":
                os.pread(fd, 1 << 20, 0)
            elif kind == "append":
                os.write(fd, data[:4096])
            elif kind == "cut":
                os.ftruncate(fd, 3 << 20 if turn % 2 else 0)
            elif kind == "unlink":
                os.unlink(path)
            elif kind == "map" and os.fstat(fd).st_size > 8192:
                with mmap.mmap(fd, 8192) as view:
                    view[0:5000] = data[:5000]
        os.close(fd)
    except (OSError, ValueError):
        pass
"""
KINDS = ["write", "write", "read", "read", "append", "cut", "unlink", "map"]


@pytest.mark.mount
@pytest.mark.timeout(60 + 5 * ENDS)
@pytest.mark.parametrize("options", [(), ("--recover", "--view", "direct"), ("--recover",)])
def test_a_server_ends_under_any_load(tmp_path: Path, options: tuple[str, ...]) -> None:
    longest = 0.0
    for _ in range(ENDS):
        directory = tmp_path / "files"
        directory.mkdir(exist_ok=True)
        server = FilesServer(directory, "--max-bytes", "64M", *options)
        clients = [
            subprocess.Popen([sys.executable, "-c", CLIENT, kind, server.files[0]])
            for kind in KINDS
        ]
        try:
            time.sleep(0.3)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait(SERVER_S)
            longest = max(longest, time.monotonic() - began)
        finally:
            for client in clients:
                client.kill()
            for client in clients:
                client.wait(SERVER_S)
            unmount(directory)
        assert status == 0
    print(f"{ENDS} ends, the longest took {longest:.2f} s")
    assert longest < END_S
