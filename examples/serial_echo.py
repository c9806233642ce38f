"""A serial port whose far end sends back what it gets; stty, socat, picocom and pyserial take it
for one."""

from cuse_scullv import cuse
from cuse_scullv.classes import serial


class SerialEcho(serial.Port):
    def transmit(self, data: bytes) -> int:
        return self.feed(
            data
        )  # as many as there is room for: the rest waits, and so does who sends

    def line_changed(self, settings: serial.Settings) -> None:
        # Ours goes where theirs comes from, as in a plug that connects RTS to CTS and DTR to DSR.
        self.set_lines(cts=settings.rts, dsr=settings.dtr)


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "ttyECHO").parse_args()
    cuse.serve(SerialEcho(asked.name, mode=0o666), daemon=asked.daemon)
