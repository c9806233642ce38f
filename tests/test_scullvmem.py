"""The scullvmem text, over a made-up device."""

from bisect import bisect_left
from itertools import islice

from cuse_scullv.params import PAGE_SIZE, Geometry
from cuse_scullv.scullvmem import LINES_MAX, NextQuantum, scullvmem

GEOMETRY = Geometry(PAGE_SIZE << 1, 3)


def quanta(numbers: list[int]) -> NextQuantum:
    """A device that has these quanta, each at the arena offset 0x10000 * its place + 0x1000."""

    def next_quantum(start: int) -> tuple[int, int] | None:
        place = bisect_left(numbers, start)
        return (numbers[place], place * 0x10000 + 0x1000) if place < len(numbers) else None

    return next_quantum


def text(numbers: list[int], size: int = 0, geometry: Geometry = GEOMETRY) -> str:
    return "".join(scullvmem(2, geometry, size, quanta(numbers)))


def test_an_empty_device_has_its_first_item_as_in_the_book() -> None:
    assert text([]) == "\nDevice 2: qset 3, order 1, sz 0\n  item at 0x0, qset at (null)\n"


def test_only_the_last_item_shows_its_quanta() -> None:
    assert text([0, 1, 3, 5], size=12345) == (
        "\n"
        "Device 2: qset 3, order 1, sz 12345\n"
        "  item at 0x0, qset at 0x1000\n"
        "  item at 0x6000, qset at 0x21000\n"
        "       0: 0x21000\n"
        "       2: 0x31000\n"
    )


def test_items_without_a_set_are_in_the_list_up_to_the_last_that_has_one() -> None:
    lines = text([7]).splitlines()
    assert lines[2:] == [
        "  item at 0x0, qset at (null)",
        "  item at 0x6000, qset at (null)",
        "  item at 0xc000, qset at 0x1000",
        "       1:  0x1000",
    ]


def test_a_quantum_that_no_order_describes_is_given_in_bytes() -> None:
    assert "Device 2: qset 1000, q 4000, sz 5\n" in text([0], 5, Geometry(4000, 1000))


def test_the_text_is_cut_and_says_so() -> None:
    lines = text([3 * LINES_MAX]).splitlines()
    assert len(lines) == LINES_MAX + 1
    assert lines[-1] == f"  cut after {LINES_MAX} lines"
    assert lines[-2].startswith("  item at ")


def test_a_text_of_exactly_the_most_lines_is_not_cut() -> None:
    lines = text(list(range(LINES_MAX - 3)), 0, Geometry(PAGE_SIZE, LINES_MAX)).splitlines()
    assert len(lines) == LINES_MAX
    assert "cut" not in lines[-1]


def test_lines_are_made_as_they_are_taken() -> None:
    asked = []

    def endless(start: int) -> tuple[int, int]:
        asked.append(start)
        return start, 0

    lines = list(islice(scullvmem(0, GEOMETRY, 0, endless), 5))
    assert len(lines) == 5
    assert len(asked) < 10
