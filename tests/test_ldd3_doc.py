"""docs/ldd3.md: what it refers to is there, and what it must tell is told."""

import ast
import re
from pathlib import Path

import pytest

from cuse_scullv.ioctl import NUMBERS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "ldd3.md").read_text()
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.(?:py|c|h)):([\w.]+)`", TEXT)))
FILES = sorted(set(re.findall(r"`((?:tests|csrc|cuse_scullv)/[\w/]+\.\w+)[`:]", TEXT)))
BOOK = ["vmalloc", "vfree", "ioremap", "iounmap", "scullv_follow", "scullv_trim", "scullv_open"]


def names_in_c(source: str) -> set[str]:
    """What a C file defines, at its top level: functions, structures, macros."""
    functions = re.findall(r"^(?:\w[\w\s]*?[\s*])(\w+)\([^;{}]*\)\s*\{", source, re.MULTILINE)
    structs = re.findall(r"^struct (\w+) \{", source, re.MULTILINE)
    macros = re.findall(r"^#define (\w+)", source, re.MULTILINE)
    return {*functions, *structs, *macros}


def names_in_python(source: str) -> set[str]:
    """What a module defines: its functions and classes, and methods as Class.method."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (child for child in node.body if isinstance(child, ast.FunctionDef))
            names.update(f"{node.name}.{child.name}" for child in inner)
    return names


def test_there_are_references_at_all() -> None:
    assert len(REFERENCES) > 25
    assert len(FILES) > 10


@pytest.mark.parametrize(("path", "name"), REFERENCES)
def test_a_name_that_is_referred_to_is_defined_there(path: str, name: str) -> None:
    source = (ROOT / path).read_text()
    defined = names_in_python(source) if path.endswith(".py") else names_in_c(source)
    assert name in defined


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_referred_to_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("name", [*NUMBERS, *BOOK])
def test_every_command_and_the_books_own_functions_are_explained(name: str) -> None:
    assert f"`{name}" in TEXT


def test_each_of_the_five_defects_has_a_command_that_shows_it_gone() -> None:
    sections = re.split(r"^### (?=\d\. )", TEXT, flags=re.MULTILINE)[1:]
    assert [section[0] for section in sections] == list("12345")
    for section in sections:
        section = section.split("\n## ")[0]
        assert re.search(r"^```console guest\n# .*cuse-scullv serve --ldd3", section, re.M) or (
            re.search(r"^```console guest\n(.*\n)*# cuse-scullv serve --ldd3", section, re.M)
        ), section.splitlines()[0]
    table = TEXT.split("## Deviations")[1]
    assert set(re.findall(r"defect (\d)", table)) == set("12345")


def test_every_deviation_has_its_reason() -> None:
    table = TEXT.split("## Deviations")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3
        assert all(cells), row
