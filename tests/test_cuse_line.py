"""Queue and Semaphore are fair: the order of those who wait, against a model of it."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cuse_scullv import cuse
from cuse_scullv.cuse import testing
from cuse_scullv.cuse.line import Line, Place
from nodes import RealFile, until

NAME = "cuseline"


# --- the order ----------------------------------------------------------------------------------


class Client:
    """An open file, of which only the line knows."""

    nonblocking = False

    def __init__(self) -> None:
        self.wakes = 0

    def notify(self) -> None:
        self.wakes += 1

    def _at_end(self, call: Callable[[Any], object]) -> None:
        pass


class Wait:
    """What the model knows of one that waits in a handler."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.place: Place[int] | None = None
        self.woken = False


class LineModel(RuleBasedStateMachine):
    """The line is a list: who came first is first; what is said of polling is said here."""

    FILES = 3

    @initialize()
    def begin(self) -> None:
        self.clock: list[Callable[[], object]] = []
        self.line = Line[int](after=lambda seconds, call: self.clock.append(call))
        self.files = [Client() for _ in range(self.FILES)]
        self.made = 0
        self.free: list[int] = []
        self.waiting: list[Wait | int] = []  # in order; an int: this file polls
        self.reserved: dict[int, Callable[[], object]] = {}  # and what makes it lapse
        self.idle: set[int] = set()
        self.handed: list[Wait] = []
        self.taken: list[int] = []
        self.wakes = [0] * self.FILES

    # --- the model

    def has_free(self) -> bool:
        return len(self.free) > len(self.reserved)

    def expect(self) -> None:
        """Units go to those who are first."""
        booked: list[int] = []
        while self.waiting and self.has_free():
            first = self.waiting.pop(0)
            if isinstance(first, int):
                self.wakes[first] += 1
                if first in self.idle:
                    continue
                mine = [w for w in self.waiting if isinstance(w, Wait) and w.file == first]
                if not mine:
                    self.reserved[first] = lambda: None  # until its clock is known
                    booked.append(first)
                    continue
                first = mine[0]
                self.waiting.remove(first)
            self.free.pop(0)
            self.handed.append(first)
        self.booked = booked

    def clocks(self) -> None:
        """What was booked is in the order of the calls to the clock."""
        assert len(self.clock) == len(self.booked)
        for file, lapse in zip(self.booked, self.clock, strict=True):
            self.reserved[file] = lapse
        self.clock.clear()

    # --- what happens

    @rule(n=st.integers(1, 3))
    def put(self, n: int) -> None:
        units = list(range(self.made, self.made + n))
        self.made += n
        self.free += units
        self.expect()
        self.line.add(units)
        self.clocks()

    @rule(n=st.integers(1, 3))
    def withdraw(self, n: int) -> None:
        """Reserved ones too: who comes for his finds none."""
        units = [self.free.pop() for _ in range(min(n, len(self.free)))]
        assert self.line.withdraw(n) == units
        self.taken += units

    @rule(file=st.integers(0, FILES - 1))
    def try_take(self, file: int) -> None:
        self.idle.discard(file)
        may = bool(self.free) and (file in self.reserved or self.has_free())
        self.reserved.pop(file, None)
        unit = self.line.try_take(self.files[file])
        assert bool(unit) is may
        if may:
            assert unit == [self.free.pop(0)]
            self.taken += unit

    @rule(file=st.integers(0, FILES - 1))
    def block(self, file: int) -> None:
        if self.has_free() or file in self.reserved:
            return  # take() would not enter
        wait = Wait(file)
        self.waiting.append(wait)

        def wake() -> None:
            wait.woken = True

        wait.place = self.line.enter(self.files[file], wake)

    @rule(file=st.integers(0, FILES - 1))
    def poll(self, file: int) -> None:
        ready = file in self.reserved or self.has_free()
        assert self.line.poll(self.files[file]) is ready
        if not ready and file not in self.waiting:
            self.waiting.append(file)

    @precondition(lambda self: self.handed)
    @rule(takes=st.booleans(), data=st.data())
    def go_on(self, takes: bool, data: st.DataObject) -> None:
        """A handler whose turn it is goes on, or was interrupted at the same time."""
        wait = data.draw(st.sampled_from(self.handed))
        assert wait.place is not None
        unit = wait.place.handed[0]
        self.handed.remove(wait)
        if takes:
            self.taken.append(unit)
            assert self.line.leave(wait.place, True) == [unit]
            return
        self.free.insert(0, unit)
        self.expect()
        assert self.line.leave(wait.place, False) == []
        self.clocks()

    @precondition(lambda self: any(isinstance(one, Wait) for one in self.waiting))
    @rule(data=st.data())
    def interrupt(self, data: st.DataObject) -> None:
        wait = data.draw(st.sampled_from([one for one in self.waiting if isinstance(one, Wait)]))
        self.waiting.remove(wait)
        assert wait.place is not None
        assert self.line.leave(wait.place, False) == []

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(sorted(self.reserved)))
        lapse = self.reserved.pop(file)
        self.idle.add(file)
        self.expect()
        lapse()
        self.clocks()
        lapse()  # of a reservation that is none any more
        assert not self.clock

    @rule(file=st.integers(0, FILES - 1))
    def release(self, file: int) -> None:
        self.idle.discard(file)
        self.reserved.pop(file, None)
        self.waiting = [one for one in self.waiting if one != file]
        self.expect()
        self.line.forget(self.files[file])
        self.clocks()

    # --- what holds

    @invariant()
    def no_unit_is_lost_and_none_is_there_twice(self) -> None:
        if not hasattr(self, "line"):
            return
        left = self.line.units()
        assert sorted(left + self.taken) == list(range(self.made))

    @invariant()
    def those_whose_turn_it_is_are_woken_and_no_others(self) -> None:
        if not hasattr(self, "line"):
            return
        assert all(wait.woken and wait.place and wait.place.handed for wait in self.handed)
        waiting = [wait for wait in self.waiting if isinstance(wait, Wait)]
        assert not any(wait.woken for wait in waiting)
        assert [file.wakes for file in self.files] == self.wakes

    @invariant()
    def nobody_waits_where_a_unit_is_free(self) -> None:
        if hasattr(self, "line"):
            assert not (self.waiting and self.has_free())


