"""What each ioctl answers, by the pure table alone."""

import errno
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuse_scullv import ioctl
from cuse_scullv.ioctl import Answer, Request, decide
from cuse_scullv.params import ORDER_MAX, PAGE_SIZE, QSET_MAX, QUANTUM_MAX, Geometry, Params

INT = struct.Struct("=i")
START = Params().with_pending(Geometry(PAGE_SIZE << 2, 7))
FIELDS = ("ORDER", "QUANTUM", "QSET")
CHANGING = "STXH"


def commands(way: str) -> list[tuple[int, str]]:
    """The commands of one way, with the field each has: (number, field)."""
    return [
        (number, name.split("_IOC")[1][1:])
        for name, number in ioctl.NUMBERS.items()
        if name.split("_IOC")[1][0] == way and name.split("_IOC")[1][1:] in FIELDS
    ]


def value_of(params: Params, field: str) -> int:
    pending = params.pending
    return {"ORDER": pending.order, "QUANTUM": pending.quantum, "QSET": pending.qset}[field]


def made(number: int, value: int = 0, *, writable: bool = True, admin: bool = False) -> Request:
    """A request with `value` in the way the command takes one."""
    return Request(
        number,
        arg=value & 0xFFFFFFFFFFFFFFFF,
        data=INT.pack(value) if number >> 30 & 1 else b"",
        writable=writable,
        is_admin=lambda: admin,
    )


def answer_to(request: Request, params: Params = START) -> Answer:
    answer = decide(request, params)
    assert isinstance(answer, Answer)
    return answer


def refusal_of(request: Request, params: Params = START) -> int | None:
    """The errno that the request is refused with."""
    with pytest.raises(OSError) as caught:
        decide(request, params)
    return caught.value.errno


def test_every_way_has_a_command_for_each_field_of_each_family() -> None:
    for way in "STGQXH":
        assert sorted(field for _, field in commands(way)) == ["ORDER", "QSET", "QSET", "QUANTUM"]
    assert len(ioctl.BOOK) == 26
    assert len(set(ioctl.NUMBERS.values())) == len(ioctl.NUMBERS) == 33


@pytest.mark.parametrize("way", "STXH")
def test_changing_commands_change_their_field_and_no_other(way: str) -> None:
    for number, field in commands(way):
        changed = answer_to(made(number, 3)).params
        assert value_of(changed, field) == 3
        for other in ("ORDER", "QUANTUM") if field == "QSET" else ("QSET",):
            assert value_of(changed, other) == value_of(START, other)
        assert (changed.preset, changed.ldd3) == (START.preset, START.ldd3)


@pytest.mark.parametrize(
    ("way", "tells_by"), [*zip("STGQXH", ["", "", "out", "ret", "out", "ret"], strict=True)]
)
def test_the_old_value_comes_back_where_the_letter_says(way: str, tells_by: str) -> None:
    for number, field in commands(way):
        answer = answer_to(made(number, 3))
        old = value_of(START, field)
        assert answer.result == (old if tells_by == "ret" else 0)
        assert answer.data == (INT.pack(old) if tells_by == "out" else b"")


@pytest.mark.parametrize("way", "GQ")
def test_asking_changes_nothing_and_needs_no_rights(way: str) -> None:
    for number, _ in commands(way):
        assert answer_to(made(number, writable=False)).params == START


@pytest.mark.parametrize("way", CHANGING)
def test_a_bad_value_is_einval_and_nothing_changes(way: str) -> None:
    bad = {
        "ORDER": (-1, ORDER_MAX + 1, 2**31 - 1, -(2**31)),
        "QUANTUM": (0, -1, QUANTUM_MAX + 1, -(2**31)),
        "QSET": (0, -1, QSET_MAX + 1, -(2**31)),
    }
    for number, field in commands(way):
        for value in bad[field]:
            assert refusal_of(made(number, value)) == errno.EINVAL


@pytest.mark.parametrize("way", CHANGING)
def test_the_ends_of_every_range_are_taken(way: str) -> None:
    ends = {"ORDER": (0, ORDER_MAX), "QUANTUM": (1, QUANTUM_MAX), "QSET": (1, QSET_MAX)}
    for number, field in commands(way):
        for value in ends[field]:
            assert value_of(answer_to(made(number, value)).params, field) == value


