"""A virtual thermometer: reads wait for the next sample, ioctls with types read and set it up.

sudo .venv/bin/python examples/sensor.py & head -n 3 /dev/sensor
"""

import asyncio
import ctypes
import errno
import math
import select
import time

from cuse_scullv import cuse


class Sample(ctypes.Structure):
    _fields_ = [("time_ns", ctypes.c_uint64), ("millidegrees", ctypes.c_int32)]


GET_SAMPLE = cuse.IOR("S", 1, Sample)
GET_PERIOD, SET_PERIOD = cuse.IOR("S", 2, ctypes.c_uint32), cuse.IOW("S", 3, ctypes.c_uint32)  # ms


class Sensor(cuse.Device):
    period_ms = 100

    async def open(self, file: cuse.File) -> float:
        return time.monotonic()  # file.state: when this file's next sample is due

    async def read(self, file: cuse.File, size: int) -> bytes:
        if file.nonblocking and not await self.poll(file):
            raise BlockingIOError
        await asyncio.sleep(file.state - time.monotonic())  # cancelled when the client gives up
        file.state = time.monotonic() + self.period_ms / 1000
        asyncio.get_running_loop().call_later(self.period_ms / 1000, file.notify)
        return (b"%.3f\n" % (self.measure().millidegrees / 1000))[:size]

    async def poll(self, file: cuse.File) -> int:
        return select.POLLIN if time.monotonic() >= file.state else 0

    @cuse.ioctl(GET_SAMPLE)
    def measure(self, file: cuse.File | None = None) -> Sample:
        return Sample(time.time_ns(), int(20_000 + 5_000 * math.sin(time.time())))

    @cuse.ioctl(GET_PERIOD)
    def get_period(self, file: cuse.File) -> int:
        return self.period_ms

    @cuse.ioctl(SET_PERIOD)
    def set_period(self, file: cuse.File, milliseconds: int) -> None:
        if not 1 <= milliseconds <= 60_000:
            raise OSError(errno.EINVAL, "a period is 1 to 60,000 ms")
        self.period_ms = milliseconds


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "sensor").parse_args()
    cuse.serve(Sensor(asked.name, mode=0o666), daemon=asked.daemon)
