"""cuse-scullv bench: this server beside others that do the same."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console

from cuse_scullv.bench import plot, report
from cuse_scullv.bench.environment import environment, one_line
from cuse_scullv.bench.errors import BenchError
from cuse_scullv.bench.interrupt import ended_by_signals
from cuse_scullv.bench.lab import FULL, QUICK
from cuse_scullv.bench.programs import compiler
from cuse_scullv.bench.report import Outcome
from cuse_scullv.bench.session import run
from cuse_scullv.bench.suites import SUITES, echo
from cuse_scullv.bench.table import make_tables
from cuse_scullv.memory import available

ROUNDS, ROUNDS_QUICK = 3, 1
WIDTH_IN_FILES = 130  # where there is no terminal that says how wide it is
LEGEND = "2.00x: the first server is twice as good (faster, smaller); own: each client has a device"


@click.command("bench")
@click.argument("suites", nargs=-1, metavar="[SUITE]...", type=click.Choice(list(SUITES)))
@click.option(
    "--rounds",
    metavar="N",
    type=click.IntRange(1, 1000),
    help=f"How often everything is measured; {ROUNDS} unless given, {ROUNDS_QUICK} with --quick.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all samples, their medians and ratios, and where they were measured.",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw throughput over block size, as FILE.png or FILE.svg.",
)
@click.option("--quick", is_flag=True, help="Few cases, short samples: shows that all works.")
def command(
    suites: tuple[str, ...],
    rounds: int | None,
    json_path: Path | None,
    plot_path: Path | None,
    quick: bool,
) -> None:
    """Measure this server and its peers, side by side, and print medians and ratios.

    \b
    SUITE is one or more of these, or all that can run on this kernel:
      nodes      CUSE nodes: libfuse's example cuse.c is the peer
      module     the book's scullv.ko, which CUSE_SCULLV_MODULE names
      files      file view: libfuse's passthrough_ll.c, a tmpfs file, memcpy
      backing    devices that are files, against memory of the server's own
      passthrough  such files' view, read and written by the kernel, against a tmpfs file
      recover      such devices with --recover, against the same without
      geometry   a large device of small quanta against a small one
      placement  following the client or not, beside CPU hogs or not
      before     another version, whose cuse-scullv CUSE_SCULLV_BEFORE names
      costs      ioctls, trim, memory, idle CPU, start-up
      dd         the throughput that plain dd shows
      echo       an echo device in Python: pyfuse3 and mfusepy are the peers

    A ratio above 1 says that this server is better by that factor. Kernels without CUSE run
    everything but nodes and echo.
    """
    progress = Console(stderr=True)
    try:
        names = chosen(suites, progress)
        check_outputs(json_path, plot_path)
        compiler()
        rounds = rounds or (ROUNDS_QUICK if quick else ROUNDS)
        facts = environment()
        scale = (QUICK if quick else FULL).fit(available())
        with ended_by_signals():
            outcomes = run(names, scale, rounds, progress)
        show(outcomes, one_line(facts))
        if json_path is not None:
            settings = {"suites": names, "rounds": rounds, "quick": quick}
            report.write_text(json_path, report.as_json(facts, outcomes, settings))
        if plot_path is not None:
            plot.draw(outcomes, one_line(facts), plot_path)
    except BenchError as error:
        raise click.ClickException(str(error)) from None


def chosen(suites: tuple[str, ...], notes: Console) -> list[str]:
    """The suites to run, each once; asked for none, those that can run here. Raises BenchError
    for one that cannot. What is left out is said on `notes`."""
    names = list(dict.fromkeys(suites))
    for name in names:
        trouble = SUITES[name].trouble()
        if trouble:
            raise BenchError(f"{name}: {trouble}{name_in_guest(trouble, name)}")
    if not names:
        left_out = [name for name in SUITES if SUITES[name].trouble()]
        names = [name for name in SUITES if name not in left_out]
        if not names:
            raise BenchError(str(SUITES[left_out[0]].trouble()))
        for name in left_out:
            say(notes, f"left out: {name}: {SUITES[name].trouble()}")
    if "echo" in names and echo.missing_peers():
        missing = " ".join(echo.missing_peers())
        say(notes, f"left out of echo: {missing}: type 'pip install {missing}'")
    return names


def name_in_guest(trouble: str, name: str) -> str:
    """Completes a trouble that ends in the command for a guest."""
    return f" {name}" if trouble.endswith("cuse-scullv bench") else ""


def say(console: Console, text: str) -> None:
    console.print(f"cuse-scullv bench: {text}", markup=False, highlight=False, soft_wrap=True)


def check_outputs(json_path: Path | None, plot_path: Path | None) -> None:
    """Raises BenchError before anything is measured, rather than after, where a file that was
    asked for cannot be written."""
    if plot_path is not None:
        plot.check(plot_path)
    for option, path in (("--json", json_path), ("--plot", plot_path)):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise BenchError(f"{option} {path}: there is no folder {path.parent}: make it first")
        # A report is written beside the file and renamed, so the folder is what counts.
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise BenchError(f"{option} {path}: you may not write there: name another file")


def show(outcomes: list[Outcome], where: str) -> None:
    """The tables, and below them what the figures depend on."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_IN_FILES)
    for outcome in outcomes:
        title = f"{outcome.suite}: {outcome.title}"
        for table in make_tables(title, outcome.rows, outcome.servers, console.width):
            console.print(table)
    rounds = max(sample.round for outcome in outcomes for sample in outcome.samples) + 1
    plural = "" if rounds == 1 else "s"
    for line in (LEGEND, f"{where}; medians of {rounds} round{plural}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
