"""Waiting for signals and for --run's command. Each case is a process of its own: signals are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cuse_scullv.processes.supervise import cannot_run

WAIT_S = 60.0

RUN = """
import sys
from cuse_scullv.processes.supervise import Supervisor
with Supervisor() as supervisor:
    sys.exit(supervisor.run(sys.argv[1:]))
"""
WAIT = """
from cuse_scullv.processes.supervise import Supervisor
with Supervisor() as supervisor:
    print("ready", flush=True)
    supervisor.wait()
print("ended", flush=True)
"""
WOKEN = """
import os, threading
from cuse_scullv.processes.supervise import WAKE, Supervisor
with Supervisor() as supervisor:
    done = []
    threading.Thread(target=lambda: (done.append(1), os.kill(os.getpid(), WAKE))).start()
    supervisor.wait(lambda: bool(done))
print("ended", flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


def status_of(*command: str) -> int:
    with start(RUN, *command) as process:
        return process.wait(WAIT_S)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("status", [0, 1, 77])
def test_the_command_s_status_is_returned(status: int) -> None:
    assert status_of("sh", "-c", f"exit {status}") == status


def test_a_command_that_a_signal_ended_is_128_and_more() -> None:
    assert status_of("sh", "-c", "kill -KILL $$") == 128 + signal.SIGKILL


def test_a_command_that_is_not_there_or_not_executable(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for command, expected in (("no-such-command", 127), (str(plain), 126)):
        try:
            os.execvp(command, [command])
        except OSError as error:
            status, message = cannot_run(command, error)
        assert status == expected
        assert command in message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_nothing_else(number: signal.Signals) -> None:
    with start(WAIT) as process:
        assert line(process) == "ready\n"
        process.send_signal(number)
        assert line(process) == "ended\n"
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on_to_the_command(number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.01; done"
    with start(RUN, "sh", "-c", script) as process:
        assert line(process) == "ready\n"
        process.send_signal(number)
        assert line(process) == "got\n"
        assert process.wait(WAIT_S) == 9


def test_a_command_that_will_not_end_is_killed() -> None:
    with start(
        RUN, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"
    ) as process:
        assert line(process) == "ready\n"
        began = time.monotonic()
        process.terminate()
        assert process.wait(WAIT_S) == 128 + signal.SIGKILL
        assert time.monotonic() - began >= 0.9  # it had its second


def test_the_command_has_the_signals_of_any_other_program() -> None:
    with start(RUN, "sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status") as process:
        assert process.stdout is not None
        blocked, ignored = process.stdout.read().splitlines()
        assert process.wait(WAIT_S) == 0
    assert int(blocked.split()[1], 16) == 0
    assert not int(ignored.split()[1], 16) >> (signal.SIGPIPE - 1) & 1


def test_a_wake_makes_it_look() -> None:
    with start(WOKEN) as process:
        assert line(process) == "ended\n"
        assert process.wait(WAIT_S) == 0
