"""Faults of our own: the caller gets EIO, the log has the traceback, the server lives on."""

import errno
import logging
import os

import pytest

from cuse_scullv import device
from cuse_scullv.ioctl import NUMBERS
from nodes import fake_serve, info

pytestmark = pytest.mark.fake


def broken(*_: object) -> None:
    raise ZeroDivisionError("a fault of ours")


def test_an_exception_in_an_ioctl_is_eio_to_its_caller_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with fake_serve() as serve, serve().open() as file:
        file.write(b"kept")
        with monkeypatch.context() as patch:
            patch.setattr(device, "decide", broken)
            with pytest.raises(OSError) as caught:
                file.ioctl(NUMBERS["SCULLV_IOCQORDER"])
            assert caught.value.errno == errno.EIO
        assert file.ioctl(NUMBERS["SCULLV_IOCQORDER"]).result == 4
        assert info(file).size == 4
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "ioctl" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_an_exception_while_opening_is_eio_and_leaks_no_open_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with fake_serve() as serve:
        served = serve()
        with monkeypatch.context() as patch:
            patch.setattr(device.ScullDevice, "trim", broken)
            with pytest.raises(OSError) as caught:
                served.open(os.O_WRONLY)
            assert caught.value.errno == errno.EIO
        with served.open() as file:
            assert info(file).opens == 1
    assert "a fault of ours" in caplog.text
