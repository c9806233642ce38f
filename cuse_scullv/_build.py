"""Builds the extension `cuse_scullv._native`: all of csrc/, through cffi in API mode.

Run by setuptools (setup.py names `builder`), never imported at run time. What Python sees of the
C side is the text of csrc/scullv.h between the marks `cdef: begin` and `cdef: end`, so that the
header is the only place where the interface is written down.

Environment:
    CUSE_SCULLV_WERROR    1 turns warnings into errors, 0 does not; unset: only in a git checkout
    CUSE_SCULLV_SANITIZE  1 builds with AddressSanitizer and UndefinedBehaviorSanitizer
    CUSE_SCULLV_KILL_POINTS  1 builds in the places at which a test lets a worker die
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
CSRC = "csrc"
FUSE_FLOOR = "3.14"
CDEF_BEGIN = "/* cdef: begin */"
CDEF_END = "/* cdef: end */"

INSTALL_HINT = """\
Debian, Ubuntu:  sudo apt install gcc libc6-dev pkg-config libfuse3-dev python3-dev
Fedora:          sudo dnf install gcc glibc-devel pkgconf-pkg-config fuse3-devel python3-devel
Arch:            sudo pacman -S --needed gcc pkgconf fuse3"""


def stop(problem: str) -> SystemExit:
    """The exception that ends the build: what is wrong, and the command that puts it right."""
    return SystemExit(f"cuse-scullv: {problem}. To install what the build needs:\n{INSTALL_HINT}")


def require_compiler() -> None:
    """Stops the build when the C compiler or the headers of Python are missing."""
    command = compiler()[0]
    if shutil.which(command) is None:
        raise stop(f"no C compiler: '{command}' is not on PATH")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise stop(f"no headers of Python: {header} is missing")


def pkg_config(*arguments: str) -> list[str]:
    """The words that `pkg-config ARGUMENTS fuse3` prints; stops the build where it cannot."""
    program = shlex.split(os.environ.get("PKG_CONFIG") or "pkg-config")
    if shutil.which(program[0]) is None:
        raise stop(f"no pkg-config: '{program[0]}' is not on PATH")
    found = subprocess.run(
        [*program, *arguments, "fuse3"], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        raise stop(f"no libfuse3 >= {FUSE_FLOOR}: pkg-config does not know 'fuse3'")
    return shlex.split(found.stdout)


def require_libfuse() -> None:
    """Stops the build when libfuse3 is missing or older than FUSE_FLOOR."""
    version = pkg_config("--modversion")[0]
    if [int(part) for part in version.split(".")[:2]] < [int(p) for p in FUSE_FLOOR.split(".")]:
        raise stop(f"libfuse3 {version} is too old: {FUSE_FLOOR} or later is needed")


def cdef_text(header: Path) -> str:
    """What stands between the two marks in `header`, in cffi's words."""
    _, begin, rest = header.read_text(encoding="utf-8").partition(CDEF_BEGIN)
    text, end, _ = rest.partition(CDEF_END)
    if not begin or not end:
        raise SystemExit(f"cuse-scullv: {header} lacks the marks '{CDEF_BEGIN}' and '{CDEF_END}'")
    return text.replace("SCULLV_PYTHON ", 'extern "Python+C" ')


def compiler() -> list[str]:
    """The words that compile C."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def is_known(flag: str) -> bool:
    """Whether the compiler takes `flag`, here, without a warning."""
    command = [*compiler(), "-Werror", flag, "-x", "c", "-fsyntax-only", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def hardening_flags() -> list[str]:
    """What makes a fault of ours harder to use. The sanitizers check the same, and better."""
    if sanitize_flags():
        return []
    # Where 3 is not known the C library takes it for 2.
    flags = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"]
    wanted = ("-fstack-protector-strong", "-fcf-protection")
    return flags + [flag for flag in wanted if is_known(flag)]


def compile_flags() -> list[str]:
    """-Werror is for those who can mend a warning: a newer compiler must not stop a user."""
    flags = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-DFUSE_USE_VERSION=314", "-pthread"]
    werror = os.environ.get("CUSE_SCULLV_WERROR") or str(int((ROOT / ".git").exists()))
    if werror == "1":
        flags += ["-Wall", "-Wextra", "-Werror"]
        # cffi's own code needs these two; tests/c/Makefile compiles csrc without them.
        flags += ["-Wno-unused-parameter", "-Wno-missing-field-initializers"]
    if os.environ.get("CUSE_SCULLV_KILL_POINTS") == "1":
        flags.append("-DKILL_POINTS")
    return flags + hardening_flags() + sanitize_flags()


def sanitize_flags() -> list[str]:
    """For the compiler and for the linker."""
    if os.environ.get("CUSE_SCULLV_SANITIZE") != "1":
        return []
    return ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def builder() -> FFI:
    """The FFI that setuptools compiles. Paths are relative to the project, as setuptools wants."""
    require_compiler()
    require_libfuse()
    csrc = ROOT / CSRC
    libs = pkg_config("--libs-only-l")
    search = pkg_config("--libs-only-L")
    ffi = FFI()
    ffi.cdef(cdef_text(csrc / "scullv.h"))
    ffi.set_source(
        "cuse_scullv._native",
        '#include "scullv.h"\n',
        sources=sorted(str(path.relative_to(ROOT)) for path in csrc.glob("*/*.c")),
        depends=sorted(str(path.relative_to(ROOT)) for path in csrc.rglob("*.h")),
        include_dirs=[CSRC],
        libraries=[flag[2:] for flag in libs if flag.startswith("-l")],
        library_dirs=[flag[2:] for flag in search],
        extra_compile_args=[*compile_flags(), *pkg_config("--cflags")],
        extra_link_args=["-pthread", "-Wl,-z,relro,-z,now", *sanitize_flags()],
    )
    return ffi
