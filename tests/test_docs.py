"""The sessions in the documentation are pasted into a shell, and show what they say they show.

A fence ```console guest is typed where the kernel has CUSE, ```console host wherever a file view
can be mounted, ```console systemd where systemd runs (test_systemd.py). Lines that begin with `# `
are typed, as root, `> ` goes on with such a line; what follows is what must appear: `...` stands
for anything, alone on a line for any lines. The fences of one page and kind are one session, in a
directory that has only examples/ and the programs of the page: a fence ```python that begins with
`# NAME.py` is one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRANSLATED = [ROOT / "README.zh-CN.md", *sorted((ROOT / "docs" / "zh").glob("*.md"))]
# The sessions of translations are those of the English pages: test_translations.py.
PAGES = [
    ROOT / "README.md",
    *sorted({*(ROOT / "docs").rglob("*.md")} - {*TRANSLATED, *(ROOT / "docs" / "site").glob("*")}),
]
FENCE = re.compile(r"^```console(?P<kind>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^```python\n(# (?P<name>\w+\.py)\n.*?)^```$", re.MULTILINE | re.DOTALL)
MARKER = "--end of command--"
# For one command, on a machine that may be very slow.
COMMAND_S = 100.0
# Fences not typed here, a page: a benchmark takes too long; test_cuse_doc.py types the other.
UNTYPED = {"performance.md": 2, "cuse.md": 1}


@dataclass
class Command:
    """What is typed, and what must appear."""

    typed: str
    expected: list[str] = field(default_factory=list)

    @property
    def pattern(self) -> re.Pattern[str]:
        parts = []
        for line in self.expected:
            if line == "...":
                parts.append(r"(?:.*\n)*")
            else:
                parts.append(".*".join(re.escape(part) for part in line.split("...")) + r"\n")
        return re.compile("".join(parts))


def commands(body: str) -> Iterator[Command]:
    """The commands of a session."""
    current: Command | None = None
    for line in body.splitlines():
        if line.startswith("# "):
            if current is not None:
                yield current
            current = Command(line[2:])
        elif re.match(r">( |$)", line) and current is not None and not current.expected:
            current.typed += "\n" + line[2:]
        else:
            assert current is not None, f"before any command: {line}"
            current.expected.append(line)
    if current is not None:
        yield current


def paste(session: list[Command], directory: Path, where: Sequence[str] = ()) -> list[str]:
    """What appears after each command of a session that is pasted as a whole into a shell. All
    of it is there to be read at once: a command that reads its input would swallow the rest, and
    one that is not ready when it returns fails those that follow. `where`: what begins it all."""
    text = "".join(f"{command.typed}\necho '{MARKER}'\n" for command in session)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        [*where, "bash", "--norc"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
        text=True,
        start_new_session=True,
    )
    try:
        appeared, _ = shell.communicate(text, COMMAND_S * len(session))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
    return appeared.split(f"{MARKER}\n")[:-1]


def sessions(kind: str) -> list[Path]:
    """The pages that have fences of `kind`."""
    return [page for page in PAGES if fences(page, kind)]


def fences(page: Path, kind: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [found["body"] for found in FENCE.finditer(text) if found["kind"].strip() == kind]


def paste_all(page: Path, kind: str, directory: Path, where: Sequence[str] = ()) -> None:
    (directory / "examples").symlink_to(ROOT / "examples")
    for program in PROGRAM.finditer(page.read_text(encoding="utf-8")):
        (directory / program["name"]).write_text(program[1])
    session = [command for body in fences(page, kind) for command in commands(body)]
    appeared = paste(session, directory, where)
    for command, text in zip(session, appeared, strict=False):
        assert command.pattern.fullmatch(text), (
            f"{page.name}: # {command.typed}\nexpected:\n"
            + "\n".join(command.expected)
            + f"\nappeared:\n{text}"
        )
    assert len(appeared) == len(session)


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", sessions("guest"), ids=lambda page: page.name)
def test_sessions_with_a_node_are_as_shown(page: Path, tmp_path: Path) -> None:
    paste_all(page, "guest", tmp_path)


@pytest.mark.mount
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", sessions("host"), ids=lambda page: page.name)
def test_sessions_with_a_file_view_are_as_shown(page: Path, tmp_path: Path) -> None:
    paste_all(page, "host", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_few_sessions_are_never_typed(page: Path) -> None:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    kinds = [fence["kind"].strip() for fence in found]
    assert set(kinds) <= {"guest", "host", "systemd", ""}
    assert kinds.count("") == UNTYPED.get(page.name, 0)


def test_what_is_typed_with_sudo_runs_as_it_stands() -> None:
    """Debian's own Python has not what .venv has, and root's PATH has no .venv."""
    pages = [*PAGES, *sorted((ROOT / "docs").glob("*/*.md"))]
    places = [*pages, *sorted((ROOT / "examples").iterdir())]
    texts = {place.name: place.read_text(encoding="utf-8") for place in places if place.is_file()}
    found = {
        name: re.findall(r"sudo (?:python|pip|cuse-scullv)\S*", text)
        for name, text in texts.items()
    }
    assert not {name: words for name, words in found.items() if words}


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes it of their text."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *TRANSLATED], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if target.startswith("http"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


@pytest.mark.parametrize("page", [*PAGES, *TRANSLATED], ids=lambda page: page.name)
def test_the_site_has_each_page(page: Path) -> None:
    index = (ROOT / "docs" / "site" / "index.md").read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT).with_suffix(""))
    assert re.search(rf"^(.*<)?{re.escape(name)}>?$", index, re.MULTILINE)
