"""A /dev/random that gives the same bytes for the same --seed: for tests that must repeat.

What is written to it is mixed in, so the same writes in the same order give the same bytes too.
sudo .venv/bin/python examples/seeded_random.py --seed 7 & head -c 8 /dev/seeded | xxd
"""

import hashlib
import threading

from cuse_scullv import cuse
from cuse_scullv.classes import random


class Seeded(random.Generator):
    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, mode=0o666)
        self.lock = threading.Lock()  # of the two below: clients read at the same time
        self.key = hashlib.blake2b(seed.encode()).digest()
        self.blocks = 0

    def bytes(self, n: int) -> bytearray:
        with self.lock:
            answer = bytearray()
            while len(answer) < n:
                counter = self.blocks.to_bytes(8, "little")
                answer += hashlib.blake2b(counter, key=self.key).digest()
                self.blocks += 1
            return answer[:n]

    def mix(self, data: memoryview) -> None:
        with self.lock:
            self.key = hashlib.blake2b(data, key=self.key).digest()


if __name__ == "__main__":
    parser = cuse.arguments(__doc__, "seeded")
    parser.add_argument("--seed", default="0", help="any text")
    asked = parser.parse_args()
    cuse.serve(Seeded(asked.name, asked.seed), daemon=asked.daemon)
