"""DeviceError: a device that cannot be served, said in one line with what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


class DeviceError(OSError):
    """A device cannot be served. `errno` says what, `strerror` why and what to type."""

    _is_plain = False  # nobody needs a traceback to understand it


def print_plainly(error: DeviceError) -> None:
    """If nobody catches `error`, the program ends with its sentence and status 1, and no traceback:
    what is wrong is not in the program. A hook of the program's own is left alone."""
    error._is_plain = True
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print


def _print(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    if isinstance(value, DeviceError) and value._is_plain:
        print(f"{Path(sys.argv[0]).name}: {value.strerror}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, value, trace)
