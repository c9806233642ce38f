"""Options of a command out of a TOML file: by their long names without the dashes, as they would
be typed; true for an option that takes no value. What is typed counts more than what is in the
file."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import click

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIX = ".toml"
FOLDER = Path("/etc/cuse-scullv")
TYPED_ONLY = ("config", "run")
"""What has no place in a file."""


class ConfigError(Exception):
    """A file of options that cannot be taken: one line, which names it."""


def config_option() -> click.Option:
    """--config FILE, for a command with other options."""
    return click.Option(
        ("--config",),
        metavar="FILE",
        is_eager=True,  # before the options whose defaults it sets
        expose_value=False,
        callback=_heed,
        help="Take options from a TOML file, by their long names; a NAME alone is "
        f"{FOLDER}/NAME{SUFFIX}.",
    )


def path_of(name: str) -> Path:
    """The file of an instance's name, or what is a path already."""
    is_path = "/" in name or name.endswith(SUFFIX)
    return Path(name) if is_path else FOLDER / f"{name}{SUFFIX}"


def _heed(context: click.Context, option: click.Parameter, name: str | None) -> None:
    if name is None:
        return
    try:
        context.default_map = read(path_of(name), context.command)
    except ConfigError as error:
        raise click.UsageError(str(error), context) from None


def read(path: Path, command: click.Command) -> dict[str, Any]:
    """The options in the file, as click's default_map. Raises ConfigError."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: type a file's path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}: type NAME = VALUE") from None
    except RecursionError:
        raise ConfigError(f"{path}: it is nested too deeply: type NAME = VALUE") from None
    words = {}
    for key, value in content.items():
        option = _option(path, command, key)
        words[option.name or key] = _value(path, key, option, value)
    return words


def _value(path: Path, key: str, option: click.Option, value: Any) -> Any:
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise ConfigError(f"{path}: {key}: type a string, or a list of them")
        return values
    if isinstance(value, bool) != option.is_flag or not isinstance(value, int | str):
        wanted = "true or false" if option.is_flag else "a number or a string"
        raise ConfigError(f"{path}: {key}: type {wanted}")
    return value if option.is_flag else str(value)


def _option(path: Path, command: click.Command, key: str) -> click.Option:
    known = {
        word.lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in TYPED_ONLY
        for word in option.opts
    }
    if key in known:
        return known[key]
    nearest = difflib.get_close_matches(key, known, n=1)
    hint = f"type {nearest[0]!r}" if nearest else "'cuse-scullv serve --help' lists them"
    raise ConfigError(f"{path}: no option {key!r}: {hint}")
