"""What `cuse-scullv serve` can be told, in one table: the command, its help and completion are
made from it, and the manual is checked against it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cuse_scullv import cuse
from cuse_scullv.backing import AUTO, VIEWS
from cuse_scullv.cli._filters import FILTER
from cuse_scullv.cli._logging import FORMATS
from cuse_scullv.cli._types import DeviceName, Group, Mode, Owner, Placement, Size
from cuse_scullv.cuse.filterspec import FilterSpec
from cuse_scullv.drivers import DRIVERS
from cuse_scullv.params import ORDER_MAX, PRESETS, QSET_MAX, QUANTUM_MAX
from cuse_scullv.processes import privileges
from cuse_scullv.server.metrics_server import WHERE

LOG_LEVELS = ("debug", "info", "warning", "error")
MINOR_MAX = (1 << 20) - 1
MAJOR_MAX = (1 << 12) - 1
THREADS_MAX = 63
SPIN_US_MAX = 1_000_000


@dataclass(frozen=True)
class Asked:
    """What was typed: a field for each of OPTIONS, and the command of --run."""

    name: str
    devices: int
    major: int | None
    minor: int | None
    preset: str
    order: int | None
    quantum: int | None
    qset: int | None
    ldd3: bool
    max_bytes: int | None
    backing: str | None
    map: str | None
    view: str
    recover: bool
    user: str | None
    no_drop: bool
    owner: int | None
    group: int | None
    mode: int
    threads: int
    placement: str
    spin_us: int | None
    files: Path | None
    no_node: bool
    mem_node: bool
    filter: tuple[FilterSpec, ...]
    metrics: str | None
    log_level: str
    log_format: str
    log_requests: Path | None
    run: bool
    daemon: bool
    pidfile: Path | None
    cmd: tuple[str, ...]

    @property
    def group_of_nodes(self) -> int | None:
        return self.group if self.group is not None else privileges.clients_group()


def option(*names: str, **rest: Any) -> click.Option:
    """An option that shows its default, if it has one to show."""
    rest.setdefault("show_default", rest.get("default") is not None)
    return click.Option(names, **rest)


OPTIONS: tuple[click.Option, ...] = (
    option("--name", type=DeviceName(), default="scullv", help="Name of the node below /dev."),
    option(
        "--devices",
        metavar="N",
        type=click.IntRange(1, 256),
        default=1,
        help="Number of devices: more than one are /dev/NAME0, /dev/NAME1 and so on, and /dev/NAME "
        "is a symbolic link to the first.",
    ),
    option(
        "--major",
        metavar="M",
        type=click.IntRange(1, MAJOR_MAX),
        help="Major number of the nodes; the kernel's choice unless given.",
    ),
    option(
        "--minor",
        metavar="M",
        type=click.IntRange(0, MINOR_MAX),
        help="Minor number of the first node, 0 unless given; the others count on from it. Needs "
        "--major.",
    ),
    option(
        "--preset",
        type=click.Choice(sorted([*PRESETS, *DRIVERS])),
        default="scullv",
        help="Which of the book's devices to start as: "
        + ", ".join(f"{p.name} ({p.start})" for p in PRESETS.values() if not p.guarded)
        + "; or as scull, who may open it: scullsingle (one file at a time), sculluid (one user's "
        "files), scullwuid (the same, others wait), scullpriv (each terminal has its own memory). "
        "scullpipe is the book's FIFO, aesdchar a course's device: these two are no memory, and "
        "take no options of memory, of the file view, nor --log-requests.",
    ),
    option(
        "--order",
        metavar="N",
        type=click.IntRange(0, ORDER_MAX),
        help="Pages of a quantum at the start, as a power of two.",
    ),
    option(
        "--quantum",
        type=Size(least=1),
        help=f"The same in bytes, which need not be whole pages; at most {QUANTUM_MAX >> 20}M.",
    ),
    option(
        "--qset",
        metavar="N",
        type=click.IntRange(1, QSET_MAX),
        help="Quanta of a quantum set at the start.",
    ),
    option(
        "--ldd3",
        is_flag=True,
        help="Keep to the book's rules, byte for byte: a transfer ends with its quantum, a hole "
        "ends a read, the limit is ENOMEM, only the preset's own ioctls answer.",
    ),
    option(
        "--max-bytes",
        type=Size(least=1),
        help="Memory that all devices together may hold: a write is short there, then fails with "
        "ENOSPC. Unless given, half of what the machine or the memory cgroup can still give; of a "
        "file, what its disk has.",
    ),
    option(
        "--backing",
        metavar="anon|memfd|FILE",
        help="Where the bytes are: in memory of the server's own (anon, the default), in an "
        "anonymous file, or in FILE, which is made if missing and kept. Several devices: FILE%d.",
    ),
    option(
        "--map",
        metavar="FILE[:OFFSET[:SIZE]]",
        help="Serve bytes that are there already, as the book's ioremap: the device does not grow, "
        "and a trim leaves its bytes.",
    ),
    option(
        "--view",
        type=click.Choice(VIEWS),
        default=AUTO,
        help="Who reads and writes the files of --files: passthrough (the kernel by itself, with "
        "--backing memfd or FILE), direct (the server), auto (the kernel where it can).",
    ),
    option(
        "--recover",
        is_flag=True,
        help="When the process that serves dies, another takes its place, and no client notices; "
        "with --backing memfd (implied) or FILE.",
    ),
    option(
        "--user",
        metavar="USER",
        help="Whom the process that serves becomes, if root starts it: scullv if there is such a "
        "user, else nobody.",
    ),
    option("--no-drop", is_flag=True, help="Let the process that serves keep its privileges."),
    option("--owner", type=Owner(), help="Owner of the nodes and files, by name or number."),
    option(
        "--group",
        type=Group(),
        help="Group of the nodes and files, by name or number: scullv if root serves and there is "
        "such a group, unless given.",
    ),
    option(
        "--mode", type=Mode(), default="0660", help="Permissions of the nodes and files, octal."
    ),
    option(
        "--threads",
        metavar="N",
        type=click.IntRange(1, THREADS_MAX),
        default=cuse.Workers().threads,
        show_default="one for each CPU, from 2 to 16",
        help="Threads of each device that read and write.",
    ),
    option(
        "--placement",
        type=Placement(),
        metavar="follow|none|CPULIST",
        default="follow",
        help="Where these threads run: follow (on the CPU of the client, where that is best), none "
        "(the kernel's choice), or on the CPUs of a list such as 0,2-3.",
    ),
    option(
        "--spin-us",
        metavar="N",
        type=click.IntRange(0, SPIN_US_MAX),
        help="Microseconds to look for the next request before sleeping; unless given, up to 200 "
        "where that is found to be faster, and only with --placement follow.",
    ),
    option(
        "--files",
        type=Path,  # click's own looks at it: where a keeper takes over, nobody is there to answer
        metavar="DIR",
        help="Mount the file view on the empty directory DIR: a regular file for each device, with "
        "the same bytes, that can be sought, mapped and truncated, and scullvmem, a text as that "
        "of the book's /proc/scullvmem.",
    ),
    option(
        "--no-node",
        is_flag=True,
        help="Serve the file view alone; needs --files, but no CUSE and, with fusermount3, no "
        "root.",
    ),
    option("--mem-node", is_flag=True, help="Make /dev/NAMEmem too, to read that text from."),
    option("--filter", **FILTER),
    option(
        "--metrics",
        metavar=WHERE,
        help="Where Prometheus finds counts and times of all requests, and the memory held: a "
        "socket, or FILE, a path with a slash, for node_exporter; needs prometheus-client.",
    ),
    option(
        "--log-level",
        type=click.Choice(LOG_LEVELS),
        default="warning",
        help="How much to say on stderr.",
    ),
    option(
        "--log-format",
        type=click.Choice(FORMATS),
        default="text",
        help="How to say it: json is an object a line.",
    ),
    option(
        "--log-requests",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Append a line of JSON to FILE for each open, release and ioctl; reads and writes are "
        "only counted (--metrics).",
    ),
    option(
        "--run",
        is_flag=True,
        help="Start CMD, which is the rest of the command line, when the devices are there; stop "
        "when it ends, and exit with its status.",
    ),
    option("--daemon", is_flag=True, help="Return when the devices can be opened; serve on."),
    option(
        "--pidfile",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that names the process, and is locked by it, while it serves; needs --daemon.",
    ),
)
