"""Priority: what clients wait for at a worker's death comes before all that keeps CPUs busy.

That is the keeper and a worker that does not serve yet, which sleep but for then, and a worker that
ends. A server that was given a priority of its own (nice(1), chrt(1)) keeps it, and one without
CAP_SYS_NICE, or under a filter of system calls that lets nothing of this through, takes its turn.

Facts: setpriority(2); sched(7): SCHED_RESET_ON_FORK.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_FIRST = -20


def come_first() -> None:
    """This thread does; what it starts does not."""
    if os.sched_getscheduler(0) != os.SCHED_OTHER or os.getpriority(os.PRIO_PROCESS, 0) != 0:
        return
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _FIRST)


def take_turns() -> None:
    """This thread does again, if it came first."""
    if os.getpriority(os.PRIO_PROCESS, 0) == _FIRST:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def hasten(pid: int) -> None:
    """All threads of a process that ends come first. Those that placement has put into SCHED_IDLE
    would end when nobody else wants a CPU."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            _hasten(int(thread.name))


def _hasten(tid: int) -> None:
    with suppress(OSError):  # it has ended, or we may not
        os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, tid, _FIRST)
