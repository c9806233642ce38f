"""Who may open a device: the policies of the book's scullsingle, sculluid, scullwuid, scullpriv.

single: one open file. uid: one user's files. wuid: others wait for that user to be done.
priv: a memory of its own for each terminal.

sudo .venv/bin/python examples/access.py --policy wuid
"""

import errno
from pathlib import Path

from cuse_scullv import cuse


class Access(cuse.Device):
    def __init__(self, name: str = "access", policy: str = "single") -> None:
        super().__init__(name, mode=0o666)
        self.policy = policy
        self.memories: dict[int, bytes] = {}  # by terminal; 0 but for priv
        self.opens = 0
        self.user = 0
        self.changed = cuse.Condition()

    def open(self, file: cuse.File) -> int:
        with self.changed:
            while not self.may_open(file):
                if self.policy != "wuid":
                    raise OSError(errno.EBUSY, "in use")
                if file.nonblocking:
                    raise BlockingIOError
                self.changed.wait()
            self.opens, self.user = self.opens + 1, file.caller.uid
        return terminal(file.caller.pid) if self.policy == "priv" else 0

    def may_open(self, file: cuse.File) -> bool:
        if not self.opens or self.policy == "priv":
            return True
        return self.policy != "single" and file.caller.uid in (self.user, 0)  # 0: root

    def release(self, file: cuse.File) -> None:
        with self.changed:
            self.opens -= 1
            self.changed.notify_all()

    def read(self, file: cuse.File, size: int) -> bytes:
        return self.memories.pop(file.state, b"")[:size]

    def write(self, file: cuse.File, data: memoryview) -> None:
        self.memories[file.state] = bytes(data)


def terminal(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[4])  # tty_nr: proc(5)


if __name__ == "__main__":
    parser = cuse.arguments(__doc__, "access")
    parser.add_argument("--policy", choices=("single", "uid", "wuid", "priv"), default="single")
    asked = parser.parse_args()
    cuse.serve(Access(asked.name, asked.policy), daemon=asked.daemon)
