"""Writes what is made from the command line: the manual pages of docs/man/, one for cuse-scullv and
one for each subcommand, and the completions of packaging/completions/.

    .venv/bin/python tools/manual.py

A page has the words of `--help`. What takes more of them is in docs/man/more/NAME.mdoc: its
sections go on with those that are made here, or are further ones. The language is mdoc(7).

click-man does the same in man(7), whose pages have no place for more, and which mandoc's lint
complains of.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from cuse_scullv.cli import PROGRAM, cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "man"
COMPLETIONS = ROOT / "packaging" / "completions"
DATE = "November 30, 2026"
ORDER = (
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "ENVIRONMENT",
    "FILES",
    "EXIT STATUS",
    "EXAMPLES",
    "SEE ALSO",
)
"""The sections, as mdoc(7) has them follow one another."""
STATUS = """\
0 if all went well, 2 if not: one line on standard error says what is wrong and
what to type.
"""
# What roff would take for something else, or show as something that a shell does not know.
ESCAPES = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
)
# By the names under which the shells look for them.
SHELLS = {"bash": PROGRAM, "zsh": f"_{PROGRAM}", "fish": f"{PROGRAM}.fish"}

Sections = dict[str, str]


def escaped(text: str) -> str:
    """`text` as roff shows it, on one line."""
    return " ".join(text.split()).translate(ESCAPES)


def prose(text: str) -> str:
    """Sentences, each begun on a line of its own, as mdoc wants them."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", escaped(text))
    lines = [line for sentence in sentences for line in wrapped(sentence)]
    return "".join(f"\\&{line}\n" if line.startswith((".", "'")) else f"{line}\n" for line in lines)


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 80, break_long_words=False, break_on_hyphens=False)


def paragraphs(text: str) -> str:
    """A docstring as click shows it: `\\b` opens a paragraph whose lines stay as they are."""
    blocks = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block.startswith("\b"):
            lines = [line.translate(ESCAPES) for line in block.splitlines()[1:]]
            blocks.append("\n".join([".Bd -literal", *lines, ".Ed\n"]))
        else:
            blocks.append(prose(block))
    return ".Pp\n".join(blocks).replace(".Pp\n.Bd", ".Bd")


def metavar(option: click.Option, context: click.Context) -> str:
    """What stands for the option's value; empty for a flag."""
    record = option.get_help_record(context)
    assert record is not None
    return record[0].removeprefix(", ".join(option.opts)).strip()


def entry(option: click.Option, context: click.Context) -> str:
    """An option with its help, of a list."""
    record = option.get_help_record(context)
    assert record is not None
    value = escaped(metavar(option, context))
    names = " , ".join(f"Fl {name[1:]}" for name in option.opts)
    return f".It {names}{f' Ar {value}' if value else ''}\n{prose(record[1])}"


def option_list(command: click.Command, context: click.Context) -> str:
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    entries = "".join(entry(option, context) for option in options)
    return f".Pp\nThe options are:\n.Bl -tag -width Ds\n{entries}.El\n"


def command_list(context: click.Context) -> str:
    """The subcommands, each with what it is for."""
    entries = [
        f".It Xr {PROGRAM}-{name} 1\n{prose(command.get_short_help_str(limit=500))}"
        for name, command in subcommands(context)
    ]
    return f".Pp\nThe commands are:\n.Bl -tag -width Ds\n{''.join(entries)}.El\n"


def subcommands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command


def synopsis(command: click.Command, context: click.Context) -> str:
    """The usage: what may be left out is in brackets."""
    lines = [f".Nm {context.command_path}\n"]
    for piece in command.collect_usage_pieces(context):
        word = re.fullmatch(r"\[(.*)\](\.\.\.)?", piece)
        if word is None:
            lines.append(f".Ar {escaped(piece)}\n")
        else:
            name = "options" if word[1] == "OPTIONS" else escaped(word[1])
            lines.append(f".Op Ar {name}{' ...' if word[2] else ''}\n")
    return "".join(lines)


def made(name: str, command: click.Command, context: click.Context) -> Sections:
    """The sections that the command itself tells."""
    short = command.get_short_help_str(limit=500).rstrip(".")
    listed = command_list(context) if command is cli else ""
    related = [f"{PROGRAM} 1"] if command is not cli else []
    return {
        "NAME": f".Nm {name}\n.Nd {escaped(short[0].lower() + short[1:])}\n",
        "SYNOPSIS": synopsis(command, context),
        "DESCRIPTION": paragraphs(command.help or "") + listed + option_list(command, context),
        "EXIT STATUS": STATUS,
        "SEE ALSO": " ,\n".join(f".Xr {page}" for page in [*related, "scullv 4"]) + "\n",
    }


def written(path: Path) -> Sections:
    """The sections of docs/man/more/NAME.mdoc; none if there is no such file."""
    if not path.exists():
        return {}
    head, *parts = re.split(r"^\.Sh (.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not head, f"{path}: begin with .Sh"
    return dict(zip(parts[::2], parts[1::2], strict=True))


def page(name: str, command: click.Command, context: click.Context) -> str:
    """The manual page of a command."""
    sections = made(name, command, context)
    for title, more in written(PAGES / "more" / f"{name}.mdoc").items():
        # What is written of these says it all.
        keep = "" if title in ("EXIT STATUS", "SEE ALSO") else sections.get(title, "")
        sections[title] = keep + more
    head = f".Dd {DATE}\n.Dt {name.upper()} 1\n.Os\n"
    body = "".join(f".Sh {title}\n{sections[title]}" for title in ORDER if title in sections)
    return head + body


def pages() -> dict[Path, str]:
    """All manual pages of the command line."""
    context = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    found = {PAGES / f"{PROGRAM}.1": page(PROGRAM, cli, context)}
    for name, command in subcommands(context):
        below = click.Context(command, parent=context, info_name=name)
        found[PAGES / f"{PROGRAM}-{name}.1"] = page(f"{PROGRAM}-{name}", command, below)
    return found


def completions() -> dict[Path, str]:
    """What each shell reads to complete the command line: it asks the program."""
    found = {}
    for shell, file in SHELLS.items():
        kind = get_completion_class(shell)
        assert kind is not None
        variable = f"_{PROGRAM.upper().replace('-', '_')}_COMPLETE"
        completion = kind(cli, {}, PROGRAM, variable)
        # Its source() looks for the shell, which need not be installed here.
        text = kind.source_template % completion.source_vars()
        found[COMPLETIONS / file] = text.strip() + "\n"
    return found


def write() -> None:
    wanted = {**pages(), **completions()}
    for old in {*PAGES.glob("*.1"), *COMPLETIONS.glob("*")} - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
