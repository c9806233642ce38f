"""tools/guest at a terminal: the command gets it. The terminal here is a pty's."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from guests import GUEST, ROOT, needs_qemu, where_guests_run

pytestmark = [pytest.mark.timeout(600), *where_guests_run]
SMP = pytest.param(["--smp"], id="qemu", marks=needs_qemu)


def resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def commands_below(pid: int) -> set[str]:
    """The children's; before it is itself, a tool may be a shell that looks for an interpreter."""
    names = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            names.add(Path(f"/proc/{child}/comm").read_text().strip())
    return names


class Screen:
    """Somebody who types, and sees what is shown."""

    def __init__(self, arguments: list[str]) -> None:
        self.terminal, theirs = pty.openpty()
        resize(self.terminal, 33, 111)
        self.before = termios.tcgetattr(theirs)
        self._kept = theirs  # the settings are asked for once the tool has ended
        self.tool = subprocess.Popen(
            [GUEST, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.shown = ""
        self._seen = 0

    def _read(self, seconds: float) -> bool:
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.terminal, 65536).decode(errors="replace")
        return True

    def wait_for(self, pattern: str, seconds: float = 90) -> re.Match[str]:
        """The next place that matches, after what was waited for before."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.shown[self._seen :])
            if found:
                self._seen += found.end()
                return found
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.shown}"
            assert self._read(0.2) or self.tool.poll() is None, f"it ended; shown:\n{self.shown}"

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def end(self) -> int:
        deadline = time.monotonic() + 60
        while self.tool.poll() is None:
            assert time.monotonic() < deadline, self.shown
            self._read(0.1)
        while self._read(0):
            pass
        return self.tool.returncode

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._kept)

    def close(self) -> None:
        if self.tool.poll() is None:
            self.tool.kill()
            self.tool.wait()
        os.close(self.terminal)
        os.close(self._kept)


@contextmanager
def screen(*arguments: str) -> Iterator[Screen]:
    made = Screen(list(arguments))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("kind", [[], SMP])
def test_a_shell_can_be_used_as_one(kind: list[str]) -> None:
    with screen(*kind, "--", "bash", "--norc", "-i") as shown:
        shown.wait_for(r"\^\] three times in a row kills it")
        shown.wait_for(r"# ")
        shown.type("tty; stty size; echo $TERM; ls -l /dev/cuse; echo $((40 + 2)) | cat\n")
        shown.wait_for(r"/dev/ttyS\d\r\n33 111\r\nxterm\r\ncrw.*\r\n42\r\n")
        # Its line discipline: what is erased is not read, ^C reaches what runs.
        shown.type("echo wrong\x15echo right\n")
        shown.wait_for(r"[^ ]right\r\n")
        shown.type("sleep 1000\n")
        shown.wait_for(r"sleep 1000\r\n")
        time.sleep(0.5)
        shown.type("\x03")
        shown.wait_for(r"# ")
        shown.type("echo status $?\n")
        shown.wait_for(r"[^ ]status 130\r\n")
        shown.type("\x1d\x1d")  # not enough
        shown.type("\x15exit 41\n")
        assert shown.end() == 41
        assert shown.settings() == shown.before


def test_a_resized_terminal_is_one_in_the_guest() -> None:
    script = "trap 'stty size; exit 9' WINCH; echo begun; while :; do sleep 0.1; done"
    with screen("--", "bash", "-c", script) as shown:
        shown.wait_for("begun")
        resize(shown.terminal, 50, 132)
        shown.wait_for("50 132")
        assert shown.end() == 9


@pytest.mark.parametrize("kind", [[], SMP])
def test_all_that_is_written_is_shown_however_slowly_it_is_read(kind: list[str]) -> None:
    """More than a socket holds."""
    with screen(*kind, "--", "sh", "-c", "seq 60000; exit 7") as shown:
        reads = 0
        while shown.tool.poll() is None:
            reads += shown._read(0.1)
            if reads % 50 == 1:
                time.sleep(0.05)
        assert shown.end() == 7
        lines = shown.shown.split("\r\n")
        assert lines[-60001:-1] == [str(number) for number in range(1, 60001)]


def test_a_guest_can_be_killed_from_the_keyboard() -> None:
    with screen("--", "sh", "-c", "trap '' INT; stty -isig; echo ready; sleep 1000") as shown:
        shown.wait_for("ready")
        shown.type("\x03\x1d\x1d\x1d")
        assert shown.end() == 125
        assert shown.settings() == shown.before
        assert "killed, as you typed" in shown.shown


def test_a_guest_that_dies_gives_the_terminal_back() -> None:
    with screen("--", "sh", "-c", "echo c >/proc/sysrq-trigger; reboot -f; sleep 100") as shown:
        assert shown.end() == 125
        assert shown.settings() == shown.before
        assert "the guest died before the command ended" in shown.shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(number: signal.Signals) -> None:
    with screen("--", "sh", "-c", "echo ready; sleep 1000") as shown:
        shown.wait_for("ready")
        shown.tool.send_signal(number)
        assert shown.end() == 128 + number
        assert shown.settings() == shown.before


def test_before_the_guest_is_up_the_keyboard_is_ours() -> None:
    with screen("--", "sleep", "1000") as shown:
        while "linux.uml" not in commands_below(shown.tool.pid):
            time.sleep(0.01)
        shown.type("\x03")
        assert shown.end() == 128 + signal.SIGINT  # also where it was up already
        assert shown.settings() == shown.before


def test_with_output_that_is_no_terminal_nothing_is_different() -> None:
    done = subprocess.run(
        [GUEST, "--", "sh", "-c", "tty; echo said"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "not a tty\nsaid\n"
