"""The manual page and the command line say the same."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from cuse_scullv.cli import COMMANDS, cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cuse-scullv.1"
HELP = {"--help"}
# Has a page of its own in its --help; the manual sends the reader there.
ELSEWHERE = {"bench"}


def sections() -> dict[str, str]:
    """The text of each subcommand's .Ss section."""
    parts = re.split(r"^\.Ss (\S+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = (re.split(r"^\.Sh ", part, flags=re.MULTILINE)[0] for part in parts[2::2])
    return dict(zip(parts[1::2], texts, strict=True))


def documented(section: str) -> set[str]:
    """The options that a section has an entry for."""
    entries = re.findall(r"^\.It Fl (.*)$", section, flags=re.MULTILINE)
    return {f"-{entry.split()[0]}" for entry in entries}


def existing(name: str) -> set[str]:
    """The long options of a subcommand."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = [p for p in command.params if isinstance(p, click.Option)]
    return {name for option in options for name in option.opts if name.startswith("--")} - HELP


def commands() -> list[str]:
    return cli.list_commands(click.Context(cli))


def test_the_subcommands_are_those_of_the_page() -> None:
    assert list(sections()) == list(COMMANDS)


@pytest.mark.parametrize("name", [name for name in commands() if name not in ELSEWHERE])
def test_the_options_are_those_of_the_page(name: str) -> None:
    assert documented(sections()[name]) == existing(name)


@pytest.mark.parametrize("name", commands())
def test_every_option_has_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str()
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


def test_the_page_is_sound() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout + done.stderr == ""


def test_the_page_is_up_to_date_with_the_limits() -> None:
    from cuse_scullv.params import ORDER_MAX, PAGE_SIZE, QSET_MAX, QUANTUM_MAX

    page = PAGE.read_text(encoding="utf-8")
    assert f"at most {QUANTUM_MAX >> 20}M." in page
    assert f"1 to {QSET_MAX}." in page
    if PAGE_SIZE == 4096:
        assert f"0 to {ORDER_MAX} where a page is 4 KiB" in page
