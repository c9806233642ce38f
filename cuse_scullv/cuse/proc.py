"""What /proc says of clients (proc(5): /proc/PID/status, comm, stat, task).

A request names the calling thread (fs/fuse/dev.c: fuse_get_req), by its number in the pid namespace
of the process that opened /dev/cuse. While the request is not answered the thread is there, and so
its number is no other's."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def tgid_of(tid: int) -> int:
    """The process that the thread `tid` is of. ProcessLookupError (ESRCH): there is none, it is of
    a pid namespace that cannot be seen (0), or /proc is another namespace's."""
    if tid > 0 and _is_ours():
        with suppress(FileNotFoundError, ProcessLookupError):
            _, _, rest = _read(f"{tid}/status").partition(b"\nTgid:")
            return int(rest.partition(b"\n")[0])
    raise ProcessLookupError(errno.ESRCH, f"no process of thread {tid} can be seen")


def comm_of(pid: int) -> str:
    """The name of the process, at most 15 bytes (prctl(2): PR_SET_NAME). ProcessLookupError."""
    try:
        return os.fsdecode(_read(f"{pid}/comm").removesuffix(b"\n"))
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(errno.ESRCH, f"no process {pid} can be seen") from None


def open_pidfd(tid: int) -> tuple[int, int]:
    """The process of the thread `tid`, and a pidfd of it (pidfd_open(2)), close on exec.
    ProcessLookupError as of tgid_of; OSError where there are no descriptors left."""
    pid = tgid_of(tid)
    fd = os.pidfd_open(pid)
    try:
        # Its number might have gone to another meanwhile, were the thread not waiting for us.
        if tgid_of(tid) == pid:
            return pid, fd
        raise ProcessLookupError(errno.ESRCH, f"thread {tid} is of another process now")
    except BaseException:
        os.close(fd)
        raise


def is_of(tid: int, pid: int) -> bool:
    """Whether the thread is one of the process's."""
    return tid == pid or os.access(f"{PROC}/{pid}/task/{tid}", os.F_OK)


def is_there(tid: int) -> bool:
    """Whether there is a thread of that number."""
    return os.access(f"{PROC}/{tid}", os.F_OK)


def still_has(pidfd: int, pid: int, tid: int) -> bool:
    """Whether `tid` is a thread of the process that `pidfd` was opened for, or was until it died
    unless it has been waited for since."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except PermissionError:
        pass  # it is there, and not ours
    except OSError:
        return False  # ESRCH: it was waited for, so its number is free; EBADF: closed
    return is_of(tid, pid)


def syscall_of(tid: int) -> str:
    """The system call that the thread is in, as /proc/TID/syscall has it, or "running".
    PermissionError where ptrace(2) would have one; FileNotFoundError: this kernel has no such file
    (user-mode-linux has none); ProcessLookupError as of tgid_of."""
    if tid <= 0 or not _is_ours():
        raise ProcessLookupError(errno.ESRCH, f"no thread {tid} can be seen")
    return _read(f"{tid}/syscall").decode()


def _read(name: str) -> bytes:
    """All of a short file of /proc. By system calls alone: it is on the way of requests."""
    fd = os.open(f"{PROC}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _is_ours() -> bool:
    """Whether /proc has our pid namespace's numbers."""
    try:
        return os.readlink(f"{PROC}/self") == str(os.getpid())  # noqa: PTH115 - as _read
    except OSError:
        return False
