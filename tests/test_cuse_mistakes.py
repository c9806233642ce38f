"""Mistakes in a device's class, or in a device: each is one sentence, said before it is served."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.body import _is_slip

Body = dict[str, Any]


def made(**body: Any) -> type[cuse.Device]:
    return type("Made", (cuse.Device,), body)


def with_file(file: str = "file") -> Callable[..., Any]:
    function: Callable[..., Any] = eval(f"lambda self, {file}, size: b''")
    return function


@pytest.mark.parametrize("name", ["raed", "rad", "reads", "reat", "Read", "READ"])
def test_a_misspelt_method_is_said_when_the_class_is_made(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Made\.{name}\(\) is no method .* is read\(\) meant"):
        made(**{name: with_file()})


def test_a_misspelt_coroutine_is_said_too() -> None:
    async def wirte(self: Any, file: cuse.File, data: memoryview) -> None: ...

    with pytest.raises(TypeError, match=r"is write\(\) meant"):
        made(wirte=wirte)


@pytest.mark.parametrize(
    "body",
    [
        {"_raed": with_file()},
        {"_read": with_file()},
        {"rear": lambda self: None},  # not called as read is
        {"readers": with_file()},
        {"reopen": lambda self, file: None},
        {"pool": "a string"},
        {"raed": with_file("what")},
        {"pool": cuse.ioctl(cuse.IO("m", 1))(lambda self, file: 0)},
    ],
    ids=lambda body: next(iter(body)),
)
def test_other_methods_may_be_called_what_they_want(body: Body) -> None:
    made(**body)


@pytest.mark.parametrize(
    ("word", "slips"),
    [("raed", True), ("red", True), ("bread", True), ("real", True), ("dear", False)],
)
def test_a_slip_is_one_letter(word: str, slips: bool) -> None:
    assert _is_slip(word, "read") is slips


@pytest.mark.parametrize("value", [b"text", None, 5])
def test_a_class_attribute_that_hides_a_method_is_said(value: object) -> None:
    with pytest.raises(TypeError, match=r"Made\.read is .*, and hides the device's method read"):
        made(read=value)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("transfer", "whole", "transfers"),
        ("Transfers", "whole", "transfers"),
        ("transfers_mx", 1 << 20, "transfers_max"),
        ("client_memmory", 1 << 20, "client_memory"),
    ],
)
def test_a_misspelt_setting_is_said(name: str, value: object, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"Slip\.{name} is nothing .* is {meant} meant\?"):
        type("Slip", (cuse.Device,), {name: value})
    type("Fine", (cuse.Device,), {name: object(), "transferred": "whole", "client": 5})


@pytest.mark.parametrize("name", ["mode", "timeout"])
def test_a_method_that_an_attribute_will_hide_is_said(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Made\.{name}\(\) would be hidden"):
        made(**{name: cuse.ioctl(cuse.IO("m", 1))(lambda self, file, arg: 0)})


def test_a_property_may_stand_for_an_attribute() -> None:
    made(name=property(lambda self: "name", lambda self, value: None))


def test_an_attribute_of_the_device_that_hides_an_ioctl_is_said() -> None:
    class Gain(cuse.Device):
        def __init__(self) -> None:
            super().__init__("gain")
            self.gain = 1  # type: ignore[assignment,method-assign]

        @cuse.ioctl(cuse.IOR("m", 1, "i"))
        def gain(self, file: cuse.File) -> int:
            return 1

    with pytest.raises(TypeError, match=r"self\.gain of Gain is of type int, and hides its method"):
        cuse.Channel(Gain())


def test_an_attribute_of_the_device_that_hides_a_method_is_said() -> None:
    device = cuse.Device("hides")
    device.poll = None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError, match=r"self\.poll of Device is None"):
        cuse.Channel(device)


def test_a_function_in_the_place_of_a_method_is_none() -> None:
    device = cuse.Device("function")
    device.read = lambda file, size: b""  # type: ignore[method-assign]
    cuse.Channel(device)


class Forgetful(cuse.Device):
    def __init__(self, name: str) -> None:
        self.messages = [name]


@pytest.mark.parametrize("use", [cuse.Channel, cuse.serve])
def test_a_forgotten_super_init_is_said(use: Callable[[cuse.Device], object]) -> None:
    with pytest.raises(cuse.DeviceError, match=r"Forgetful\.__init__\(\) has not called") as caught:
        use(Forgetful("forgetful"))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("use", [cuse.Channel, cuse.serve])
def test_a_class_is_no_device(use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"Forgetful is a class: make one, Forgetful\(name\)"):
        use(Forgetful)
    with pytest.raises(TypeError, match=r"a cuse\.Device is served, not of type str"):
        use("upper")


def test_serving_nothing_is_said() -> None:
    with pytest.raises(TypeError, match="needs a device"):
        cuse.serve()


@pytest.mark.parametrize(
    ("name", "device"),
    [("no CUSE here", "cuse.Device('plain')"), ("the name is taken", "cuse.Device('null')")],
)
def test_a_start_that_fails_is_a_sentence_and_status_1(name: str, device: str) -> None:
    program = f"from cuse_scullv import cuse\n{_NO_CUSE}cuse.serve({device})\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("-c: ")
    assert "Traceback" not in done.stderr


# Whatever this machine has.
_NO_CUSE = textwrap.dedent("""
    from pathlib import Path
    cuse.host.DEV_CUSE = Path("/nowhere/cuse")
""")


def test_another_error_keeps_its_traceback() -> None:
    program = textwrap.dedent(f"""
        from cuse_scullv import cuse
        {_NO_CUSE.strip().splitlines()[0]}
        {_NO_CUSE.strip().splitlines()[1]}
        try:
            cuse.serve(cuse.Device("plain"))
        except cuse.DeviceError:
            1 // 0
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr
