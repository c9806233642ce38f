"""An EEPROM of 256 bytes (a 24C02) at address 0x50 of an I2C bus, for i2c-tools.

sudo .venv/bin/python examples/eeprom.py &
sudo i2cdetect -y 9; sudo i2cset -y 9 0x50 0 0x42; sudo i2cdump -y 9 0x50
"""

from collections.abc import Iterator, Sequence

from cuse_scullv import cuse
from cuse_scullv.classes import i2c

SIZE = 256


class Eeprom(i2c.Adapter):
    def __init__(self, name: str, address: int = 0x50, **options: int) -> None:
        super().__init__(name, **options)
        self.address = address
        self.memory = bytearray(b"\xff" * SIZE)
        self.position = 0  # of the next byte; a write begins with it

    def transfer(self, address: int, messages: Sequence[i2c.Message]) -> Iterator[bytes]:
        if address != self.address:
            raise i2c.NackError
        for message in messages:
            if isinstance(message, i2c.Read):
                yield bytes(self.next_byte() for _ in range(message.length))
            elif message.data:
                self.position = message.data[0]
                for byte in message.data[1:]:
                    self.memory[self.position] = byte
                    self.position = (self.position + 1) % SIZE

    def next_byte(self) -> int:
        byte = self.memory[self.position]
        self.position = (self.position + 1) % SIZE
        return byte


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "i2c-9").parse_args()
    cuse.serve(Eeprom(asked.name, mode=0o666), daemon=asked.daemon)
