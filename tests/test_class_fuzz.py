"""Whatever numbers and bytes a client throws at a device class: one answer each, and no fault.

A class joins by a function in DEVICES that makes a device of it, of which nothing waits for long
where the file is O_NONBLOCK. The fake kernel fails the test for an answer too few or too many, the
log for an exception that no method meant."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cuse_scullv import cuse
from cuse_scullv.classes import random, rtc, rtc_uapi, watchdog
from cuse_scullv.cuse import testing

ROOM = 128
"""Bytes that a pointer has behind it at least, as a rule: more than any of the structs."""


class Dog(watchdog.Watchdog):
    def expired(self) -> None:
        pass


class Clock(rtc.Clock):
    """Stands still."""

    voltage_low = rtc.VoltageLow.BACKUP_LOW
    epoch = 1900
    now = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)

    def get(self) -> datetime.datetime:
        return self.now

    def set(self, moment: datetime.datetime) -> None:
        self.now = moment

    def permits(self, file: cuse.File, capability: int) -> bool:
        return True


class Source(random.Generator):
    def bytes(self, n: int) -> bytes:
        return bytes(n)

    def permits(self, file: cuse.File, capability: int) -> bool:
        return True


class Whole(cuse.Device):
    """Gets system calls in one piece (whole.py), and gives back the last."""

    transfers = "whole"
    last = b""

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.last = bytes(data)

    def read(self, file: cuse.File, size: int) -> bytes:
        return self.last[:size]

    @cuse.ioctl(cuse.IOWR("W", 1, 16))
    def swap(self, file: cuse.File, data: bytes) -> bytes:
        return data[::-1]


def rtc_time(moment: datetime.datetime) -> bytes:
    return bytes(rtc_uapi.to_time(moment))


moments = st.datetimes(datetime.datetime(1970, 1, 1)).map(rtc_time)

DEVICES: list[tuple[Callable[[], cuse.Device], st.SearchStrategy[bytes]]] = [
    (lambda: Dog("watchdog"), st.nothing()),
    (lambda: Clock("rtc"), st.one_of(moments, moments.map(lambda time: b"\1\0\0\0" + time))),
    (lambda: Source("random", entropy=0), st.nothing()),
    (lambda: Whole("whole"), st.nothing()),
]
"""With content that its ioctls take, where such is seldom met by chance."""

INTS = (-(2**31), -1, 0, 1, 2, 4, 11, 12, 23, 31, 59, 60, 70, 124, 256, 8099, 8100, 2**31 - 1)
contents = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(INTS), max_size=12).map(
        lambda some: struct.pack(f"={len(some)}i", *some)
    ),
)
numbers = st.one_of(st.sampled_from(INTS[2:]), st.integers(0, 2**64 - 1))


@dataclass(frozen=True)
class Call:
    """A system call; the argument of an ioctl is a number, or content for it to point to."""

    kind: str
    command: int
    argument: int | bytes
    compat: bool

    def make(self, kernel: testing.FakeKernel, file: testing.FakeFile) -> None:
        content = self.argument if isinstance(self.argument, bytes) else b"-"
        if self.kind == "read":
            file.read(len(content))
        elif self.kind == "write":
            file.write(content)
        elif self.kind == "poll":
            file.poll()
        elif isinstance(self.argument, int):
            file.ioctl(self.command, self.argument, compat=self.compat)
        else:
            pointer = kernel.memory.alloc(content, compat=self.compat)
            file.ioctl(self.command, pointer, compat=self.compat)


def calls(device: cuse.Device, content: st.SearchStrategy[bytes]) -> st.SearchStrategy[Call]:
    """ioctls that the device knows, some that are like them, and any; and what else there is."""
    known = st.sampled_from(sorted(map(int, type(device)._ioctls)))
    like = st.builds(lambda number, bit: number ^ 1 << bit, known, st.integers(0, 31))
    whole = st.one_of(contents, content).map(lambda some: some.ljust(ROOM, b"\0"))
    return st.builds(
        Call,
        st.sampled_from(["ioctl"] * 9 + ["read", "write", "poll"]),
        st.one_of(known, known, known, like, st.integers(0, 2**32 - 1)),
        st.one_of(whole, whole, whole, contents, numbers),
        st.booleans(),
    )


@pytest.mark.parametrize(("make", "content"), DEVICES, ids=[make().name for make, _ in DEVICES])
def test_each_call_has_one_answer_and_none_is_a_fault(
    make: Callable[[], cuse.Device],
    content: st.SearchStrategy[bytes],
    cuse_log: list[logging.LogRecord],
) -> None:
    @given(st.lists(calls(make(), content), min_size=1, max_size=30))
    def throw(all_calls: list[Call]) -> None:
        with testing.serve(make()) as kernel, kernel.open(os.O_RDWR | os.O_NONBLOCK) as file:
            for call in all_calls:
                with contextlib.suppress(OSError):
                    call.make(kernel, file)
                assert not cuse_log, (call, cuse_log[0].getMessage(), cuse_log[0].exc_info)

    throw()