def test_an_argument_by_value_is_an_int_whatever_the_upper_half_holds() -> None:
    for number, field in commands("T"):
        request = Request(number, arg=0xDEADBEEF_00000003)
        answer = decide(request, START)
        assert isinstance(answer, Answer)
        assert value_of(answer.params, field) == 3


def test_order_and_quantum_are_one_setting() -> None:
    assert (
        answer_to(made(ioctl.NUMBERS["SCULLV_IOCTORDER"], 5)).params.pending.quantum
        == PAGE_SIZE << 5
    )
    odd = answer_to(made(ioctl.NUMBERS["SCULL_IOCTQUANTUM"], 2 * PAGE_SIZE + 1)).params
    assert answer_to(made(ioctl.NUMBERS["SCULLV_IOCQORDER"]), odd).result == 2
    assert answer_to(made(ioctl.NUMBERS["SCULL_IOCQQUANTUM"]), odd).result == 2 * PAGE_SIZE + 1


@pytest.mark.parametrize("preset", ["scullv", "scullp", "scull"])
def test_reset_of_either_family_brings_back_the_presets_values(preset: str) -> None:
    params = Params.of(preset, qset=3)
    for name in ("SCULLV_IOCRESET", "SCULL_IOCRESET"):
        assert answer_to(made(ioctl.NUMBERS[name]), params).params == Params.of(preset)


def test_by_default_changing_needs_a_file_open_for_writing_or_cap_sys_admin() -> None:
    changing = [number for way in CHANGING for number, _ in commands(way)]
    changing += [ioctl.NUMBERS["SCULLV_IOCRESET"], ioctl.NUMBERS["SCULL_IOCRESET"]]
    for number in changing:
        assert refusal_of(made(number, 1, writable=False)) == errno.EPERM
        answer_to(made(number, 1, writable=False, admin=True))
        answer_to(made(number, 1, writable=True, admin=False))


def test_who_may_not_change_is_not_told_whether_the_value_was_good() -> None:
    for number, _ in commands("T"):
        assert refusal_of(made(number, -1, writable=False)) == errno.EPERM


def test_whether_the_caller_is_admin_is_asked_only_where_it_decides() -> None:
    def unexpected() -> bool:
        raise AssertionError("asked")

    for way in "GQ":
        for number, _ in commands(way):
            decide(Request(number, writable=False, is_admin=unexpected), START)
    for number, _ in commands("T"):
        decide(Request(number, arg=1, writable=True, is_admin=unexpected), START)


@pytest.mark.parametrize(("preset", "own"), [("scullv", "K"), ("scullp", "K"), ("scull", "k")])
def test_ldd3_answers_the_presets_own_family_only(preset: str, own: str) -> None:
    params = Params.of(preset, ldd3=True)
    for command in ioctl.BOOK.values():
        if command.magic == own:
            answer_to(made(command.number, 1, admin=True), params)
        else:
            number = command.number
            assert refusal_of(made(number, 1, admin=True), params) == errno.ENOTTY
    for number in (ioctl.SEEK, ioctl.TRIM, ioctl.PUNCH, ioctl.INFO, ioctl.TEXT):
        data = ioctl.pack_range(0, 1) if number == ioctl.PUNCH else bytes(number >> 16 & 0x3FFF)
        assert not isinstance(decide(Request(number, data=data), params), Answer)


def test_ldd3_scullv_lets_anybody_change_from_a_read_only_file() -> None:
    params = Params.of("scullv", ldd3=True)
    for command in ioctl.BOOK.values():
        if command.magic == "K":
            answer_to(made(command.number, 1, writable=False), params)


def test_ldd3_scull_changes_for_cap_sys_admin_only_save_for_reset() -> None:
    params = Params.of("scull", ldd3=True, qset=3)
    for command in ioctl.BOOK.values():
        if command.magic != "k":
            continue
        number = command.number
        if command.changes and command.way is not None:
            assert refusal_of(made(number, 1), params) == errno.EPERM
            answer_to(made(number, 1, writable=False, admin=True), params)
        else:
            answer_to(made(number, writable=False), params)


@given(st.integers(0, 2**32 - 1))
def test_any_other_number_is_enotty(number: int) -> None:
    if number not in ioctl.NUMBERS.values():
        assert refusal_of(Request(number, data=bytes(4))) == errno.ENOTTY


