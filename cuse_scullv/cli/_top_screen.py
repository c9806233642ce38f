"""What `cuse-scullv top` shows of its samples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cuse_scullv.cli._top_sample import FILES, Change, Sample, changes
from cuse_scullv.counts import Counts

CLIENTS_MOST = 12
_BAR = 24  # columns


def screen(now: Sample, before: Sample | None) -> RenderableType:
    """All of it. Without a sample before there are no rates."""
    parts: list[RenderableType] = [_memory(now), "", _devices(now)]
    changed = changes(now, before)
    if changed:
        parts += ["", _operations(changed)]
    if now.openers:
        parts += ["", _clients(now)]
    return Group(*parts, "")


def _memory(now: Sample) -> RenderableType:
    first = now.devices[0]
    used, limit = first.info.used, first.info.limit
    deaths = max(first.counts.deaths, now.view.deaths)
    line = Table.grid(padding=(0, 1))
    words = f"{short_bytes(used)} of {short_bytes(limit) if limit else 'no limit'}"
    line.add_row(
        Text("memory", style="bold"),
        Text(bar(used / limit if limit else 0.0), style="cyan"),
        f"{words},",
        f"worker deaths: {deaths}",
    )
    return line


def bar(part: float) -> str:
    full = min(round(part * _BAR), _BAR)
    return "█" * full + "░" * (_BAR - full)


def _table(*headers: tuple[str, bool]) -> Table:
    """Headers, and whether their columns are of numbers."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for header, is_number in headers:
        table.add_column(header, justify="right" if is_number else "left", no_wrap=True)
    return table


def _devices(now: Sample) -> Table:
    table = _table(("device", False), ("size", True), ("memory", True), ("quanta", True),
                   ("open", True), ("waiting", True), ("threads", False))  # fmt: skip
    for device in now.devices:
        info, counts = device.info, device.counts
        table.add_row(
            device.name,
            short_bytes(info.size),
            short_bytes(info.resident_bytes),
            f"{info.regions:,}",
            str(info.opens),
            *_served(counts),
        )
    if now.view.placement:
        table.add_row(FILES, "", "", "", "", *_served(now.view))
    return table


def _served(counts: Counts) -> tuple[str, str]:
    return (str(counts.under_way), counts.placement) if counts.placement else ("", "")


def _operations(changed: Iterable[Change]) -> Table:
    table = _table(("answered", False), ("", False), ("/s", True), ("bytes/s", True),
                   ("errors/s", True), ("half <", True), ("99% <", True),
                   ("total", True))  # fmt: skip
    last = ""
    for change in changed:
        count = change.count
        is_quiet = not count.requests or not change.seconds
        table.add_row(
            change.name if change.name != last else "",
            change.operation,
            "-" if not change.seconds else f"{change.rate(count.requests):,.0f}",
            "-" if is_quiet else short_bytes(change.rate(count.bytes)),
            "-" if is_quiet else f"{change.rate(count.errors):,.0f}",
            "-" if is_quiet else human_seconds(count.quantile(0.5)),
            "-" if is_quiet else human_seconds(count.quantile(0.99)),
            f"{change.total:,}",
            style="dim" if is_quiet else "",
        )
        last = change.name
    return table


def _clients(now: Sample) -> Table:
    table = _table(("client", True), ("", False), ("device", False), ("open", True))
    for opener in now.openers[:CLIENTS_MOST]:
        table.add_row(str(opener.pid), opener.name, Path(opener.path).name, str(opener.files))
    if len(now.openers) > CLIENTS_MOST:
        table.add_row("", f"and {len(now.openers) - CLIENTS_MOST} more")
    return table


def short_bytes(count: float) -> str:
    """For a column: '512 B', '1.5 KiB', '12.0 GiB'."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min(max(int(count), 1).bit_length() - 1, 69) // 10
    return f"{count / (1 << 10 * power):.{0 if power == 0 else 1}f} {units[power]}"


def human_seconds(seconds: float) -> str:
    """For a person: '1.0 µs', '131 µs', '1.0 ms', '2.1 s'."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    raise AssertionError(seconds)
