"""What stops a benchmark."""

from __future__ import annotations


class BenchError(Exception):
    """One line for the user: what is wrong and what to type."""
