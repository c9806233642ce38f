"""A FIFO as the book's scullpipe: readers wait while it is empty, writers while it is full.

    sudo .venv/bin/python examples/pipe.py &
    cat /dev/pipe & echo "Hello, world" > /dev/pipe

A signal ends a wait (try Ctrl-C), O_NONBLOCK never waits, and poll, select and epoll work. Where
the process that serves is killed another goes on, with the bytes that are in the pipe; try it:
pkill -KILL scullv-worker.
"""

import select

from cuse_scullv import cuse


class Pipe(cuse.Device):
    def __init__(self, name: str = "pipe", capacity: int = 4000) -> None:
        super().__init__(name, mode=0o666)
        self.capacity = capacity  # bytes
        self.buffer = bytearray()
        self.changed = cuse.Condition()  # guards the buffer; its waits end when the client gives up

    @cuse.retry
    def read(self, file: cuse.File, size: int) -> bytes:
        with self.changed:
            while not self.buffer:
                self.wait(file)
            data = bytes(self.buffer[:size])
            del self.buffer[:size]
            self.tell()
        return data

    @cuse.retry
    def write(self, file: cuse.File, data: memoryview) -> int:
        with self.changed:
            while not (room := self.capacity - len(self.buffer)):
                self.wait(file)
            self.buffer += data[:room]
            self.tell()
        return min(room, len(data))  # less than asked for: the client comes again with the rest

    def poll(self, file: cuse.File) -> int:
        with self.changed:
            full = len(self.buffer) == self.capacity
            return (select.POLLIN if self.buffer else 0) | (0 if full else select.POLLOUT)

    def save(self, file: cuse.File | None) -> bytes:
        return bytes(self.buffer) if file is None else b""  # open files have no state

    def restore(self, file: cuse.File | None, data: bytes) -> None:
        self.buffer += data

    def wait(self, file: cuse.File) -> None:
        if file.nonblocking:
            raise BlockingIOError  # the client's errno is EAGAIN
        self.changed.wait()  # raises InterruptedError when a signal hits the client

    def tell(self) -> None:
        self.changed.notify_all()  # readers and writers that wait here
        self.notify()  # and those who poll


if __name__ == "__main__":
    asked = cuse.arguments(__doc__, "pipe").parse_args()
    cuse.serve(Pipe(asked.name), daemon=asked.daemon, recover=True)