TestTheOrder = LineModel.TestCase
TestTheOrder.settings = settings(max_examples=200, stateful_step_count=40)


# --- through a device ---------------------------------------------------------------------------


class Tokens(cuse.Device):
    """A jobserver: read takes tokens, write gives some back."""

    def __init__(self, value: int, *, reserve: float = 30.0, **settings: Any) -> None:
        super().__init__(NAME, **settings)
        self.tokens = cuse.Semaphore(value, reserve=reserve)

    def read(self, file: cuse.File, size: int) -> bytes:
        self.tokens.acquire(file)
        return b"+"

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.tokens.release(len(data))

    def poll(self, file: cuse.File) -> int:
        return select.POLLOUT | (select.POLLIN if self.tokens.poll(file) else 0)


class AsyncTokens(Tokens):
    async def read(self, file: cuse.File, size: int) -> bytes:
        await self.tokens.acquire_async(file)
        return b"+"

    async def write(self, file: cuse.File, data: memoryview) -> None:
        self.tokens.release(len(data))

    async def poll(self, file: cuse.File) -> int:
        return super().poll(file)


KINDS = pytest.mark.parametrize("kind", [Tokens, AsyncTokens])
Serve = Callable[..., testing.FakeKernel]


def blocked(device: Tokens) -> int:
    return len(device.tokens._line._places)


@KINDS
def test_blocked_readers_are_served_in_their_order(cuse_device: Serve, kind: type[Tokens]) -> None:
    device = kind(0)
    kernel = cuse_device(device)
    calls = []
    for number in range(5):
        calls.append(kernel.start(kernel.open().read, 1))
        until(lambda number=number: blocked(device) == number + 1)
    giver = kernel.open()
    for call in calls:
        assert not call.wait(0.02)
        giver.write(b"+")
        assert call.result() == b"+"
    assert device.tokens.value == 0


