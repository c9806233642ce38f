"""cuse-scullv serve: make the devices, and keep them until a signal or the end of --run CMD."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click
import sdnotify

from cuse_scullv import cuse
from cuse_scullv.cli._types import DeviceName, Group, Mode, Owner, Placement, Size
from cuse_scullv.daemon import ServeError, Server, Settings, summary
from cuse_scullv.params import ORDER_MAX, PRESETS, QSET_MAX, QUANTUM_MAX, Params
from cuse_scullv.supervise import Supervisor, cannot_run

LOG_LEVELS = ("debug", "info", "warning", "error")
MINOR_MAX = (1 << 20) - 1
MAJOR_MAX = (1 << 12) - 1
THREADS_MAX = 63
SPIN_US_MAX = 1_000_000
ENDED = 1


def build_params(
    preset: str, order: int | None, quantum: int | None, qset: int | None, ldd3: bool
) -> Params:
    """The parameters that the options ask for. Raises click.UsageError."""
    try:
        return Params.of(preset, order=order, quantum=quantum, qset=qset, ldd3=ldd3)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None


def start_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="cuse-scullv: %(levelname)s: %(message)s", stream=sys.stderr
    )


@click.command("serve", context_settings={"allow_interspersed_args": False})
@click.option("--name", type=DeviceName(), default="scullv", help="Name of the node below /dev.")
@click.option(
    "--devices",
    type=click.IntRange(1, 256),
    default=1,
    help="Number of devices: more than one are NAME0, NAME1 and so on, and NAME is a symbolic "
    "link to the first.",
)
@click.option(
    "--major",
    type=click.IntRange(1, MAJOR_MAX),
    help="Major number of the nodes; the kernel's choice unless given.",
)
@click.option(
    "--minor",
    type=click.IntRange(0, MINOR_MAX),
    help="Minor number of the first node; needs --major.",
)
@click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="scullv",
    help="Which of the book's modules to start as: scullv (order 4, qset 500), scullp (order 0, "
    "qset 500), scull (quantum 4000, qset 1000).",
)
@click.option(
    "--order",
    type=click.IntRange(0, ORDER_MAX),
    help="Pages of a quantum, as a power of two.",
)
@click.option(
    "--quantum", type=Size(least=1), help=f"Bytes of a quantum, at most {QUANTUM_MAX >> 20}M."
)
@click.option("--qset", type=click.IntRange(1, QSET_MAX), help="Quanta of a quantum set.")
@click.option("--ldd3", is_flag=True, help="Keep to the book's rules, byte for byte.")
@click.option(
    "--max-bytes",
    type=Size(least=1),
    help="Memory that all devices together may hold; half of what is available unless given.",
)
@click.option("--owner", type=Owner(), help="Owner of the nodes.")
@click.option("--group", type=Group(), help="Group of the nodes.")
@click.option("--mode", type=Mode(), default="0660", help="Permissions of the nodes, octal.")
@click.option(
    "--threads",
    type=click.IntRange(1, THREADS_MAX),
    default=cuse.Workers().threads,
    help="Threads of each device that read and write.",
)
@click.option(
    "--placement",
    type=Placement(),
    default="follow",
    help="Where these threads run: follow (on the CPU of the client, where that is best), none "
    "(the kernel's choice), or a list of CPUs.",
)
@click.option(
    "--spin-us",
    type=click.IntRange(0, SPIN_US_MAX),
    help="Microseconds to look for the next request before sleeping; unless given, up to 200 where "
    "that is found to be faster.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path),
    help="Directory to mount the file view on: a file per device that can be sought, mapped and "
    "truncated.",
)
@click.option("--no-node", is_flag=True, help="Serve the file view alone; needs --files.")
@click.option("--mem-node", is_flag=True, help="Make /dev/NAMEmem too, the text of scullvmem.")
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="warning",
    help="How much to say on stderr.",
)
@click.option(
    "--run",
    is_flag=True,
    help="Start CMD when the devices are there, stop when it ends, and exit with its status.",
)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    context: click.Context,
    name: str,
    devices: int,
    major: int | None,
    minor: int | None,
    preset: str,
    order: int | None,
    quantum: int | None,
    qset: int | None,
    ldd3: bool,
    max_bytes: int | None,
    owner: int | None,
    group: int | None,
    mode: int,
    threads: int,
    placement: str,
    spin_us: int | None,
    files: Path | None,
    no_node: bool,
    mem_node: bool,
    log_level: str,
    run: bool,
    cmd: tuple[str, ...],
) -> int:
    """Make scullv devices, and serve them until SIGTERM or SIGINT.

    CMD is only taken after --run.
    """
    if run and not cmd:
        raise click.UsageError("--run needs a command: type it after --run", context)
    if cmd and not run:
        raise click.UsageError(f"unexpected '{cmd[0]}': type --run before a command", context)
    if minor is not None and major is None:
        raise click.UsageError("--minor needs a major number: type --major M as well", context)
    params = build_params(preset, order, quantum, qset, ldd3)
    start_logging(log_level)
    try:
        settings = Settings(
            name=name,
            devices=devices,
            major=major or 0,
            minor=minor or 0,
            params=params,
            max_bytes=max_bytes,
            owner=owner,
            group=group,
            mode=mode,
            workers=cuse.Workers(threads=threads, placement=placement, spin_us=spin_us),
            node=not no_node,
            mem_node=mem_node,
            files=files,
        )
        return serve(settings, cmd)
    except ServeError as error:
        raise click.ClickException(str(error)) from None


def serve(settings: Settings, cmd: tuple[str, ...]) -> int:
    """Serves until a signal, or while `cmd` runs; the exit status."""
    with Supervisor() as supervisor, Server(settings, on_end=supervisor.wake) as server:
        print(f"cuse-scullv: {summary(server)}", file=sys.stderr, flush=True)
        notifier = sdnotify.SystemdNotifier()
        notifier.notify("READY=1")
        status = 0
        if cmd:
            status = run(supervisor, server, cmd)
        else:
            supervisor.wait(lambda: server.ended)
        notifier.notify("STOPPING=1")
        if server.ended:
            print("cuse-scullv: a device was ended by the kernel", file=sys.stderr)
            return ENDED
    return status


def run(supervisor: Supervisor, server: Server, cmd: tuple[str, ...]) -> int:
    """Runs `cmd` with the paths of the devices in its environment; its exit status."""
    environment = dict(os.environ)
    environment["SCULLV_DEVICE"] = str(server.paths[0])
    if server.settings.files is not None:
        environment["SCULLV_FILES"] = str(server.settings.files)
    try:
        return supervisor.run(cmd, environment, lambda: server.ended)
    except OSError as error:
        status, message = cannot_run(cmd[0], error)
        print(f"cuse-scullv: {message}", file=sys.stderr)
        return status
