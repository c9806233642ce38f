"""RecordedProxy: a proxy that notes all that clients ask and are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuse_scullv import cuse

from .arguments import Argument
from .flags import DRIVERS
from .proxy import Proxy, RealFile
from .recorder import Recorder
from .requests import Ioctl, Open, Poll, Read, Release, Write


class RecordedProxy(Proxy):
    """As Proxy; the log is begun and ended with the device."""

    def __init__(self, name: str, real: str, log: Path, **options: Any) -> None:
        """`log`: the file. OSError as of Proxy, and where `log` cannot be written."""
        super().__init__(name, real, **options)
        self.recorder = Recorder(log)
        self._exchange = self.recorder.exchange

    def started(self) -> None:
        self.recorder.begin(self.real)
        super().started()

    def stopped(self) -> None:
        super().stopped()
        self.recorder.end()

    def open_real(self, number: int, flags: int) -> RealFile:
        with self._exchange(number, Open(flags & DRIVERS)):
            return super().open_real(number, flags)

    def release(self, file: cuse.File) -> None:
        with self._exchange(file.state.number, Release()):
            super().release(file)

    def readinto(self, file: cuse.File, buffer: memoryview) -> int:
        with self._exchange(file.state.number, Read(len(buffer))) as answer:
            count = super().readinto(file, buffer)
            answer.data = buffer[:count]
        return count

    def write(self, file: cuse.File, data: memoryview) -> int:
        with self._exchange(file.state.number, Write(data)) as answer:
            answer.result = super().write(file, data)
        return answer.result

    def ioctl_real(
        self, real: RealFile, asked: Ioctl, argument: Argument | None
    ) -> cuse.IoctlReply:
        with self._exchange(real.number, asked) as answer:
            reply = super().ioctl_real(real, asked, argument)
            answer.result, answer.data = reply.result, reply.data
        return reply

    def poll(self, file: cuse.File) -> int:
        with self._exchange(file.state.number, Poll()) as answer:
            answer.result = super().poll(file)
        return answer.result
