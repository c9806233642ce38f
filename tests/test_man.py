"""The manual pages and completions say what the command line says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cuse_scullv import cuse
from cuse_scullv.cli import cli
from cuse_scullv.ioctl import NUMBERS
from cuse_scullv.params import PAGE_SIZE

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "man"

sys.path.insert(0, str(ROOT / "tools"))
import manual  # noqa: E402

ALL = sorted(PAGES.glob("*.[1-8]"))
CONTEXT = click.Context(cli, info_name=manual.PROGRAM, **cli.context_settings)
COMMANDS = dict(manual.subcommands(CONTEXT))


def rendered(page: Path) -> str:
    """A page as a reader sees it, without blanks: they are where the lines end."""
    done = subprocess.run(
        ["mandoc", "-T", "ascii", str(page)], capture_output=True, text=True, timeout=60, check=True
    )
    return squeezed(re.sub(r".\x08", "", done.stdout))


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def help_of(name: str) -> Iterator[str]:
    """Each piece of what `cuse-scullv NAME --help` prints below the usage."""
    command = COMMANDS[name]
    context = click.Context(command, parent=CONTEXT, info_name=name)
    assert command.help
    yield from command.help.replace("\b", "").split("\n\n")
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if isinstance(option, click.Option) and record is not None:
            yield from record


@pytest.mark.skipif(PAGE_SIZE != 4096, reason="the pages have the limits of 4 KiB pages")
def test_what_is_made_is_up_to_date() -> None:
    made = {**manual.pages(), **manual.completions()}
    old = [
        path.name for path, text in made.items() if not path.exists() or path.read_text() != text
    ]
    assert not old, f"type .venv/bin/python tools/manual.py: {old}"
    assert set(made) == {*PAGES.glob("*.1"), *manual.COMPLETIONS.iterdir()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_the_words_of_help(name: str) -> None:
    page = rendered(PAGES / f"cuse-scullv-{name}.1")
    assert [text for text in help_of(name) if squeezed(text) not in page] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    assert COMMANDS[name].get_short_help_str()
    for option in COMMANDS[name].params:
        assert not isinstance(option, click.Option) or option.help, option.name


def test_what_was_written_by_hand_is_of_a_command() -> None:
    names = {"cuse-scullv", *(f"cuse-scullv-{name}" for name in COMMANDS)}
    assert {path.stem for path in (PAGES / "more").iterdir()} <= names


def test_the_pages_are_sound() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, ALL)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout + done.stderr == ""


def test_references_to_our_pages_lead_somewhere() -> None:
    ours = {(page.stem, page.suffix[1:]) for page in ALL}
    for page in ALL:
        for name, section in re.findall(
            r"^\.(?:It )?Xr (\S+) (\d)", page.read_text(), re.MULTILINE
        ):
            assert not re.match("scullv|cuse[-_]scullv", name) or (name, section) in ours


def test_the_page_of_the_device_has_every_ioctl() -> None:
    page = (PAGES / "scullv.4").read_text()
    assert [name for name in NUMBERS if name.startswith("SCULLV") and name not in page] == []


def test_the_page_of_the_binding_has_every_name() -> None:
    words = set(re.findall(r"\w+", (PAGES / "cuse_scullv.cuse.3").read_text()))
    assert set(cuse.__all__) - words == set()
