"""The site of the documentation, for Sphinx; tools/website.py builds it."""

import re

from sphinx.application import Sphinx

import cuse_scullv

project = "cuse-scullv"
version = release = cuse_scullv.__version__
copyright = "the authors of cuse-scullv"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_show_search_summary = False  # of pages that a browser without a network may not fetch
html_title = f"cuse-scullv {version}"
html_copy_source = False
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
suppress_warnings = ["misc.highlighting_failure"]  # sessions and pieces of code are no programs


def as_rst(
    app: Sphinx, what: str, name: str, object_: object, options: object, lines: list[str]
) -> None:
    """The docstrings are plain text, with `code`, and examples that are indented."""
    rst: list[str] = []
    code = False
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("    ") and not before and not code:
            code = True
            rst += [".. code-block::", ""]
        elif line and not line.startswith("    "):
            code = False
            line = re.sub(r"`([^`]+)`", r"``\1``", line).replace("*", r"\*")
        rst.append(line)
    lines[:] = rst


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", as_rst)
