"""A NOR flash of 64 KiB on an SPI bus: identification, read, write enable, page program.

sudo .venv/bin/python examples/spi_flash.py &
printf '\\x9f\\0\\0\\0' | sudo spi-pipe -d /dev/spidev9.0 -b 4 -n 1 | xxd
"""

from cuse_scullv import cuse
from cuse_scullv.classes import spi

SIZE, PAGE = 65536, 256
PROGRAM, READ, STATUS, WRITE_ENABLE, ERASE, IDENTIFY = 0x02, 0x03, 0x05, 0x06, 0xC7, 0x9F
IDENTITY = bytes.fromhex("ef4010")


class Flash(spi.Device):
    def __init__(self, name: str, **options: int) -> None:
        super().__init__(name, **options)
        self.memory = bytearray(b"\xff" * SIZE)
        self.enabled = False

    def transfer(self, words: spi.Words) -> bytes:
        """`words` are all that came while the chip was selected: a command, and what it takes."""
        command, sent = words[0], bytes(words)
        answer = b""
        if command == IDENTIFY:
            answer = bytes(1) + IDENTITY
        elif command == STATUS:
            answer = bytes([0, self.enabled << 1])
        elif command == READ:
            at = int.from_bytes(sent[1:4], "big") % SIZE
            answer = bytes(4) + self.memory[at:]
        elif command == WRITE_ENABLE:
            self.enabled = True
        elif command in (PROGRAM, ERASE) and self.enabled:
            self.change(command, sent[1:])
        return answer[: len(words)].ljust(len(words), b"\0")

    def change(self, command: int, sent: bytes) -> None:
        self.enabled = False
        if command == ERASE:
            self.memory[:] = b"\xff" * SIZE
            return
        at = int.from_bytes(sent[:3], "big") % SIZE
        page = at - at % PAGE
        for offset, byte in enumerate(sent[3:], at - page):
            self.memory[page + offset % PAGE] &= byte  # programming clears bits


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "spidev9.0").parse_args()
    cuse.serve(Flash(asked.name, mode=0o666), daemon=asked.daemon)
