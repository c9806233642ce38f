"""Storms: a kernel that lies, played to real servers, and how many messages they took.

    python tests/fuzz/storm.py [--messages N] [--seconds S] [--kinds node,file,…] [--seed X]

Each life of a server has a seed of its own. One that ends badly is named by the command that
repeats it. Environment that the sanitizers want is passed on to the servers.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER = HERE / "stormed.py"
KINDS = {
    "node": "node",
    "kept": "node",
    "file": "file",
    "foreign": "foreign",
    "loop": "foreign",
    "late": "node",
    "late-foreign": "foreign",
    "late-loop": "foreign",
}
"""Of servers; how the kernel speaks to each. "late": a filter delays some requests."""
LIFE = 50_000
"""Messages, of one server."""
BUFFER = 4 << 20
LIFE_S = 600.0


class LifeError(Exception):
    """A life ended badly."""


def build() -> Path:
    """The program, from source if that is newer."""
    subprocess.run(["make", "-s", "-C", str(HERE), "storm"], check=True)
    return HERE / "build/storm"


def live(program: Path, kind: str, seed: int, messages: int) -> int:
    """One life: how many messages the server had. Raises LifeError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(theirs.fileno()), kind], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        try:
            return _storm(program, server, ours, [KINDS[kind], str(seed), str(messages)])
        finally:
            server.kill()
            server.wait()


def _storm(
    program: Path, server: subprocess.Popen[bytes], ours: socket.socket, words: list[str]
) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    storm = subprocess.Popen(
        [str(program), str(ours.fileno()), *words],
        pass_fds=[ours.fileno()],
        stdout=subprocess.PIPE,
        env=environment,
    )
    ours.close()
    try:
        output, _ = storm.communicate(timeout=LIFE_S)
        status = server.wait(60)
    except subprocess.TimeoutExpired as error:
        raise LifeError(f"it does not end: {error}") from None
    finally:
        storm.kill()
        storm.wait()
    if storm.returncode != 0:
        raise LifeError(
            f"the kernel's side ended with {storm.returncode}, the server with {status}"
        )
    if status != 0:
        raise LifeError(f"the server ended with {status}")
    return int(output)


def command(kind: str, seed: int, messages: int) -> str:
    """What repeats a life."""
    words = ["python", str(Path(sys.argv[0])), "--kinds", kind, "--seed", str(seed)]
    return shlex.join([*words, "--messages", str(messages), "--life", str(messages)])


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--messages", type=int, default=0, help="all in all; 0: by --seconds")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--life", type=int, default=LIFE, help="messages of one server")
    asked = options.parse_args()
    program, kinds, seed = build(), asked.kinds.split(","), asked.seed
    began, counts = time.monotonic(), Counter[str]()
    print(f"storm: seeds from {seed}", flush=True)
    while (
        counts.total() < asked.messages
        if asked.messages
        else time.monotonic() - began < asked.seconds
    ):
        kind = kinds[(seed - asked.seed) % len(kinds)]
        try:
            counts[kind] += live(program, kind, seed, asked.life)
        except LifeError as error:
            print(f"storm: {kind}: {error}; again: {command(kind, seed, asked.life)}", flush=True)
            return 1
        seed += 1
    seconds = time.monotonic() - began
    each = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
    lives = seed - asked.seed
    print(f"storm: {counts.total():,} messages in {lives} lives, {seconds:.0f} s: {each}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
