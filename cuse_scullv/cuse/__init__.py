"""Character devices in Python: a binding of CUSE, character devices in user space.

    from cuse_scullv import cuse

    class Hello(cuse.Device):
        def read(self, file, size):
            return b"hello\\n"[:size]

    cuse.serve(Hello("hello"))      # /dev/hello, until Ctrl-C

See docs/cuse.md for a tutorial. Drivers are tested without CUSE by `cuse_scullv.cuse.testing`.
"""

from __future__ import annotations

from .caller import Caller
from .channel import Channel
from .client import Client
from .condition import Condition, sleep
from .device import DataPathDevice, Device
from .ending import Ending
from .errors import DeviceError
from .file import File
from .filters import Filters
from .filterspec import FilterSpec, parse_filter
from .host import Availability, Status, availability
from .ioctl import IO, IOR, IOW, IOWR, Command, IoctlReply, IoctlRequest, ioctl
from .keeping import retry
from .queue import Queue
from .remote import RemoteMemory
from .run import run
from .semaphore import Semaphore
from .serve import arguments, serve
from .statistics import LATENCY_S, Operation, Statistics
from .workers import Workers

__all__ = [
    "IO",
    "IOR",
    "IOW",
    "IOWR",
    "LATENCY_S",
    "Availability",
    "Caller",
    "Channel",
    "Client",
    "Command",
    "Condition",
    "DataPathDevice",
    "Device",
    "DeviceError",
    "Ending",
    "File",
    "FilterSpec",
    "Filters",
    "IoctlReply",
    "IoctlRequest",
    "Operation",
    "Queue",
    "RemoteMemory",
    "Semaphore",
    "Statistics",
    "Status",
    "Workers",
    "arguments",
    "availability",
    "ioctl",
    "parse_filter",
    "retry",
    "run",
    "serve",
    "sleep",
]
