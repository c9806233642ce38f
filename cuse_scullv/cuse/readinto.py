"""A read that is made of a readinto: buffers are the threads', and not made anew."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable
from typing import Any, cast

from .device import Handler
from .file import File

_VIEW_SIZE = 1 << 17  # of the buffer that a thread has for readinto, bytes


def reader(readinto: Handler) -> Handler:
    """A read that is made of a readinto."""
    local = threading.local()

    def checked(count: Any, size: int) -> int:
        if not isinstance(count, int) or not 0 <= count <= size:
            raise TypeError(f"readinto() returned {count!r}, not a number from 0 to {size}")
        return count

    def read(file: File, size: int) -> memoryview:
        view: memoryview | None = getattr(local, "view", None)
        if size > _VIEW_SIZE:
            view = memoryview(bytearray(size))
        elif view is None:
            view = local.view = memoryview(bytearray(_VIEW_SIZE))
        return view[: checked(readinto(file, view[:size]), size)]

    async def read_async(file: File, size: int) -> memoryview:
        view = memoryview(bytearray(size))  # tasks share a thread: one each
        return view[: checked(await cast("Awaitable[Any]", readinto(file, view)), size)]

    return read_async if inspect.iscoroutinefunction(readinto) else read
