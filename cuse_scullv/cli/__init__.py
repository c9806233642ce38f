"""The command line `cuse-scullv`: one file a subcommand, imported when it is called for.

Bad input ends in one line on stderr that says what is wrong and what to type, and exit status 2:
what click finds wrong with the arguments, and what the kernel or a device says (OSError), alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
import sysconfig
from pathlib import Path

import click

from cuse_scullv import __version__

PROGRAM = "cuse-scullv"
USAGE_ERROR = 2
HEADER = "scullv_ioctl.h"
COMMANDS = (
    "serve",
    "check-config",
    "stop",
    "jobserver",
    "build",
    "get",
    "set",
    "reset",
    "trim",
    "punch",
    "filter",
    "info",
    "top",
    "map",
    "seek-copy",
    "save",
    "load",
    "proxy",
    "replay",
    "install-files",
    "cdi",
    "doctor",
    "bench",
)


def module_of(command: str) -> str:
    """The module of a subcommand: cuse_scullv.cli.seek_copy for seek-copy."""
    return f"{__name__}.{command.replace('-', '_')}"


class LazyGroup(click.Group):
    """A group whose commands are found by name: the `command` of the module of that name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if importlib.util.find_spec(module_of(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(module_of(cmd_name)).command
        assert isinstance(command, click.Command)
        return command


def include_dir() -> Path:
    """Where scullv_ioctl.h is: of an installation, or of the checkout this runs from."""
    # Debian's Python says /usr/local, where pip installs; Debian's packages are in its prefix.
    roots = (Path(sysconfig.get_path("data")), Path(sys.prefix))
    folders = [Path(__file__).resolve().parents[2] / "csrc"]
    folders += [root / "include" / "cuse-scullv" for root in roots]
    return next((folder for folder in folders if (folder / HEADER).exists()), folders[-1])


def print_include_dir(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(include_dir())
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option(
    "--include-dir",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_include_dir,
    help=f"Print where {HEADER} is, for C programs, and exit.",
)
def cli() -> None:
    """scullv, the memory character device of Linux Device Drivers, served from user space.

    cuse-scullv serve makes /dev/scullv; the other commands look at it and change it.
    """


def one_line(error: click.ClickException) -> str:
    """click's complaint as one line, with the command that says what is allowed."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    if isinstance(error, click.UsageError) and "type " not in message:
        message = f"{message.rstrip('.')}: type '{path} --help' for what there is"
    return f"{path}: {message}"


def describe(error: OSError) -> str:
    """An OSError as one line: the file it is about, if it names one, and what is wrong."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def unusable(error: ImportError) -> str:
    """The C part cannot be loaded, as one line."""
    reason = " ".join(str(error).split())
    return (
        f"libfuse3 is missing, or another one than this was built for ({reason}): install the"
        " package libfuse3 (Debian 12: libfuse3-3, Debian 13: libfuse3-4), or build it again:"
        " type 'pip install .' in a checkout"
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits. The entry point of the package."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # pictures, in a locale that has none
    try:
        status = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except click.ClickException as error:
        print(one_line(error), file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, click.UsageError) else USAGE_ERROR)
    except click.Abort:
        sys.exit(128 + 2)
    except BrokenPipeError:
        # Who read our output has gone; the interpreter must not complain of it when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)
    except ImportError as error:
        if "_native" not in f"{error.name} {error}" and "libfuse" not in str(error):
            raise
        print(f"{PROGRAM}: {unusable(error)}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except OSError as error:
        print(f"{PROGRAM}: {describe(error)}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    sys.exit(status if isinstance(status, int) else 0)
