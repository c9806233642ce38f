"""A real-time clock that is not the machine's: it starts at --at, and runs --speed times as fast.

sudo .venv/bin/python examples/rtc.py --at 2038-01-19T03:14:00 &
hwclock --show --utc --rtc /dev/rtc9
"""

import datetime
import time

from cuse_scullv import cuse
from cuse_scullv.classes import rtc


class FastClock(rtc.Clock):
    def __init__(self, name: str, at: datetime.datetime, speed: float = 1.0) -> None:
        super().__init__(name)
        self.rate = speed  # alarms come accordingly
        self.set(at)

    def get(self) -> datetime.datetime:
        passed = (time.monotonic() - self.since) * self.rate
        return self.at + datetime.timedelta(seconds=passed)

    def set(self, moment: datetime.datetime) -> None:
        self.at, self.since = moment, time.monotonic()


if __name__ == "__main__":
    parser = cuse.arguments(__doc__, "rtc9")
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    parser.add_argument("--at", type=datetime.datetime.fromisoformat, default=now, help="ISO 8601")
    parser.add_argument("--speed", type=float, default=1.0)
    asked = parser.parse_args()
    cuse.serve(FastClock(asked.name, asked.at, asked.speed), daemon=asked.daemon)
