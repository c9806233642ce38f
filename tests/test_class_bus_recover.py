"""What clients have set on a bus outlives a worker."""

from __future__ import annotations

import errno

import pytest

from cuse_scullv.classes import i2c
from nodes import fails
from test_cuse_recover import serving


@pytest.mark.parametrize("kind", ["i2c", "i2c loop"])
def test_an_address_and_the_flags_of_an_open_file(kind: str) -> None:
    with serving(kind) as server:
        bus = server.open()
        bus.ioctl(i2c.I2C_TENBIT, 1)
        bus.ioctl(i2c.I2C_SLAVE, 0xA7)
        for _ in range(2):
            assert bus.read(2) == b"\xa7\xa7"
            server.kill()
        with fails(errno.EINVAL):
            bus.ioctl(i2c.I2C_SLAVE, 0x400)
        assert server.open().read(1) == b"\0"