@KINDS
def test_who_polls_gets_its_turn_beside_blocked_readers(
    cuse_device: Serve, kind: type[Tokens]
) -> None:
    device = kind(0)
    kernel = cuse_device(device)
    poller = kernel.open(os.O_RDWR | os.O_NONBLOCK)
    first = kernel.start(kernel.open().read, 1)
    until(lambda: blocked(device) == 1)
    polling = kernel.start(poller.poll, select.POLLIN, None)
    until(lambda: blocked(device) == 2)
    later = [kernel.start(kernel.open().read, 1) for _ in range(3)]
    until(lambda: blocked(device) == 5)
    giver = kernel.open()
    giver.write(b"+")
    assert first.result() == b"+"
    giver.write(b"+")
    assert polling.result() == select.POLLIN
    assert not any(call.wait(0.01) for call in later)
    assert poller.read(1) == b"+"
    with pytest.raises(BlockingIOError):
        poller.read(1)
    giver.write(b"+++")
    assert [call.result() for call in later] == [b"+"] * 3


@KINDS
def test_a_reservation_that_is_not_used_is_the_next_ones(
    cuse_device: Serve, kind: type[Tokens]
) -> None:
    device = kind(0, reserve=0.05)
    kernel = cuse_device(device)
    watcher = kernel.open(os.O_RDWR | os.O_NONBLOCK)
    polling = kernel.start(watcher.poll, select.POLLIN, None)
    until(lambda: blocked(device) == 1)
    call = kernel.start(kernel.open().read, 1)
    until(lambda: blocked(device) == 2)
    kernel.open().write(b"+")
    assert polling.result() == select.POLLIN
    assert call.result() == b"+"  # 0.05 s later
    assert watcher.poll(select.POLLIN) == 0
    # One that only looks keeps nobody waiting again.
    started = time.monotonic()
    device.tokens._line._reserve = 3600.0
    call = kernel.start(kernel.open().read, 1)
    until(lambda: blocked(device) == 2)
    kernel.open().write(b"+")
    assert call.result() == b"+"
    assert time.monotonic() - started < 60


@KINDS
def test_a_file_that_is_closed_gives_up_its_turn(cuse_device: Serve, kind: type[Tokens]) -> None:
    device = kind(0)
    kernel = cuse_device(device)
    gone, waiting = kernel.open(), kernel.open()
    assert gone.poll(select.POLLIN) == 0
    call = kernel.start(waiting.read, 1)
    until(lambda: blocked(device) == 2)
    kernel.open().write(b"+")  # reserved for who polls
    assert not call.wait(0.02)
    gone.close()
    assert call.result() == b"+"
    line = device.tokens._line
    assert not any((line._places, line._polling, line._reserved, line._idle, line._handed))


@KINDS
def test_an_interrupted_reader_loses_its_place_and_no_token(
    cuse_device: Serve, kind: type[Tokens]
) -> None:
    device = kind(0)
    kernel = cuse_device(device)
    one, other = (kernel.start(kernel.open().read, 1) for _ in range(2))
    until(lambda: blocked(device) == 2)
    one.interrupt()
    with pytest.raises(InterruptedError):
        one.result()
    kernel.open().write(b"+")
    assert other.result() == b"+"
    assert device.tokens.value == 0


@KINDS
def test_interrupts_and_tokens_that_race_lose_no_token(
    cuse_device: Serve, kind: type[Tokens]
) -> None:
    device = kind(0)
    kernel = cuse_device(device)
    giver = kernel.open()
    got = 0
    for _ in range(100):
        call = kernel.start(kernel.open().read, 1)
        until(lambda: blocked(device) == 1)
        writing = threading.Thread(target=giver.write, args=(b"+",))
        writing.start()
        call.interrupt()
        with suppress(InterruptedError):
            got += len(call.result())
        writing.join()
        if device.tokens.value:  # it was the interrupt
            got += len(kernel.open().read(1))
    assert got == 100
    assert device.tokens.value == 0


@pytest.mark.logs_errors
@KINDS
def test_a_deadline_ends_the_wait(cuse_device: Serve, kind: type[Tokens]) -> None:
    device = kind(0, timeout=0.05)
    kernel = cuse_device(device)
    with pytest.raises(TimeoutError):
        kernel.open().read(1)
    until(lambda: blocked(device) == 0)
    kernel.open().write(b"+")
    assert device.tokens.value == 1


@KINDS
def test_nonblocking_readers_do_not_wait(cuse_device: Serve, kind: type[Tokens]) -> None:
    device = kind(1)
    kernel = cuse_device(device)
    file = kernel.open(os.O_RDWR | os.O_NONBLOCK)
    assert file.poll(select.POLLIN) == select.POLLIN
    assert file.read(1) == b"+"
    with pytest.raises(BlockingIOError):
        file.read(1)
    assert blocked(device) == 0


