"""Steps: what a class makes of a request, where the subclass's methods that it calls may be `def`
or `async def`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import Any, ParamSpec

P = ParamSpec("P")
Steps = Generator[Any, Any, Any]


def either(method: Callable[P, Steps]) -> Callable[P, Any]:
    """Decorator of a generator that yields what such methods have returned, and is sent their
    results: `now = yield self.get()`. So it is written once for both kinds. It becomes a
    method that returns the generator's result, or an awaitable of that as soon as a filled-in
    method gave one. Hold no lock across a yield."""

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        steps = method(*args, **kwargs)
        return _advance(steps, functools.partial(steps.send, None))

    return run


def _advance(steps: Steps, resume: Callable[[], Any]) -> Any:
    """Goes on with `resume` until the end, or until there is something to await."""
    try:
        value = resume()
        while not inspect.isawaitable(value):
            value = steps.send(value)
    except StopIteration as end:
        return end.value
    return _later(steps, value)


async def _later(steps: Steps, awaitable: Awaitable[Any]) -> Any:
    try:
        resume = functools.partial(steps.send, await awaitable)
    except BaseException as error:  # noqa: BLE001 - the generator's, as if it had raised it
        resume = functools.partial(steps.throw, error)
    result = _advance(steps, resume)
    return await result if inspect.isawaitable(result) else result
