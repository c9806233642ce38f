"""The Chinese pages are those in English: the same sessions, the same references to the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from test_docs import FENCE, ROOT, TRANSLATED

README = ROOT / "README.zh-CN.md"
LDD3 = ROOT / "docs" / "zh" / "ldd3.md"
FIRST = ROOT / "docs" / "zh" / "first-session.md"
WHOLE = {README: ROOT / "README.md", LDD3: ROOT / "docs" / "ldd3.md"}
REFERENCE = re.compile(r"`(?:csrc|cuse_scullv|tests)/[\w/]+\.\w+(?::[\w.]+)?`")


def sessions(page: Path) -> list[str]:
    return [fence[0] for fence in FENCE.finditer(page.read_text(encoding="utf-8"))]


def levels(page: Path) -> list[str]:
    """How the page is divided."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"^(#+) ", text, re.MULTILINE)


def test_each_page_is_compared() -> None:
    assert {*WHOLE, FIRST} == set(TRANSLATED)


@pytest.mark.parametrize("page", WHOLE, ids=lambda page: page.name)
def test_a_translation_has_the_sessions_of_the_page(page: Path) -> None:
    assert sessions(page) == sessions(WHOLE[page])


def test_the_first_session_is_the_readme_s() -> None:
    assert sessions(FIRST) == sessions(ROOT / "README.md")[: len(sessions(FIRST))] != []


def test_the_chapter_has_the_sections_and_references_of_the_page() -> None:
    assert levels(LDD3) == levels(WHOLE[LDD3])
    chinese, english = (set(REFERENCE.findall(page.read_text())) for page in (LDD3, WHOLE[LDD3]))
    assert chinese == english


@pytest.mark.parametrize("name", ["vmalloc", "vfree", "scullv_write", "scullv_trim", "scullv_open"])
def test_what_the_book_is_about_is_one_click_away(name: str) -> None:
    row = re.search(rf"^\|[^|]*`{name}`.*$", README.read_text(), re.MULTILINE)
    assert row is not None
    links = re.findall(r"\]\(([^)#]+)", row[0])
    assert [link for link in links if link.endswith((".c", ".py"))]
    assert name in LDD3.read_text()
    assert "docs/zh/ldd3.md" in links
