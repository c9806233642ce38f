"""A USB lamp with a switch and a dimmer, as HID: report 1 in says whether it is lit, report 1 out
lights it, feature 2 is its brightness in percent.

sudo .venv/bin/python examples/hid_lamp.py & sudo hid-recorder /dev/hidraw9
"""

import errno

from cuse_scullv import cuse
from cuse_scullv.classes import hidraw

DESCRIPTOR = bytes.fromhex(
    "0600ff 0901 a101"  # Usage Page (vendor), Usage 1, Collection (Application)
    "1500 2501 7508 9501"  # Logical Minimum 0, Maximum 1, Report Size 8, Count 1
    "8501 0902 8102 0902 9102"  # Report ID 1: Input, Output
    "8502 2564 0903 b102 c0"  # Report ID 2, Logical Maximum 100: Feature, End Collection
)
SWITCH, DIMMER = 1, 2


class Lamp(hidraw.Device):
    descriptor = DESCRIPTOR
    vendor, product = 0x1209, 0x0001
    title, phys, uniq = "Example Lamp", "desk/input0", "0001"

    lit, brightness = False, 100

    def output(self, number: int, data: bytes) -> None:
        self.lit = bool(data[0])
        self.send_input(bytes([self.lit]), SWITCH)  # whoever reads hears of it

    def get_feature(self, number: int) -> bytes:
        if number != DIMMER:
            raise OSError(errno.EPIPE, "no such report")
        return bytes([self.brightness])

    def set_feature(self, number: int, data: bytes) -> None:
        if number != DIMMER or data[0] > 100:
            raise OSError(errno.EPIPE, "no such report, or more than all light")
        self.brightness = data[0]


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "hidraw9").parse_args()
    cuse.serve(Lamp(asked.name, mode=0o666), daemon=asked.daemon)
