"""The store against a model that is too simple to be wrong: bytes, and the set of quanta that have
memory."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cuse_scullv.params import Geometry
from cuse_scullv.store import Budget, Store

PAGE = 4096
LIMIT = 24 * PAGE
REACH = 40 * PAGE  # positions, bytes: more than the limit holds
QUANTA = (1000, PAGE, 4 * PAGE, 10_000)

# Positions and lengths that meet the edges of quanta more often than chance would.
positions = st.one_of(
    st.integers(0, REACH),
    st.builds(
        lambda quantum, number, off: max(0, quantum * number + off),
        st.sampled_from(QUANTA),
        st.integers(0, 8),
        st.sampled_from((-1, 0, 0, 0, 1)),
    ),
)
lengths = positions


class StoreModel(RuleBasedStateMachine):
    """`data`: the bytes; `present`: numbers of the quanta that have memory."""

    LIMIT = LIMIT

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(self.LIMIT)
        self.data = bytearray()
        self.present: set[int] = set()
        self.seed = 0

    @initialize(quantum=st.sampled_from(QUANTA))
    def make(self, quantum: int) -> None:
        self.quantum = quantum
        self.store = self.made(Geometry(quantum, 4))

    def made(self, geometry: Geometry) -> Store:
        return Store(self.budget, geometry.quantum, geometry.qset)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            assert self.budget.used == 0

    # --- the model's arithmetic

    @property
    def region_bytes(self) -> int:
        return -(-self.quantum // PAGE) * PAGE

    @property
    def room(self) -> int:
        """Quanta that the limit still allows."""
        return self.LIMIT // self.region_bytes - len(self.present)

    def touched(self, start: int, end: int) -> range:
        return range(start // self.quantum, -(-end // self.quantum))

    def grow(self, end: int) -> None:
        self.data.extend(bytes(max(0, end - len(self.data))))

    def is_data(self, position: int) -> bool:
        return position // self.quantum in self.present

    # --- what can be done

    @rule(offset=positions, length=lengths)
    def write(self, offset: int, length: int) -> None:
        self.seed += 1
        data = (self.seed * 0x9E3779B97F4A7C15 % 2**64 | 1).to_bytes(8, "little")
        data = (data * (length // 8 + 1))[:length]
        fits, room = length, self.room
        for number in self.touched(offset, offset + length) if length else ():
            if number in self.present:
                continue
            if room == 0:
                fits = max(0, number * self.quantum - offset)
                break
            room -= 1
        if length and not fits:
            with pytest.raises(OSError) as raised:
                self.store.write(offset, data)
            assert raised.value.errno == errno.ENOSPC
            return
        assert self.store.write(offset, data) == fits
        if fits:
            self.grow(offset + fits)
            self.data[offset : offset + fits] = data[:fits]
            self.present.update(self.touched(offset, offset + fits))

    @rule(offset=positions, length=lengths)
    def read(self, offset: int, length: int) -> None:
        assert self.store.read(offset, length) == self.data[offset : offset + length]

    @rule(offset=positions, length=lengths)
    def punch(self, offset: int, length: int) -> None:
        self.store.punch(offset, length)
        end = offset + length
        self.data[offset:end] = bytes(max(0, min(end, len(self.data)) - offset))
        self.present -= {
            number
            for number in self.present
            if offset <= number * self.quantum
            # A range that reaches the size covers the rest of the last quantum as well.
            and (
                end >= (number + 1) * self.quantum or len(self.data) <= end > number * self.quantum
            )
        }

    @rule(size=positions)
    def resize(self, size: int) -> None:
        self.store.resize(size)
        if size < len(self.data):
            self.present -= {n for n in self.present if n * self.quantum >= size}
        del self.data[size:]
        self.grow(size)

    @rule(offset=positions, length=lengths, keep_size=st.booleans())
    def allocate(self, offset: int, length: int, keep_size: bool) -> None:
        wanted = set(self.touched(offset, offset + length)) if length else set()
        if len(wanted - self.present) > self.room:
            with pytest.raises(OSError) as raised:
                self.store.allocate(offset, length, keep_size=keep_size)
            assert raised.value.errno == errno.ENOSPC
            return
        self.store.allocate(offset, length, keep_size=keep_size)
        self.present |= wanted
        if length and not keep_size:
            self.grow(offset + length)

    @rule(quantum=st.sampled_from(QUANTA))
    def trim(self, quantum: int) -> None:
        self.store.trim(quantum, 4)
        self.quantum = quantum
        self.data.clear()
        self.present.clear()

    @rule(offset=positions, hole=st.booleans())
    def seek(self, offset: int, hole: bool) -> None:
        seek = self.store.seek_hole if hole else self.store.seek_data
        edges = [offset, *(n * self.quantum for n in self.touched(offset, len(self.data)))]
        found = [
            edge
            for edge in edges
            if offset <= edge < len(self.data) and self.is_data(edge) is not hole
        ]
        if hole and offset < len(self.data):
            found.append(len(self.data))
        if found:
            assert seek(offset) == found[0]
        else:
            with pytest.raises(OSError) as raised:
                seek(offset)
            assert raised.value.errno == errno.ENXIO

    # --- what always holds

    @invariant()
    def the_store_is_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        info = self.store.info()
        assert (info.size, info.quantum) == (len(self.data), self.quantum)
        assert [number for number, _ in self.store.quanta()] == sorted(self.present)
        self.check_budget()
        assert self.store.read(0, len(self.data) + 1) == self.data

    def check_budget(self) -> None:
        assert self.budget.used == len(self.present) * self.region_bytes


class FileStoreModel(StoreModel):
    """The same of a file in memory, which has memory by pages: no quantum meets the limit here."""

    LIMIT = 1 << 30

    def made(self, geometry: Geometry) -> Store:
        return Store.of_file(self.budget, geometry, os.memfd_create("model"), limited=True)

    def check_budget(self) -> None:
        assert self.budget.used == self.store.info().resident


class MapStoreModel(FileStoreModel):
    """A file that others keep a limit for, and that begins with something else."""

    BEFORE = 12345

    def made(self, geometry: Geometry) -> Store:
        fd = os.memfd_create("model")
        os.pwrite(fd, b"b" * self.BEFORE, 0)
        self.file = os.dup(fd)
        return Store.of_file(self.budget, geometry, fd, offset=self.BEFORE)

    def check_budget(self) -> None:
        assert os.pread(self.file, self.BEFORE, 0) == b"b" * self.BEFORE

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "file"):
            os.close(self.file)


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(deadline=None, stateful_step_count=40)
TestFileStoreModel = FileStoreModel.TestCase
TestFileStoreModel.settings = settings(deadline=None, stateful_step_count=40)
TestMapStoreModel = MapStoreModel.TestCase
TestMapStoreModel.settings = settings(deadline=None, stateful_step_count=40)
