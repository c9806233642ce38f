"""Waiting until a server should stop: a signal, the end of `--run CMD`, or a device that ended.

Signals are blocked and waited for rather than handled: no handler can run in the midst of starting
or stopping, and threads made meanwhile inherit the mask, so that only the waiter sees them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Sent to the waiter so that `wait` and `run` look at `ended`.
WAKE = signal.SIGURG
RELOAD = signal.SIGUSR2
WAITED = {*STOP, signal.SIGCHLD, WAKE, RELOAD}

# siginfo's si_code when the kernel made the signal (SI_KERNEL, asm-generic/siginfo.h): a terminal's
# ^C or hang-up, which the command got as well.
SI_KERNEL = 0x80

# How long a command may go on after the signal that it was passed, in seconds. The server promises
# to be gone two seconds after SIGTERM.
GRACE_S = 1.0

# Exit statuses of the shell (POSIX XCU 2.8.2) and of nbdkit --run.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
SIGNALLED = 128


class Supervisor:
    """Context manager: from entry to exit, signals that end a server wait for `wait` or `run`.

    Enter it on the main thread, before any other thread is made."""

    def __enter__(self) -> Supervisor:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Signals that came too late must not end the process now that it has ended well.
        while signal.sigtimedwait(WAITED, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def wait(
        self,
        ended: Callable[[], bool] = lambda: False,
        reload: Callable[[], None] = lambda: None,
    ) -> None:
        """Until a stopping signal comes, or `ended()` is true after a WAKE; after a RELOAD `reload`
        is called."""
        while not ended():
            number = signal.sigwaitinfo(WAITED).si_signo
            if number in STOP:
                return
            if number == RELOAD:
                reload()

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        ended: Callable[[], bool] = lambda: False,
    ) -> int:
        """Runs `command` and returns its exit status: 128 + n if signal n ended it.

        Stopping signals are passed on; a command that is still there GRACE_S seconds later, or
        whose device `ended`, is killed. Raises OSError if it cannot be started.
        """
        # posix_spawn sets the mask in the child; a fork in a process with threads could not safely.
        pid = os.posix_spawnp(
            command[0],
            list(command),
            dict(os.environ if environment is None else environment),
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        deadline: float | None = None
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else SIGNALLED - code
            if ended() or (deadline is not None and time.monotonic() >= deadline):
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                return SIGNALLED + signal.SIGKILL
            left = 3600.0 if deadline is None else max(deadline - time.monotonic(), 0.0)
            info = signal.sigtimedwait(WAITED, left)
            if info is None or info.si_signo not in STOP:
                continue
            if info.si_code != SI_KERNEL:
                os.kill(pid, info.si_signo)
            elif info.si_signo == signal.SIGINT:
                continue  # ^C at the terminal: the command has it too, and may well live on
            deadline = deadline or time.monotonic() + GRACE_S


def cannot_run(command: str, error: OSError) -> tuple[int, str]:
    """The shell's exit status for a command that could not be started, and what to say."""
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND, f"--run: no command '{command}': give its path, or add it to PATH"
    return NOT_EXECUTABLE, f"--run: cannot run '{command}': {error.strerror}"
