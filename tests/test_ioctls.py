"""The ioctls as a client meets them. The pure table behind them is test_ioctl.py's."""

import errno

import pytest

from cuse_scullv.cuse.testing import BAD
from cuse_scullv.ioctl import NUMBERS
from cuse_scullv.params import ORDER_MAX, PAGE_SIZE, QSET_MAX, QUANTUM_MAX
from nodes import Serve, info, number, pointer

FIELDS = [
    # prefix, field, at start, another value, values out of range
    ("SCULLV_IOC", "ORDER", 4, 2, (-1, ORDER_MAX + 1)),
    ("SCULLV_IOC", "QSET", 500, 77, (0, -5, QSET_MAX + 1)),
    ("SCULL_IOC", "QUANTUM", 16 * PAGE_SIZE, 1234, (0, -1, QUANTUM_MAX + 1)),
    ("SCULL_IOC", "QSET", 500, 78, (0, QSET_MAX + 1)),
]


@pytest.mark.parametrize(("prefix", "field", "old", "new", "bad"), FIELDS)
def test_the_six_ways_of_a_field(
    serve: Serve, prefix: str, field: str, old: int, new: int, bad: tuple[int, ...]
) -> None:
    command = {way: NUMBERS[f"{prefix}{way}{field}"] for way in "STGQXH"}
    with serve().open() as file:
        assert number(file.ioctl(command["G"], pointer(0))) == old
        assert file.ioctl(command["Q"]).result == old
        assert file.ioctl(command["S"], pointer(new)).result == 0
        assert file.ioctl(command["Q"]).result == new
        assert file.ioctl(command["T"], old).result == 0
        assert file.ioctl(command["Q"]).result == old
        assert number(file.ioctl(command["X"], pointer(new))) == old
        assert file.ioctl(command["H"], old).result == new
        assert file.ioctl(command["Q"]).result == old


@pytest.mark.parametrize(("prefix", "field", "old", "new", "bad"), FIELDS)
def test_values_out_of_range_are_einval_and_change_nothing(
    serve: Serve, prefix: str, field: str, old: int, new: int, bad: tuple[int, ...]
) -> None:
    with serve().open() as file:
        for value in bad:
            for way, argument in zip(
                "STXH", (pointer(value), value & (2**64 - 1)) * 2, strict=True
            ):
                with pytest.raises(OSError) as caught:
                    file.ioctl(NUMBERS[f"{prefix}{way}{field}"], argument)
                assert caught.value.errno == errno.EINVAL
        assert file.ioctl(NUMBERS[f"{prefix}Q{field}"]).result == old


@pytest.mark.parametrize(("prefix", "field", "old", "new", "bad"), FIELDS)
def test_a_bad_pointer_is_efault_and_changes_nothing(
    serve: Serve, prefix: str, field: str, old: int, new: int, bad: tuple[int, ...]
) -> None:
    with serve().open() as file:
        for way in "SX":
            with pytest.raises(OSError) as caught:
                file.ioctl(NUMBERS[f"{prefix}{way}{field}"], BAD)
            assert caught.value.errno == errno.EFAULT
        with pytest.raises(OSError) as caught:
            file.ioctl(NUMBERS[f"{prefix}G{field}"], BAD)
        assert caught.value.errno == errno.EFAULT
        assert file.ioctl(NUMBERS[f"{prefix}Q{field}"]).result == old


@pytest.mark.parametrize("prefix", ["SCULLV_IOC", "SCULL_IOC"])
def test_reset_brings_back_the_preset(serve: Serve, prefix: str) -> None:
    with serve(order=2, qset=9).open() as file:
        assert info(file).pending_quantum == 4 * PAGE_SIZE
        file.ioctl(NUMBERS[f"{prefix}RESET"])
        state = info(file)
        assert (state.pending_quantum, state.pending_qset) == (16 * PAGE_SIZE, 500)
        assert (state.quantum, state.qset) == (4 * PAGE_SIZE, 9)


@pytest.mark.parametrize(
    "cmd",
    [
        0x4B0D,  # 'K' 13: one past the last
        0x6B0D,
        0x5401,  # TCGETS: what isatty(3) asks
        0x80044B01,  # IOCSORDER with the direction of G
        0x40084B01,  # IOCSORDER with another size
        0xEE06,  # one past the last extension
        0,
    ],
)
def test_what_is_no_command_is_enotty(serve: Serve, cmd: int) -> None:
    argument = bytes(cmd >> 16 & 0x3FFF) or 0
    with serve().open() as file:
        with pytest.raises(OSError) as caught:
            file.ioctl(cmd, argument)
        assert caught.value.errno == errno.ENOTTY
        assert info(file).pending_quantum == 16 * PAGE_SIZE


@pytest.mark.parametrize(
    ("preset", "answers", "refuses"),
    [
        ("scullv", "SCULLV_IOCQORDER", "SCULL_IOCQQUANTUM"),
        ("scullp", "SCULLV_IOCQQSET", "SCULL_IOCRESET"),
        ("scull", "SCULL_IOCQQSET", "SCULLV_IOCQORDER"),
    ],
)
def test_by_the_book_s_rules_only_the_preset_s_family_answers(
    serve: Serve, preset: str, answers: str, refuses: str
) -> None:
    with serve(ldd3=True, preset=preset).open() as file:
        assert file.ioctl(NUMBERS[answers]).result >= 0
        with pytest.raises(OSError) as caught:
            file.ioctl(NUMBERS[refuses])
        assert caught.value.errno == errno.ENOTTY
        assert info(file).flags & 3 == 1


@pytest.mark.parametrize(
    ("preset", "quantum", "qset"),
    [("scullv", 16 * PAGE_SIZE, 500), ("scullp", PAGE_SIZE, 500), ("scull", 4000, 1000)],
)
def test_presets_start_as_the_book_s_modules(
    serve: Serve, preset: str, quantum: int, qset: int
) -> None:
    with serve(preset=preset).open() as file:
        state = info(file)
        assert (state.quantum, state.qset) == (quantum, qset)
