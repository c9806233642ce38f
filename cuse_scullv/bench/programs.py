"""Programs that are built on the spot: our clients, and libfuse's own examples as peers."""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
from pathlib import Path

from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.process import finish

HERE = Path(__file__).parent
# Where Debian's libfuse3-dev has the examples of libfuse's source.
EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
FLAGS = ("-O2", "-std=gnu11", "-w", "-pthread")
# Clients start by the thousand. In an emulated guest the same code at a new address is translated
# anew each time, and QEMU then takes minutes to let go of the page it is in. Not every system has
# a static C library.
FIXED = ("-static", "-no-pie")


class Programs:
    """Builds C programs into a folder, each once."""

    def __init__(self, folder: Path, examples: Path = EXAMPLES) -> None:
        self._folder = folder
        self._examples = examples
        self._built: dict[str, Path] = {}

    def own(self, name: str) -> Path:
        """client.c or hog.c, which lie here, as a program."""
        try:
            return self._build(name, HERE / f"{name}.c", list(FIXED))
        except BenchError:
            return self._build(name, HERE / f"{name}.c", [])

    def example(self, name: str) -> Path:
        """An example of libfuse as a program, built as its first comment says."""
        if name not in self._built:
            self._unpack_examples()
        source = self._folder / "examples" / f"{name}.c"
        if not source.is_file() and name not in self._built:
            raise BenchError(
                f"{self._examples} has no {name}.c of libfuse: type 'apt-get install --reinstall "
                "libfuse3-dev', with /usr/share/doc not excluded in /etc/dpkg"
            )
        return self._build(name, source, libfuse_flags())

    def _unpack_examples(self) -> None:
        """Copies sources and headers, which Debian may have compressed."""
        target = self._folder / "examples"
        target.mkdir(exist_ok=True)
        for path in self._examples.glob("*.[ch]*"):
            if path.suffix == ".gz":
                (target / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
            else:
                shutil.copy(path, target)

    def _build(self, name: str, source: Path, flags: list[str]) -> Path:
        if name not in self._built:
            program = self._folder / name
            words = [*compiler(), *FLAGS, str(source), "-o", str(program), *flags]
            # What an interrupted compiler leaves behind goes with the folder.
            run(["env", f"TMPDIR={self._folder}", *words], str(source))
            self._built[name] = program
        return self._built[name]


def compiler() -> list[str]:
    """The C compiler: $CC, or cc."""
    words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(words[0]) is None:
        raise BenchError(
            f"no C compiler '{words[0]}' here to build the clients with: "
            "type 'apt-get install gcc libc6-dev', or set CC"
        )
    return words


def libfuse_flags() -> list[str]:
    """What it takes to compile against libfuse."""
    if shutil.which("pkg-config") is None:
        raise BenchError("no pkg-config here: type 'apt-get install pkg-config libfuse3-dev'")
    flags = run(["pkg-config", "--cflags", "--libs", "fuse3"], "libfuse3 (install libfuse3-dev)")
    return shlex.split(flags)


def libfuse_version() -> str:
    """libfuse's version, as pkg-config knows it; empty without it."""
    if shutil.which("pkg-config") is None:
        return ""
    command = ["pkg-config", "--modversion", "fuse3"]
    return finish(command).stdout.strip()


def run(command: list[str], what: str) -> str:
    """What `command`, which builds `what`, prints. Raises BenchError with its complaint."""
    done = finish(command)
    if done.returncode != 0:
        complaint = [line for line in done.stderr.splitlines() if line.strip()]
        first = next((line for line in complaint if "error" in line), " ".join(complaint[:1]))
        raise BenchError(f"cannot build {what}: {first}")
    return done.stdout
