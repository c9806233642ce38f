"""Control: a running jobserver, asked and told by a client."""

from __future__ import annotations

import errno
import fcntl
import math
import os
from types import TracebackType

from .gate import memory
from .protocol import HOLDERS, LIMITS, STATE, TOKENS_MAX, Holders, Limits, State

PARAMETERS = ("tokens", "load", "min-memory")
"""What `get` and `set` take: tokens; jobs, 0 for no limit; bytes, 0 for no limit."""


def check_parameter(parameter: str, value: float) -> None:
    """Raises ValueError, of one line, unless a jobserver here can have `value`."""
    if parameter == "tokens" and not 1 <= value <= TOKENS_MAX:
        raise ValueError(f"{value:g} is not in the range: type 1 to {TOKENS_MAX}")
    if parameter == "load" and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value:g} is no load average: type a number as 8 or 1.5, 0 for no limit")
    if parameter == "min-memory" and value > memory("MemTotal"):
        raise ValueError(f"this machine has {memory('MemTotal')} bytes: type less")


class Control:
    """An open jobserver, as a context manager.

    Every method raises OSError as the system call under it does. ENOTTY: not a jobserver."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def state(self) -> State:
        return State.from_buffer_copy(self._ioctl(STATE, bytes(State())))

    def holders(self) -> dict[int, int]:
        """Tokens by pid; 0 is of processes that the server cannot see."""
        return Holders.from_buffer_copy(self._ioctl(HOLDERS, bytes(Holders()))).tokens

    def get(self, parameter: str) -> int | float:
        """A parameter: "tokens", "load" or "min-memory" (bytes)."""
        value: int | float = getattr(self.state(), parameter.replace("-", "_"))
        return value

    def set(self, parameter: str, value: float) -> None:
        """Changes one. EPERM unless the caller is root or whom the server is; EINVAL for a value
        that cannot be."""
        state = self.state()
        limits = Limits(min_memory=state.min_memory, load=state.load, tokens=state.tokens)
        field = parameter.replace("-", "_")
        setattr(limits, field, value if field == "load" else int(value))
        self._ioctl(LIMITS, bytes(limits))

    def _ioctl(self, command: int, data: bytes) -> bytes:
        # Longer ones than 1,024 bytes are copied into what the caller has (fcntl.ioctl).
        buffer = bytearray(data)
        try:
            fcntl.ioctl(self._fd, command, buffer)
        except OSError as error:
            reason = "not a jobserver" if error.errno == errno.ENOTTY else error.strerror
            raise OSError(error.errno, reason, self._path) from None
        return bytes(buffer)
