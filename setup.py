"""The C extension, and the name of its wheel; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["cuse_scullv/_build.py:builder"],
    # cffi keeps to the stable ABI, so one wheel serves every Python from the oldest on.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
