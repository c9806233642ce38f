"""A device that gives back what was written to it, in ROT13.

sudo .venv/bin/python examples/rot13.py &
echo "Hello, world" > /dev/rot13 && cat /dev/rot13
"""

import codecs
import os

from cuse_scullv import cuse


class Rot13(cuse.Device):
    def __init__(self, name: str = "rot13") -> None:
        super().__init__(name, mode=0o666)
        self.text = b""

    def open(self, file: cuse.File) -> dict[str, int]:
        if file.flags & os.O_ACCMODE == os.O_WRONLY:
            self.text = b""
        return {"position": 0}  # the kernel keeps none for us: it is kept per open file

    def write(self, file: cuse.File, data: memoryview) -> None:
        text = codecs.encode(str(data, "latin-1"), "rot13")
        self.text += text.encode("latin-1")

    def read(self, file: cuse.File, size: int) -> bytes:
        start = file.state["position"]
        data = self.text[start : start + size]
        file.state["position"] += len(data)
        return data  # b"" ends the file


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "rot13").parse_args()
    cuse.serve(Rot13(asked.name), daemon=asked.daemon)
