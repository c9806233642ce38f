"""Builds the documentation as a site that needs no network: build/site/index.html.

    .venv/bin/python tools/website.py [FOLDER]

Sphinx reads a copy of the pages, in which what they link to is a page as well: files of code as
they are, folders as lists, manual pages by mandoc. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    *ROOT.glob("*.md"),
    *(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "site"),
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")
LANGUAGES = {".c": "c", ".h": "c", ".py": "python", ".yaml": "yaml"}


class Copy:
    """The folder that Sphinx reads: a page at `PATH.md` for what is at PATH in the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_page(self, page: Path) -> None:
        """A page in Markdown, with what it links to."""

        def lead(link: re.Match[str]) -> str:
            target = (page.parent / link[1]).resolve()
            if target.suffix == ".md":
                return link[0]
            return f"]({self._relative(page, self.add(target))})"

        self._write(page.relative_to(ROOT), LINK.sub(lead, page.read_text(encoding="utf-8")))

    def add(self, target: Path) -> Path:
        """A page for a file or a folder; where it is."""
        name = target.relative_to(ROOT)
        place = name / "index.md" if target.is_dir() else name.with_name(f"{name.name}.md")
        if not (self.folder / place).exists():
            self._write(place, f"---\norphan: true\n---\n{self._text(target)}")
        return place

    def _text(self, target: Path) -> str:
        title = f"# {target.relative_to(ROOT)}\n\n"
        if target.is_dir():
            # Before its files are looked at: they may be many, and of any kind.
            shown = [file for file in sorted(target.iterdir()) if _is_text(file)]
            links = [f"- [{file.name}]({self.add(file).name})\n" for file in shown]
            return title + "".join(links or [f"- {file.name}\n" for file in target.iterdir()])
        if re.fullmatch(r"\.[1-8]", target.suffix):
            return f"# {target.stem}({target.suffix[1:]})\n\n{_manual(target)}"
        code = target.read_text(encoding="utf-8").rstrip("\n")
        return f"{title}````{LANGUAGES.get(target.suffix, 'text')}\n{code}\n````\n"

    def _relative(self, page: Path, place: Path) -> str:
        up = len(page.relative_to(ROOT).parents) - 1
        return f"{'../' * up}{place}"

    def _write(self, place: Path, text: str) -> None:
        (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / place).write_text(text, encoding="utf-8")


def _is_text(file: Path) -> bool:
    return file.is_file() and file.suffix not in (".gz", ".pyc")


def _manual(page: Path) -> str:
    """A manual page as a block of text: what man shows."""
    words = ["mandoc", "-T", "utf8", "-O", "width=90", str(page)]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    plain = re.sub(".\x08", "", shown)
    return f"````text\n{plain}````\n"


def build(site: Path) -> int:
    """Builds the site; the exit status of Sphinx."""
    with tempfile.TemporaryDirectory() as name:
        copy = Copy(Path(name))
        for page in PAGES:
            copy.add_page(page)
        for page in (ROOT / "docs" / "site").iterdir():
            shutil.copy(page, name)
        copy.add(ROOT / "docs" / "man")
        words = ("-W", "--keep-going", "-q", "-b", "html", name, str(site))
        return subprocess.run([sys.executable, "-m", "sphinx", *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site")))
