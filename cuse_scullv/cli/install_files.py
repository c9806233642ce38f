"""cuse-scullv install-files: what the rest of the system is to know of the server."""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib import resources
from pathlib import Path

import click

from cuse_scullv.cli._config import FOLDER

FILES = {
    "cuse-scullv@.service": "lib/systemd/system/cuse-scullv@.service",
    "cuse-scullv.rules": "lib/udev/rules.d/70-cuse-scullv.rules",
    "sysusers.conf": "lib/sysusers.d/cuse-scullv.conf",
    "modules-load.conf": "lib/modules-load.d/cuse-scullv.conf",
}
"""Of cuse_scullv/packaging, and where they belong below a prefix (systemd.unit(5), udev(7),
sysusers.d(5), modules-load.d(5))."""
CONFIG = "scullv.toml"
"""The file of the first instance. It is its administrator's from then on."""
PROGRAM = "@PROGRAM@"
PROGRAM_NAME = "cuse-scullv"
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What the service does not see (systemd.exec(5): ProtectHome=, PrivateTmp=)."""


def own_program() -> Path:
    """The cuse-scullv that runs; where `python -m cuse_scullv` does, that of its installation."""
    running = Path(sys.argv[0]).absolute()
    if running.name == PROGRAM_NAME:
        return running
    return Path(sysconfig.get_path("scripts"), PROGRAM_NAME)


def text_of(name: str) -> str:
    return (resources.files("cuse_scullv") / "packaging" / name).read_text(encoding="utf-8")


def check(destdir: Path, prefix: Path, program: Path) -> None:
    """Raises click.ClickException for what no service could be made of."""
    if not destdir.is_dir():
        raise click.ClickException(f"--destdir {destdir}: no such folder: type mkdir -p {destdir}")
    if not prefix.is_absolute():
        raise click.ClickException(f"--prefix {prefix}: type an absolute path, as /usr")
    if not program.is_absolute() or any(letter.isspace() for letter in str(program)):
        raise click.ClickException(f"--program {program}: type an absolute path without spaces")
    for folder in _HIDDEN:
        if program.is_relative_to(folder):
            raise click.ClickException(
                f"a service does not see {program}, as it is in {folder}: install cuse-scullv"
                " elsewhere, say in /opt, or type --program FILE"
            )


def lay_down(path: Path, content: str) -> None:
    """The whole file, or what was there before. Raises OSError."""
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(content, encoding="utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    click.echo(path)


@click.command("install-files")
@click.option(
    "--destdir",
    type=click.Path(path_type=Path),
    default=Path("/"),
    help="Below which folder; the root of this system unless given.",
)
@click.option(
    "--prefix",
    type=click.Path(path_type=Path),
    default=Path("/usr/local"),
    show_default=True,
    help="Where the files are that are not in /etc.",
)
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    help="What the unit starts; this cuse-scullv unless given.",
)
def command(destdir: Path, prefix: Path, program: Path | None) -> None:
    """Lay down the files of the service cuse-scullv@NAME, and name them.

    A file of an instance that is in /etc/cuse-scullv already stays as it is.
    """
    program = program or own_program()
    check(destdir, prefix, program)
    for name, place in FILES.items():
        content = text_of(name).replace(PROGRAM, str(program))
        lay_down(destdir / prefix.relative_to("/") / place, content)
    config = destdir / FOLDER.relative_to("/") / CONFIG
    if config.exists():
        print(f"cuse-scullv: {config} is there already, and stays", file=sys.stderr)
    else:
        lay_down(config, text_of(CONFIG))