@pytest.mark.parametrize("name", sorted(ioctl.NUMBERS))
def test_another_direction_or_size_is_another_command(name: str) -> None:
    number = ioctl.NUMBERS[name]
    for other in (number ^ 1 << 30, number ^ 1 << 31, number ^ 1 << 16, number ^ 1 << 20):
        assert refusal_of(Request(other, data=bytes(8))) == errno.ENOTTY


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(ioctl.BOOK)), st.integers(-(2**31), 2**31 - 1)),
        max_size=20,
    )
)
def test_no_sequence_of_commands_leads_to_parameters_that_no_device_can_have(
    sequence: list[tuple[int, int]],
) -> None:
    params = START
    for number, value in sequence:
        with suppress(OSError):
            params = answer_to(made(number, value), params).params
        assert 1 <= params.pending.quantum <= QUANTUM_MAX
        assert 1 <= params.pending.qset <= QSET_MAX


def test_seek_hands_on_offset_and_whence_and_returns_the_position() -> None:
    action = decide(Request(ioctl.SEEK, data=ioctl.pack_seek(-5, 2), writable=False), START)
    assert action == ioctl.Seek(-5, 2)
    assert ioctl.unpack_seek(ioctl.Seek(-5, 2).reply(2**40)) == 2**40


def test_seek_keeps_its_reserved_field_free() -> None:
    request = Request(ioctl.SEEK, data=struct.pack("=qII", 0, 0, 1))
    assert refusal_of(request) == errno.EINVAL


@pytest.mark.parametrize("ldd3", [False, True])
def test_trim_and_punch_need_a_file_open_for_writing_or_cap_sys_admin(ldd3: bool) -> None:
    params = Params.of(ldd3=ldd3)
    for number, data in ((ioctl.TRIM, b""), (ioctl.PUNCH, ioctl.pack_range(1, 2))):
        reader = Request(number, data=data, writable=False)
        assert refusal_of(reader, params) == errno.EPERM
        admin = Request(number, data=data, writable=False, is_admin=lambda: True)
        assert decide(admin, params) == decide(Request(number, data=data), params)
    assert decide(Request(ioctl.TRIM), params) == ioctl.Trim()
    punch = Request(ioctl.PUNCH, data=ioctl.pack_range(1, 2))
    assert decide(punch, params) == ioctl.Punch(1, 2)


@pytest.mark.parametrize(
    ("offset", "length", "error"),
    [
        (0, 0, errno.EINVAL),
        (2**63 - 1, 1, errno.EFBIG),
        (1, 2**63 - 1, errno.EFBIG),
        (2**64 - 1, 2**64 - 1, errno.EFBIG),
    ],
)
def test_a_range_that_no_file_has_is_refused(offset: int, length: int, error: int) -> None:
    request = Request(ioctl.PUNCH, data=ioctl.pack_range(offset, length))
    assert refusal_of(request) == error


def test_the_longest_range_is_taken() -> None:
    request = Request(ioctl.PUNCH, data=ioctl.pack_range(0, 2**63 - 1))
    assert decide(request, START) == ioctl.Punch(0, 2**63 - 1)


def test_info_and_text_need_no_rights() -> None:
    assert decide(Request(ioctl.INFO, writable=False), START) == ioctl.Info()
    text = Request(ioctl.TEXT, data=ioctl.pack_text(3, 4), writable=False)
    assert decide(text, START) == ioctl.Text(3, 4)


def test_information_survives_the_wire() -> None:
    values = [2**63 + n for n in range(9)] + [2**31 + n for n in range(8)]
    information = ioctl.Information(*values)
    assert len(information.pack()) == 128
    assert ioctl.Information.unpack(information.pack()) == information


def test_text_comes_in_pieces_that_fit_and_ends_with_an_empty_one() -> None:
    whole = bytes(range(256)) * 10
    got = b""
    while True:
        piece = ioctl.unpack_text(ioctl.Text(len(got), 2**32 - 1).reply(whole))
        if not piece:
            break
        assert len(piece) <= ioctl.TEXT_MAX
        got += piece
    assert got == whole
    assert ioctl.unpack_text(ioctl.Text(10, 3).reply(whole)) == whole[10:13]
    assert ioctl.unpack_text(ioctl.Text(2**32 - 1, 3).reply(whole)) == b""


@pytest.mark.parametrize("number", [n for n in ioctl.NUMBERS.values() if n >> 30 & 1])
def test_data_of_a_length_that_no_kernel_sends_is_einval(number: int) -> None:
    size = number >> 16 & 0x3FFF
    for length in (0, size - 1, size + 1):
        request = Request(number, data=bytes(length))
        assert refusal_of(request, START) == errno.EINVAL
