"""Semaphore: a number of tokens that clients take, each in his turn, and give back."""

from __future__ import annotations

from .file import File
from .line import RESERVE_S, Line


class Semaphore:
    """threading.Semaphore for handlers, fair between clients that block and clients that poll:

        def read(self, file, size):
            self.tokens.acquire(file)
            return b"+"

        def poll(self, file):
            return select.POLLIN if self.tokens.poll(file) else 0

        def write(self, file, data):
            self.tokens.release(len(data))

    First come, first served; a client that polls is woken in its turn, and a token is reserved for
    its open file. Any thread."""

    def __init__(self, value: int = 1, *, reserve: float = RESERVE_S) -> None:
        """`value`: tokens. `reserve`: seconds that one is kept for a client that polls; then it is
        the next one's. ValueError for either below 0."""
        self._line = Line(_tokens(value), reserve)

    @property
    def value(self) -> int:
        """Tokens that no method has got yet; for save(). May be set, by restore()."""
        return self._line.count()

    @value.setter
    def value(self, value: int) -> None:
        self._line.replace(_tokens(value))

    def acquire(self, file: File, timeout: float | None = None) -> bool:
        """Takes a token, in a `def` method; waits where there is none, or others were first. False:
        `timeout` s passed.

        OSError: EAGAIN at once if the file is O_NONBLOCK; EINTR, ETIMEDOUT and ENODEV as of
        Condition. No token is lost by it."""
        return bool(self._line.take(file, timeout))

    async def acquire_async(self, file: File, timeout: float | None = None) -> bool:
        """acquire in an `async def` method, which is cancelled in place of EINTR, ENODEV and the
        device's deadline."""
        return bool(await self._line.take_async(file, timeout))

    def release(self, n: int = 1) -> None:
        """Gives `n` tokens back, or adds some; who is next is woken. ValueError below 0."""
        self._line.add(_tokens(n))

    def withdraw(self, n: int = 1) -> int:
        """Takes up to `n` tokens away that no method has got or is about to get; how many there
        were. Never waits. ValueError below 0."""
        return len(self._line.withdraw(len(_tokens(n))))

    def poll(self, file: File) -> bool:
        """For the device's poll(): whether acquire() would not wait. If not, the file waits in the
        line from here on, and is woken when it is its turn."""
        return self._line.poll(file)


def _tokens(n: int) -> list[None]:
    if n < 0:
        raise ValueError(f"{n} tokens: take 0 or more")
    return [None] * n
