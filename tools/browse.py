"""Looks at the site of tools/website.py as a reader does, in Chromium, without a network.

    .venv/bin/python tools/browse.py SITE FOLDER

Every page of PAGES, light and dark, on a wide window and on a telephone's, is a picture in FOLDER.
Fails where a page is wider than its window, a script fails, something is asked of the network, or
the search finds nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

from playwright.sync_api import (
    Browser,
    Page,
    Request,
    TimeoutError,
    ViewportSize,
    sync_playwright,
)

CHROMIUM = "/usr/bin/chromium"
PAGES = ("index", "README", "README.zh-CN", "docs/cuse", "docs/performance", "docs/course", "api")
WINDOWS = {"wide": (1280, 900), "narrow": (400, 800)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SEARCHED = "quantum"


class Reader:
    """A page of the browser, and what has gone wrong on it."""

    def __init__(self, page: Page, site: Path) -> None:
        self.page = page
        self.site = site
        self._heard: list[str] = []
        page.on("pageerror", lambda error: self._heard.append(f"a script fails: {error}"))
        page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            self._heard.append(f"asks the network for {request.url}")

    def look(self, name: str, picture: Path) -> Iterator[str]:
        """At one page of the site."""
        self.page.goto((self.site / name).as_uri())
        self.page.screenshot(path=picture)
        size = "[document.documentElement.scrollWidth, window.innerWidth]"
        width, window = self.page.evaluate(size)
        if width > window:
            yield f"{width} pixels wide in a window of {window}"
        yield from self.heard()

    def search(self, word: str, picture: Path) -> Iterator[str]:
        self.page.goto((self.site / "search.html").as_uri() + f"?q={word}")
        found = self.page.locator("ul.search li").first
        try:
            found.wait_for(timeout=20_000)
        except TimeoutError:
            yield f"finds no {word}"
        self.page.screenshot(path=picture)
        yield from self.heard()

    def heard(self) -> list[str]:
        heard, self._heard = self._heard, []
        return heard


def browse(browser: Browser, site: Path, pictures: Path) -> Iterator[str]:
    """One line for each thing that is wrong."""
    for (window, (width, height)), scheme in product(WINDOWS.items(), SCHEMES):
        size: ViewportSize = {"width": width, "height": height}
        reader = Reader(browser.new_page(viewport=size, color_scheme=scheme), site)
        for name in PAGES:
            picture = pictures / f"{name.replace('/', '-')}-{window}-{scheme}.png"
            for wrong in reader.look(f"{name}.html", picture):
                yield f"{name}, {window}, {scheme}: {wrong}"
        reader.page.close()
    for wrong in Reader(browser.new_page(), site).search(SEARCHED, pictures / "search.png"):
        yield f"search: {wrong}"


def main(site: Path, pictures: Path) -> int:
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        wrong = list(browse(browser, site.resolve(), pictures))
        browser.close()
    print("\n".join(wrong) or f"{len(list(pictures.iterdir()))} pictures in {pictures}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
