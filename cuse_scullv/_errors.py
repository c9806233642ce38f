"""From an errno, or C's 0/-errno, to OSError, in one place."""

from __future__ import annotations

import os


def check(result: int, what: str | None = None) -> int:
    """`result` as it is when 0 or more; a negative errno raises OSError, on the file `what`."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
    return result


def oserror(code: int) -> OSError:
    """The OSError of an errno, with its text."""
    return OSError(code, os.strerror(code))
