"""What the command line takes as values: sizes, devices, modes, owners, CPUs."""

from __future__ import annotations

import grp
import math
import pwd
import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cuse_scullv import registry
from cuse_scullv.cuse.device import check_name
from cuse_scullv.cuse.filterspec import FilterSpec, parse_filter
from cuse_scullv.cuse.workers import parse_placement
from cuse_scullv.params import parse_size

if TYPE_CHECKING:
    FloatType = click.ParamType[float]
    IntType = click.ParamType[int]
    TextType = click.ParamType[str]
    FilterType = click.ParamType[FilterSpec]
else:  # click before 8.3 has no subscript here
    FloatType = IntType = TextType = FilterType = click.ParamType


def columns(rows: list[tuple[str, str]]) -> str:
    """Names and values for a person, one a line."""
    return "\n".join(f"{name + ':':<13}{value}" for name, value in rows)


class Size(IntType):
    """Bytes, with an optional unit: 512, 64K, 2GiB. Units are powers of 1024."""

    name = "size"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            size = parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size < self.least:
            self.fail(f"{value} is too small: type {self.least} or more", param, ctx)
        if size >= 1 << 63:
            self.fail(f"{value} is too large: type less than 2^63 bytes", param, ctx)
        return size


class Load(FloatType):
    """A load average, 0 for none."""

    name = "load"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            load = float(value)
        except ValueError:
            load = math.nan
        if not (math.isfinite(load) and load >= 0):
            self.fail(f"'{value}' is no load average: type a number as 8 or 1.5", param, ctx)
        return load


class Mode(IntType):
    """Permission bits in octal, as chmod takes them."""

    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if re.fullmatch(r"0?[0-7]{1,3}", value) is None:
            self.fail(f"'{value}' is no mode: type octal digits, as 0660 or 666", param, ctx)
        return int(value, 8)


class Owner(IntType):
    """A user by name or number."""

    name = "user"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return int(value) if value.isdigit() else self.look_up(value)
        except KeyError:
            self.fail(f"no {self.name} '{value}': type the name or number of one", param, ctx)

    def look_up(self, value: str) -> int:
        return pwd.getpwnam(value).pw_uid


class Group(Owner):
    """A group by name or number."""

    name = "group"

    def look_up(self, value: str) -> int:
        return grp.getgrnam(value).gr_gid


class Placement(TextType):
    """`follow`, `none`, or CPUs as taskset lists them: 0,2-3."""

    name = "placement"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_placement(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Filter(FilterType):
    """What befalls requests: error:errno=EIO,op=read,rate=1%."""

    name = "filter"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> FilterSpec:
        if isinstance(value, FilterSpec):
            return value
        try:
            return parse_filter(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DeviceName(TextType):
    """A name for a node below /dev."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_name(str(value), in_folder=False)
        except OSError as error:
            self.fail(str(error.strerror), param, ctx)


class Served(TextType):
    """The path of a device that is served, or of a file of a file view."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The nodes that are served now; where none is meant, files."""
        nodes = [path for path in registry.served() if path.is_relative_to(registry.DEV)]
        found = [CompletionItem(str(node)) for node in nodes if str(node).startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]
