"""A serial port whose far end sends back what it gets; stty, socat and pyserial take it for one.
The numbers of most terminal ioctls do not say what they copy, so the device does: unrestricted."""

import errno
import select
import struct

from cuse_scullv import cuse

RAW_9600 = struct.pack("=4IB19s2I", 0, 0, 0o4275, 0, 0, b"\3\x1c\x7f\x15\4\0\1", 9600, 9600)
TCGETS, TCSETS = 0x5401, (0x5402, 0x5403, 0x5404)  # struct termios: 36 bytes of termios2
TCGETS2, TCSETS2 = 0x802C542A, (0x402C542B, 0x402C542C, 0x402C542D)
TIOCGWINSZ, TIOCMGET, TIOCMSET, FIONREAD = 0x5413, 0x5415, (0x5416, 0x5417, 0x5418), 0x541B
TCFLSH, BY_VALUE = 0x540B, (0x5409, 0x540A, 0x540C, 0x540D, 0x5425, 0x5427, 0x5428)  # TCSBRK …
READY = struct.pack("=I", 0x166)  # TIOCM_DTR, RTS, CTS, CAR, DSR
GIVES = {TCGETS: 36, TCGETS2: 44, TIOCGWINSZ: 8, TIOCMGET: 4, FIONREAD: 4}  # bytes
TAKES = dict.fromkeys(TCSETS, 36) | dict.fromkeys(TCSETS2, 44) | dict.fromkeys(TIOCMSET, 4)


class SerialEcho(cuse.Device):
    termios, line = RAW_9600, b""
    changed = cuse.Condition()

    def read(self, file: cuse.File, size: int) -> bytes:
        with self.changed:
            if file.nonblocking and not self.line:
                raise BlockingIOError
            self.changed.wait_for(lambda: self.line)
            data, self.line = self.line[:size], self.line[size:]
            return data

    def write(self, file: cuse.File, data: memoryview) -> None:
        with self.changed:
            self.line += bytes(data)
            self.changed.notify_all()
        self.notify()

    def poll(self, file: cuse.File) -> int:
        return select.POLLOUT | (select.POLLIN if self.line else 0)

    def ioctl(self, file: cuse.File, request: cuse.IoctlRequest) -> cuse.IoctlReply | int:
        if size := GIVES.get(request.cmd):
            request.reserve(request.arg, size)
            count = struct.pack("=I", len(self.line))
            gives = {TIOCMGET: READY, FIONREAD: count, TIOCGWINSZ: bytes(8)}
            return cuse.IoctlReply(0, gives.get(request.cmd, self.termios[:size]))
        if (size := TAKES.get(request.cmd, 0)) > 4:
            self.termios = request.fetch(request.arg, size) + self.termios[size:]
        elif request.cmd == TCFLSH:
            self.line = b""
        elif not size and request.cmd not in BY_VALUE:
            raise OSError(errno.ENOTTY, "no ioctl of terminals")
        return 0


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "ttyECHO").parse_args()
    cuse.serve(SerialEcho(asked.name, mode=0o666, unrestricted=True), daemon=asked.daemon)
