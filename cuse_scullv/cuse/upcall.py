"""The one way from C into Python: struct call, handed to the object that its channel belongs to.

`owner(obj)` gives the handle that a channel is opened with; obj.upcall(call) is then called on the
channel's threads, and must answer the call once, by a lib.call_reply_*.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from cuse_scullv._native import ffi

if TYPE_CHECKING:
    from cuse_scullv._native import Call, CData

logger = logging.getLogger(__name__)


class Owner(Protocol):
    """Whose calls they are. upcall() raises nothing: there is nobody to catch it."""

    def upcall(self, call: Call, /) -> None: ...


def owner(of: Owner) -> CData:
    """The handle that stands for `of` in C. Keep it as long as the channel lives."""
    return ffi.new_handle(of)


def _escaped(kind: type[BaseException], error: BaseException, trace: TracebackType) -> None:
    logger.critical("an upcall raised", exc_info=(kind, error, trace))


_from_handle = ffi.from_handle


@ffi.def_extern(name="python_call", onerror=_escaped)
def _python_call(handle: CData, call: Call) -> None:
    _from_handle(handle).upcall(call)
