"""What is kept between guests: Debian's kernels, and the sources of this folder, compiled."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from report import GuestError

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = Path(__file__).resolve().parent


def need(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin:/sbin")
    if found is None:
        raise GuestError(f"'{program}' is not installed; type: tools/setup")
    return found


def cache_folder() -> Path:
    """Where tools/setup unpacked Debian's kernel; tools/common.sh computes the same."""
    home = os.environ.get("HOME")
    if not home or not os.access(home, os.W_OK):
        home = pwd.getpwuid(os.getuid()).pw_dir
        if not os.access(home, os.W_OK):
            home = os.environ.get("TMPDIR", "/tmp")
    caches = os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    return Path(os.environ.get("CUSE_SCULLV_CACHE") or f"{caches}/cuse-scullv")


def kernel(series: str) -> tuple[Path, Path]:
    """Image and modules of Debian's newest kernel of a series, which tools/setup fetches."""
    folder = cache_folder() / f"kernel-{series}"
    if not folder.exists():
        setup = [str(ROOT / "tools" / "setup"), "--kernel", series]
        subprocess.run(setup, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    trees = sorted(folder.glob("lib/modules/*"))
    # Since 7.2 Debian has the image beside its modules.
    images = sorted([*folder.glob("boot/vmlinuz-*"), *folder.glob("lib/modules/*/vmlinuz")])
    if not images or not trees:
        raise GuestError(f"no kernel in {folder}; type: tools/setup --kernel {series}")
    return images[-1], trees[-1]


def compiled(name: str, flags: list[str], work: Path) -> Path:
    """A C program of this folder, a file or a folder of them, compiled: kept in the cache, by what
    its sources say."""
    part = PARTS / name
    sources = sorted(part.iterdir()) if part.is_dir() else [part]
    text = b"".join(source.read_bytes() for source in sources)
    kept = cache_folder() / f"guest-{part.stem}-{hashlib.sha256(text).hexdigest()[:16]}"
    if kept.exists():
        return kept
    made = work / kept.name
    files = [str(source) for source in sources if source.suffix == ".c"]
    command = [need("gcc"), *flags, "-O2", "-Wall", "-Wextra", "-o", str(made), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuestError(f"{name} does not compile: {done.stderr.strip()[-2000:]}")
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copy(made, fresh)
        fresh.replace(kept)
        return kept
    return made
