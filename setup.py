"""The C extension; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["cuse_scullv/_build.py:builder"])
