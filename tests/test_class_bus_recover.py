"""What clients have set on a bus outlives a worker."""

from __future__ import annotations

import errno

import pytest

from cuse_scullv import cuse
from cuse_scullv.classes import i2c
from nodes import fails, pointer
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


def test_the_settings_of_a_bus() -> None:
    speed = cuse.IOR("k", 4, 4)
    with serving("spi") as server:
        device, other = server.open(), server.open()
        device.ioctl(cuse.IOW("k", 4, 4), pointer(5))
        server.kill()
        device.close()
        server.kill()
        assert other.ioctl(speed, bytes(4)).data == pointer(5)
        other.close()  # the last one
        assert server.open().ioctl(speed, bytes(4)).data == pointer(1_000_000)
