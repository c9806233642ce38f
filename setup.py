"""The C extension, the name of its wheel, and the page that shows the package; everything else is
in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

PAGE = "https://pypi.org/project/cuse-scullv/"


def page() -> str:
    """README.md, for a place where the files that it links to are not: they are in the source
    archive of the same page, so that is what they lead to."""
    text = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?!https?:)[^)#]+\)", f"]({PAGE}#files)", text)


setup(
    cffi_modules=["cuse_scullv/_build.py:builder"],
    # cffi keeps to the stable ABI, so one wheel serves every Python from the oldest on.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    long_description=page(),
    long_description_content_type="text/markdown",
)