@KINDS
def test_the_end_of_the_device_ends_the_waits(kind: type[Tokens]) -> None:
    device = kind(0)
    with testing.serve(device) as kernel:
        call = kernel.start(kernel.open().read, 1)
        until(lambda: blocked(device) == 1)
    with pytest.raises(OSError) as caught:
        call.result()
    assert caught.value.errno in (errno.ENODEV, errno.ECONNABORTED)


class Messages(cuse.Device):
    def __init__(self) -> None:
        super().__init__(NAME)
        self.messages = cuse.Queue([b"zero"])

    def read(self, file: cuse.File, size: int) -> bytes:
        return self.messages.get(file, timeout=0.05)[:size]

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.messages.put(bytes(data))

    def poll(self, file: cuse.File) -> int:
        return select.POLLIN if self.messages.poll(file) else 0


class AsyncMessages(Messages):
    async def read(self, file: cuse.File, size: int) -> bytes:
        return (await self.messages.get_async(file, timeout=0.05))[:size]


@pytest.mark.parametrize("kind", [Messages, AsyncMessages])
def test_a_queue_has_its_items_in_order(cuse_device: Serve, kind: type[Messages]) -> None:
    device = kind()
    file = cuse_device(device).open()
    file.write(b"one")
    file.write(b"two")
    assert len(device.messages) == 3
    assert [file.read(9) for _ in range(3)] == [b"zero", b"one", b"two"]
    assert file.poll(select.POLLIN) == 0
    with pytest.raises(TimeoutError):
        file.read(9)
    device.messages.items = [b"three"]
    assert device.messages.items == [b"three"]
    assert file.read(9) == b"three"


def test_what_a_handler_was_handed_is_kept_until_it_goes_on() -> None:
    line = Line[str]()
    place = line.enter(Client(), lambda: None)
    line.add(["unit"])
    assert place.handed == line.units() == ["unit"]
    assert line.leave(place, True) == ["unit"]
    assert line.units() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: cuse.Semaphore(-1),
        lambda: cuse.Semaphore().release(-1),
        lambda: cuse.Semaphore(reserve=-1),
        lambda: cuse.Queue(reserve=-0.5),
    ],
)
def test_what_cannot_be_is_a_value_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


def test_a_semaphore_has_as_many_tokens_as_it_was_given() -> None:
    tokens = cuse.Semaphore(3)
    tokens.release(2)
    assert tokens.value == 5
    tokens.value = 1
    assert tokens.value == 1


def test_a_coroutine_waits_outside_of_handlers_too() -> None:
    tokens = cuse.Semaphore(0)
    client: Any = Client()

    async def wait() -> tuple[bool, bool]:
        late = await tokens.acquire_async(client, timeout=0.01)
        asyncio.get_running_loop().call_later(0.01, tokens.release)
        return late, await tokens.acquire_async(client)

    assert asyncio.run(wait()) == (False, True)


@pytest.fixture
def node() -> Iterator[Callable[[cuse.Device], Callable[[int], RealFile]]]:
    with ExitStack() as stack:

        def serve(device: cuse.Device) -> Callable[[int], RealFile]:
            path = stack.enter_context(cuse.Channel(device)).path
            assert path is not None
            return lambda flags: stack.enter_context(RealFile(path, flags))

        yield serve


@pytest.mark.real
@KINDS
def test_who_polls_is_not_starved_on_a_real_node(node: Any, kind: type[Tokens]) -> None:
    """Eight readers that block take every token at once, and give it back; one polls."""
    device = kind(1, reserve=5.0)
    open_file = node(device)
    stop = threading.Event()
    rounds = [0] * 8

    def read(number: int) -> None:
        file = open_file(os.O_RDWR)
        while not stop.is_set():
            file.read(1)
            rounds[number] += 1
            file.write(b"+")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    poller = open_file(os.O_RDWR | os.O_NONBLOCK)
    waiter = select.poll()
    waiter.register(poller.fd, select.POLLIN)
    got = tried = 0
    while got < 20:
        assert waiter.poll(60_000)
        tried += 1
        try:
            got += len(poller.read(1))
        except BlockingIOError:
            continue
        poller.write(b"+")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert tried <= 2 * got + 2  # told when a token was free, or it was reserved
    assert min(rounds) > 0
    assert device.tokens.value == 1
