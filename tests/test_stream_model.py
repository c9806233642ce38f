"""Whatever clients do, a device is a stream of bytes: a bytearray says what it must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuse_scullv import ioctl
from cuse_scullv.ioctl import NUMBERS
from nodes import Serve, Served, info, seek

EXTENT = 300_000  # bytes that the operations range over
FILES = 3

lengths = st.one_of(
    st.integers(0, 40),
    st.integers(0, 20_000),
    st.sampled_from([4096, 8192, 65536, 131072, 200_000]),
)
places = st.one_of(st.integers(0, EXTENT), st.sampled_from([4096 * n for n in range(40)]))
files = st.integers(0, FILES - 1)
operations = st.one_of(
    st.tuples(st.just("read"), files, lengths),
    st.tuples(st.just("write"), files, lengths, st.integers(0, 255)),
    st.tuples(st.just("seek"), files, places),
    st.tuples(st.just("seek_end"), files, st.integers(-100, 5000)),
    st.tuples(st.just("punch"), files, places, st.integers(1, 100_000)),
    st.tuples(st.just("trim"), files),
    st.tuples(st.just("open_trim")),
    st.tuples(st.just("reopen"), files),
    st.tuples(st.just("geometry"), files, st.sampled_from([1, 700, 4000, 4096, 65536]), places),
)


@dataclass
class Model:
    """What the device must hold, and where its open files are."""

    data: bytearray = field(default_factory=bytearray)
    position: list[int] = field(default_factory=lambda: [0] * FILES)

    def read(self, file: int, length: int) -> bytes:
        start = self.position[file]
        piece = bytes(self.data[start : start + length])
        self.position[file] += len(piece)
        return piece

    def write(self, file: int, piece: bytes) -> None:
        start = self.position[file]
        if piece:
            self.data += bytes(max(start - len(self.data), 0))
            self.data[start : start + len(piece)] = piece
        self.position[file] += len(piece)

    def punch(self, start: int, length: int) -> None:
        end = min(start + length, len(self.data))
        if start < end:
            self.data[start:end] = bytes(end - start)


def content(length: int, seed: int) -> bytes:
    block = bytes((seed + i * 13 + 1) & 0xFF for i in range(509))
    return (block * (length // len(block) + 1))[:length]


def play(served: Served, steps: list[tuple[Any, ...]]) -> None:
    """Does `steps` on device and model, and compares what clients see."""
    opened = [served.open() for _ in range(FILES)]
    model = Model()
    try:
        opened[0].ioctl(NUMBERS["SCULLV_IOCRESET"])
        opened[0].ioctl(NUMBERS["SCULLV_IOCTORDER"], 0)
        opened[0].ioctl(ioctl.TRIM)
        for name, *arguments in steps:
            step(served, opened, model, name, *arguments)
            state = info(opened[0])
            assert state.size == len(model.data)
        seek(opened[0], 0)
        assert opened[0].read(len(model.data) + 1) == model.data
    finally:
        for file in opened:
            file.close()


def step(
    served: Served, opened: list[Any], model: Model, name: str, file: int = 0, *arguments: int
) -> None:
    match name, *arguments:
        case "read", length:
            assert opened[file].read(length) == model.read(file, length)
        case "write", length, seed:
            assert opened[file].write(content(length, seed)) == length
            model.write(file, content(length, seed))
        case "seek", place:
            assert seek(opened[file], place) == place
            model.position[file] = place
        case "seek_end", offset:
            if len(model.data) + offset >= 0:
                model.position[file] = len(model.data) + offset
                assert seek(opened[file], offset, os.SEEK_END) == model.position[file]
        case "punch", start, length:
            opened[file].ioctl(ioctl.PUNCH, ioctl.pack_range(start, length))
            model.punch(start, length)
        case ("trim",):
            opened[file].ioctl(ioctl.TRIM)
            model.data.clear()
        case ("open_trim",):
            served.open(os.O_WRONLY).close()
            model.data.clear()
        case ("reopen",):
            opened[file].close()
            opened[file] = served.open()
            model.position[file] = 0
        case "geometry", quantum, qset:
            opened[file].ioctl(NUMBERS["SCULL_IOCTQUANTUM"], quantum)
            opened[file].ioctl(NUMBERS["SCULL_IOCTQSET"], qset % 50 + 1)
        case _:
            raise AssertionError(name)


COMMON = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(suppress_health_check=COMMON, max_examples=150)
@given(steps=st.lists(operations, max_size=40))
def test_a_device_is_a_stream_of_bytes(serve_fake: Serve, steps: list[tuple[Any, ...]]) -> None:
    served = getattr(serve_fake, "kept", None) or serve_fake()
    serve_fake.kept = served  # type: ignore[attr-defined]
    play(served, steps)


@pytest.mark.real
@settings(suppress_health_check=COMMON, max_examples=60)
@given(steps=st.lists(operations, max_size=40))
def test_a_real_node_is_a_stream_of_bytes(node: Served, steps: list[tuple[Any, ...]]) -> None:
    play(node, steps)
