"""Geometry, presets and sizes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuse_scullv.params import (
    ORDER_MAX,
    PAGE_SIZE,
    PRESETS,
    QSET_MAX,
    QUANTUM_MAX,
    Geometry,
    Params,
    order_of,
    parse_size,
    quantum_of,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4k", 4096),
        ("64K", 65536),
        ("1M", 1 << 20),
        ("1 MiB", 1 << 20),
        ("2GB", 2 << 30),
        ("3t", 3 << 40),
        ("100b", 100),
    ],
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "4x", "-1", "1.5M", "4 096", "0x1000", "٤k", "4kk"])
def test_what_is_no_size_is_refused_in_one_line_that_says_what_to_type(text: str) -> None:
    with pytest.raises(ValueError, match="64K") as caught:
        parse_size(text)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("pages", "order"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5)]
)
def test_the_order_is_that_of_the_region_rounded_up(pages: int, order: int) -> None:
    assert order_of(pages * PAGE_SIZE) == order


def test_a_quantum_below_a_page_has_order_0() -> None:
    assert order_of(1) == order_of(PAGE_SIZE - 1) == 0
    assert Geometry(PAGE_SIZE - 1, 1).is_order is False
    assert Geometry(PAGE_SIZE, 1).is_order is True


@given(st.integers(0, ORDER_MAX))
def test_order_and_quantum_are_inverse(order: int) -> None:
    assert order_of(quantum_of(order)) == order
    assert quantum_of(order) == PAGE_SIZE << order


@given(st.integers(1, QUANTUM_MAX))
def test_the_region_of_any_quantum_is_the_fewest_pages_that_hold_it(quantum: int) -> None:
    geometry = Geometry(quantum, 1)
    assert 0 <= geometry.region_bytes - quantum < PAGE_SIZE
    assert geometry.region_bytes % PAGE_SIZE == 0
    assert geometry.region_bytes <= PAGE_SIZE << geometry.order < 2 * geometry.region_bytes


@pytest.mark.parametrize("quantum", [0, -1, QUANTUM_MAX + 1])
def test_a_quantum_out_of_range_is_refused(quantum: int) -> None:
    with pytest.raises(ValueError, match=f"quantum must be 1 to {QUANTUM_MAX} bytes, not"):
        Geometry(quantum, 1)


@pytest.mark.parametrize("qset", [0, -1, QSET_MAX + 1])
def test_a_qset_out_of_range_is_refused(qset: int) -> None:
    with pytest.raises(ValueError, match=f"qset must be 1 to {QSET_MAX}, not"):
        Geometry(1, qset)


@pytest.mark.parametrize("order", [-1, ORDER_MAX + 1])
def test_an_order_out_of_range_is_refused(order: int) -> None:
    with pytest.raises(ValueError, match=f"order must be 0 to {ORDER_MAX}, not"):
        Geometry(1, 1).with_order(order)


def test_the_largest_item_leaves_room_for_positions() -> None:
    largest = Geometry(QUANTUM_MAX, QSET_MAX)
    assert largest.item_bytes == QUANTUM_MAX * QSET_MAX
    assert largest.item_bytes < 2**63 // 1000


@pytest.mark.parametrize(
    ("name", "quantum", "qset", "magic"),
    [
        ("scullv", PAGE_SIZE << 4, 500, "K"),
        ("scullp", PAGE_SIZE, 500, "K"),
        ("scull", 4000, 1000, "k"),
    ],
)
def test_presets_are_the_books(name: str, quantum: int, qset: int, magic: str) -> None:
    preset = PRESETS[name]
    assert (preset.name, preset.geometry, preset.magic) == (name, Geometry(quantum, qset), magic)


def test_parameters_start_as_the_preset_save_for_what_is_given() -> None:
    assert Params.of().pending == PRESETS["scullv"].geometry
    assert Params.of("scullp", order=2).pending == Geometry(PAGE_SIZE << 2, 500)
    assert Params.of("scull", quantum=5000).pending == Geometry(5000, 1000)
    assert Params.of("scullv", qset=7).pending == Geometry(PAGE_SIZE << 4, 7)
    assert Params.of(ldd3=True).ldd3


def test_reset_goes_back_to_the_preset_not_to_what_the_server_started_with() -> None:
    started = Params.of("scullp", order=3, qset=9, ldd3=True)
    assert started.reset() == Params.of("scullp", ldd3=True)


@pytest.mark.parametrize(
    ("preset", "given_values", "message"),
    [
        ("scullx", {}, "no preset 'scullx': type one of scullv, scullp, scull"),
        ("scullv", {"order": 1, "quantum": 4096}, "an order and a quantum were given"),
        ("scullv", {"order": 99}, f"order must be 0 to {ORDER_MAX}, not 99"),
        ("scullv", {"quantum": 0}, "quantum must be 1 to"),
        ("scullv", {"qset": 0}, "qset must be 1 to"),
    ],
)
def test_bad_start_parameters_are_refused_in_one_line(
    preset: str, given_values: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Params.of(preset, **given_values)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_parameters_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Params.of().ldd3 = True  # type: ignore[misc]
