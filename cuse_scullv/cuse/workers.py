"""Workers: the threads of a channel, and the CPUs they run on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cuse_scullv._native import ffi, lib

if TYPE_CHECKING:
    from cuse_scullv._native import CData

_CPUS_MAX = 64  # of struct channel_options
_CALLERS_MAX = 1024  # QUEUE_RUNNING_MAX of csrc/channel/queue.h
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_POLICIES = {"none": lib.PLACEMENT_NONE, "follow": lib.PLACEMENT_FOLLOW}


def threads_for_cpus() -> int:
    """One for each CPU that the process may use, from 2 to 16. placement.c lets as many of them
    read as is best."""
    return min(max(len(os.sched_getaffinity(0)), 2), 16)


@dataclass(frozen=True)
class Workers:
    """How many threads serve a channel, and where. Raises ValueError for what cannot be."""

    threads: int = field(default_factory=threads_for_cpus)
    """That answer reads and writes in C: as many as CPUs, unless given. Of no meaning for a device
    in Python."""
    placement: str = "follow"
    """Of those threads: "follow" (to the CPU where the client runs), "none" (the scheduler
    decides), or a list of CPUs as "0,2-3"."""
    spin_us: int | None = None
    """Microseconds that a thread looks for the next request before it goes to sleep; 0: never;
    None: a short while, where that is found to be faster ("follow" only)."""
    callers: int = 16
    """Handlers in `def` that run at once. One that waits in `Condition` or `sleep` is not running,
    and holds nobody up. While one blocks in something else for long, others run in its place, up
    to 1024. `async def` handlers are not counted."""

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 63:
            raise ValueError(f"{self.threads} threads: take 1 to 63")
        if not 1 <= self.callers <= _CALLERS_MAX:
            raise ValueError(f"{self.callers} callers: take 1 to {_CALLERS_MAX}")
        if self.spin_us is not None and not 0 <= self.spin_us <= 1_000_000:
            raise ValueError(f"spin_us {self.spin_us}: take 0 to 1000000 microseconds")
        parse_placement(self.placement)

    def options(self) -> CData:
        """The struct channel_options that says so."""
        policy, cpus = parse_placement(self.placement)
        options = ffi.new("struct channel_options *")
        options.threads = self.threads
        options.callers = self.callers
        options.spin_us = -1 if self.spin_us is None else self.spin_us
        options.placement = policy
        options.cpus = len(cpus)
        for index, cpu in enumerate(cpus):
            options.cpu[index] = cpu
        return options


def parse_placement(text: str) -> tuple[int, list[int]]:
    """A placement as (enum placement_policy, CPUs). ValueError: one line, with what to type."""
    if text in _POLICIES:
        return _POLICIES[text], []
    allowed = os.sched_getaffinity(0)
    cpus: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"placement {text!r}: type follow, none, or CPUs as 0,2-3")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"placement {text!r}: {part.strip()} runs backwards")
        for cpu in range(first, last + 1):
            if cpu not in allowed:
                have = ",".join(str(cpu) for cpu in sorted(allowed))
                raise ValueError(
                    f"placement {text!r}: no CPU {cpu} for this process; it has {have}"
                )
            if cpu not in cpus:
                cpus.append(cpu)
    if len(cpus) > _CPUS_MAX:
        raise ValueError(f"placement {text!r}: at most {_CPUS_MAX} CPUs")
    return lib.PLACEMENT_LIST, cpus
