"""The loop of `async def` methods: when a task begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from cuse_scullv.cuse.loop import HandlerLoop, handler_loop, start

LONG = 30.0


@pytest.fixture
def loop() -> Iterator[HandlerLoop]:
    loop = handler_loop()
    yield loop
    loop.set_task_factory(None)


def on(loop: HandlerLoop, function: Callable[[], Any]) -> Any:
    """What the function returns, called by the loop outside of any task."""
    done = Future[Any]()

    def call() -> None:
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - the test's to see
            done.set_exception(error)

    loop.call_soon_threadsafe(call)
    return done.result(LONG)


def steps(seen: list[str]) -> Coroutine[Any, Any, None]:
    async def driver() -> None:
        assert asyncio.current_task() is not None
        asyncio.get_running_loop().call_soon(seen.append, "called")
        seen.append("began")
        await asyncio.sleep(0)
        seen.append("ended")

    return driver()


def test_a_task_runs_to_where_it_waits_at_once(loop: HandlerLoop) -> None:
    seen: list[str] = []
    assert on(loop, lambda: (start(steps(seen)), list(seen))[1]) == ["began"]
    on(loop, lambda: None)
    on(loop, lambda: None)
    assert seen == ["began", "called", "ended"]


def test_within_a_task_it_begins_later(loop: HandlerLoop) -> None:
    seen: list[str] = []

    async def outer() -> list[str]:
        start(steps(seen))
        return list(seen)

    assert asyncio.run_coroutine_threadsafe(outer(), loop).result(LONG) == []
    for _ in range(3):
        on(loop, lambda: None)
    assert seen == ["began", "called", "ended"]


def test_a_task_factory_is_asked(loop: HandlerLoop) -> None:
    seen: list[str] = []
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, driver: Any, **more: Any) -> asyncio.Future[Any]:
        made.append("made")
        return asyncio.Task(driver, loop=loop, **more)

    loop.set_task_factory(factory)
    on(loop, lambda: start(steps(seen)))
    for _ in range(3):
        on(loop, lambda: None)
    assert (made, seen) == (["made"], ["began", "called", "ended"])


def test_what_a_task_raises_in_its_first_step_is_its_own(loop: HandlerLoop) -> None:
    async def fails() -> None:
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        on(loop, lambda: loop.begin(fails()).result())
