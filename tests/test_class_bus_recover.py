"""What clients have set on a bus, or of a HID device, outlives a worker."""

from __future__ import annotations

import errno

import pytest

from cuse_scullv import cuse
from cuse_scullv.classes import hidraw, i2c
from nodes import fails, pointer
from test_class_hidraw import call, sized
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


def test_readers_that_wait_and_files_that_were_revoked() -> None:
    with serving("hidraw") as server:
        device, other = server.open(), server.open()
        device.write(b"\0\3unread")
        waiting = server.kernel.start(server.open().read, 9)
        waiting.wait_sent()
        other.ioctl(hidraw.REVOKE, 0)
        server.kill()
        assert call(device, hidraw.GINPUT, bytes(2))[1] == b"\0\3"
        with fails(errno.ENODEV):
            other.ioctl(sized(hidraw.RAWNAME, 9), 0)
        device.write(b"\0x")
        assert (waiting.result(), device.read(9)) == (b"x", b"x")
