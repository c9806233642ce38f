"""The jobserver over the fake kernel: whose a token is, and that none is lost or invented."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cuse_scullv import cuse
from cuse_scullv.cuse.testing import FakeFile, FakeKernel
from cuse_scullv.jobserver import device, gate, protocol
from cuse_scullv.jobserver.accounts import Accounts, Holder
from cuse_scullv.jobserver.device import Jobserver
from cuse_scullv.jobserver.fifo import OwnFifo
from nodes import until
from shell import inside, refused
from test_cuse_recover import serving

Serve = Callable[..., FakeKernel]
READ, WRITE = os.O_RDONLY | os.O_NONBLOCK, os.O_WRONLY


@contextlib.contextmanager
def family() -> Iterator[tuple[int, int]]:
    """A process and its child, which live until the end."""
    parent = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait; sleep 600"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    try:
        yield parent.pid, int(parent.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()


def opened(kernel: FakeKernel, flags: int, pid: int | None = None) -> FakeFile:
    """A file that the process `pid` has opened and uses; None: this one."""
    kernel.pid = pid
    return kernel.open(flags)


def state(file: FakeFile) -> protocol.State:
    return protocol.State.from_buffer_copy(file.ioctl(protocol.STATE, bytes(protocol.State())).data)


def held(file: FakeFile) -> dict[int, int]:
    reply = file.ioctl(protocol.HOLDERS, bytes(protocol.Holders()))
    return protocol.Holders.from_buffer_copy(reply.data).tokens


def limit(file: FakeFile, tokens: int, load: float = 0, min_memory: int = 0) -> None:
    limits = protocol.Limits(tokens=tokens, load=load, min_memory=min_memory)
    file.ioctl(protocol.LIMITS, bytes(limits))


def waiting(fd: int) -> int:
    """Bytes that can be read of a FIFO."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def drained(file: FakeFile) -> int:
    """How many tokens there were to be had; now the caller has them."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while file.read(1):
            count += 1
    return count


# --- a FIFO, as make has it ---------------------------------------------------------------------


def test_a_read_is_a_token_and_a_write_gives_it_back(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=2))
    reads, writes = kernel.open(READ), kernel.open(WRITE)
    assert [reads.read(1), reads.read(100)] == [b"+", b"+"]  # one a call
    with pytest.raises(BlockingIOError):
        reads.read(1)
    assert not reads.poll(select.POLLIN, 0)
    assert held(reads) == {os.getpid(): 2}
    assert writes.write(b"x") == 1
    assert reads.poll(select.POLLIN, 10)
    assert writes.write(b"+") == 1
    assert held(reads) == {}
    assert drained(reads) == 2


def test_who_reads_waits_and_can_be_interrupted(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=1))
    reads, writes = kernel.open(os.O_RDONLY), kernel.open(WRITE)
    reads.read(1)
    first, second = kernel.start(reads.read, 1), kernel.start(reads.read, 1)
    time.sleep(0.05)
    first.interrupt()
    with pytest.raises(InterruptedError):
        first.result()
    writes.write(b"+")
    assert second.result() == b"+"
    assert state(reads).held == 1


def test_who_only_writes_stands_in_no_line(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=1))
    reads, writes = kernel.open(READ), kernel.open(WRITE)
    reads.read(1)
    assert writes.poll(select.POLLIN | select.POLLOUT, 0) == select.POLLOUT
    assert not reads.poll(select.POLLIN, 0)
    writes.write(b"+")
    assert reads.read(1) == b"+"  # nothing was reserved for the other


@pytest.mark.parametrize("tokens", [0, -1, protocol.TOKENS_MAX + 1])
def test_an_absurd_number_of_tokens_is_einval(tokens: int) -> None:
    with pytest.raises(cuse.DeviceError) as caught:
        Jobserver(tokens=tokens)
    assert caught.value.errno == errno.EINVAL


# --- whose a token is ---------------------------------------------------------------------------


def test_tokens_of_a_process_that_died_come_back(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=3))
    mine = kernel.open(READ)
    with family() as (parent, child):
        for pid in (parent, child, child):
            opened(kernel, READ, pid).read(1)
        assert held(mine) == {parent: 1, child: 2}
        os.kill(child, signal.SIGKILL)
        until(lambda: held(mine) == {parent: 1})
    until(lambda: held(mine) == {})
    assert drained(mine) == 3


def test_a_process_that_closed_its_files_has_its_tokens_until_it_dies(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=1))
    mine = kernel.open(READ)
    with family() as (_, child):
        with opened(kernel, READ, child) as file:
            file.read(1)
        assert held(mine) == {child: 1}
    until(lambda: held(mine) == {})


def test_who_gave_his_tokens_back_costs_no_descriptor(
    cuse_device: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pidfds() -> int:
        fds = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return sum(str(fd.readlink()) == "anon_inode:[pidfd]" for fd in fds)

    monkeypatch.setattr(device, "LOOK_S", 0.02)
    before = pidfds()
    kernel = cuse_device(Jobserver(tokens=1))
    with family() as (_, child):
        file = opened(kernel, os.O_RDWR, child)
        file.read(1)
        assert pidfds() == before + 1
        file.write(b"+")
        until(lambda: pidfds() == before)


def test_a_child_gives_back_what_its_parent_read(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=2))
    mine = kernel.open(READ)
    with family() as (parent, child):
        opened(kernel, READ, parent).read(1)
        mine.read(1)  # an ancestor's as well, but not the nearest
        opened(kernel, WRITE, child).write(b"+")
        assert held(mine) == {os.getpid(): 1}


def test_who_shares_the_file_gives_back_what_another_read_by_it(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=1))
    with family() as (_, child), family() as (_, other):
        file = opened(kernel, os.O_RDWR, child)
        file.read(1)
        file.pid = other
        file.write(b"+")
        assert held(file) == {}


def test_prometheus_is_told_how_many_are_out(cuse_device: Serve) -> None:
    jobserver = Jobserver(tokens=3)
    file = cuse_device(jobserver).open(os.O_RDWR)
    file.read(1)
    file.read(1)
    file.write(b"+")
    assert jobserver.measures() == {
        "jobserver_tokens": 3,
        "jobserver_tokens_held": 1,
        "jobserver_handed_total": 2,
        "jobserver_refused_total": 0,
        "jobserver_shut": 0,
    }


@pytest.mark.logs_errors
def test_a_byte_that_is_no_token_makes_none(
    cuse_device: Serve, cuse_log: list[logging.LogRecord]
) -> None:
    kernel = cuse_device(Jobserver(tokens=2))
    mine, writes = kernel.open(READ), kernel.open(WRITE)
    mine.read(1)
    assert writes.write(b"+++") == 3  # as a FIFO would
    with family() as (_, stranger):
        opened(kernel, WRITE, stranger).write(b"+")
    now = state(mine)
    assert (now.held, now.refused) == (0, 3)
    assert drained(mine) == 2
    assert len(cuse_log) == 1  # and not one for each


def test_who_cannot_be_seen_has_tokens_until_his_file_ends(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=3))
    mine = kernel.open(READ)
    reads, writes = opened(kernel, READ, 0), opened(kernel, WRITE, 0)
    for _ in range(3):
        reads.read(1)
    writes.write(b"+")
    assert held(mine) == {0: 2}
    reads.close()
    until(lambda: held(mine) == {})
    assert drained(mine) == 3


class AccountsModel(RuleBasedStateMachine):
    """What one has is what he took, less what he and those below him gave back."""

    PIDS = (0, 1, 2, 3)  # each the parent of the next; 0 cannot be seen
    TOKENS = 4

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self.free = self.TOKENS
        self.has = dict.fromkeys(self.PIDS, 0)

    @precondition(lambda self: self.free)
    @rule(pid=st.sampled_from(PIDS), file=st.integers(0, 2))
    def take(self, pid: int, file: int) -> None:
        self.accounts.take(Holder(pid, pid, file))
        self.free -= 1
        self.has[pid] += 1

    @rule(pid=st.sampled_from(PIDS), file=st.integers(3, 5), n=st.integers(1, 5))
    def give_back(self, pid: int, file: int, n: int) -> None:
        """By a file that nobody has read from."""
        back = self.accounts.give_back(n, Holder(pid, pid, file), lambda: range(pid - 1, 0, -1))
        self.free += back
        for ancestor in range(pid, -1 if pid == 0 else 0, -1):
            part = min(n, self.has[ancestor])
            self.has[ancestor] -= part
            n -= part
            back -= part
        assert back == 0

    @rule(pid=st.sampled_from(PIDS))
    def die(self, pid: int) -> None:
        assert self.accounts.drop(lambda holder: holder.pid == pid) == self.has[pid]
        self.free += self.has[pid]
        self.has[pid] = 0

    @invariant()
    def no_token_is_lost_or_invented(self) -> None:
        assert self.accounts.total + self.free == self.TOKENS
        assert all(count > 0 for _, count in self.accounts)


TestAccounts = AccountsModel.TestCase
TestAccounts.settings = settings(stateful_step_count=20)


# --- limits -------------------------------------------------------------------------------------


def test_the_number_of_tokens_changes_while_clients_run(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=3))
    mine, writes = kernel.open(READ), kernel.open(WRITE)
    mine.read(1)
    mine.read(1)
    limit(mine, 1)
    assert (state(mine).tokens, state(mine).held) == (1, 2)
    writes.write(b"+")
    with pytest.raises(BlockingIOError):
        mine.read(1)  # one is out still
    writes.write(b"+")
    assert mine.read(1) == b"+"
    waits = kernel.start(kernel.open(os.O_RDONLY).read, 1)
    limit(mine, 5)
    assert waits.result() == b"+"
    assert drained(mine) == 3


@pytest.mark.parametrize(
    "limits", [{"tokens": 0}, {"tokens": 1 << 31}, {"tokens": 1, "load": float("nan")}]
)
def test_limits_that_cannot_be_are_einval(cuse_device: Serve, limits: dict[str, float]) -> None:
    file = cuse_device(Jobserver(tokens=3)).open(READ)
    with pytest.raises(OSError) as caught:
        limit(file, **limits)  # type: ignore[arg-type]
    assert caught.value.errno == errno.EINVAL
    assert state(file).tokens == 3


def test_only_root_and_who_serves_may_change_limits(cuse_device: Serve) -> None:
    kernel = cuse_device(Jobserver(tokens=3))
    kernel.uid = os.getuid() + 1
    file = kernel.open(os.O_RDWR)
    with pytest.raises(PermissionError) as caught:
        limit(file, 9)
    assert caught.value.errno == errno.EPERM
    assert state(file).tokens == 3


@pytest.mark.parametrize("which", ["load", "memory"])
def test_one_token_at_a_time_while_the_machine_has_too_much_to_do(
    cuse_device: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, which: str
) -> None:
    load = [0.5]
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(os, "getloadavg", lambda: (load[0], 0.0, 0.0))
    monkeypatch.setattr(gate, "MEMINFO", meminfo)

    def press(heavily: bool) -> None:
        load[0] = 9.5 if heavily and which == "load" else 0.5
        available = 99 if heavily and which == "memory" else 101
        meminfo.write_text(f"MemTotal: 500 kB\nMemAvailable: {available} kB\n")

    press(False)
    kernel = cuse_device(Jobserver(tokens=3, gate=gate.Gate(9, 100 << 10)))
    mine, writes = kernel.open(READ), kernel.open(WRITE)
    mine.read(1)
    press(True)
    mine.read(1)  # what was free is looked at when one is taken or given
    with pytest.raises(BlockingIOError):
        mine.read(1)
    assert state(mine).is_shut
    writes.write(b"++")
    assert mine.read(1) == b"+"  # or nobody would go on
    waits = kernel.start(kernel.open(os.O_RDONLY).read, 1)
    time.sleep(0.05)
    assert not waits.done
    press(False)
    assert waits.result() == b"+"  # though nobody reads or writes
    assert not state(mine).is_shut
    assert state(mine).held == 2


# --- deaths of the server -----------------------------------------------------------------------


def test_no_token_is_lost_with_a_worker_and_none_is_invented() -> None:
    with serving("jobserver") as server, family() as (_, child):
        mine = server.kernel.open(READ)
        hers = opened(server.kernel, READ, child)
        server.kernel.pid = None
        writes = server.kernel.open(WRITE)
        hers.read(1)
        mine.read(1)
        waits = server.kernel.start(server.kernel.open(os.O_RDONLY).read, 1)
        server.kill()
        assert held(mine) == {child: 1, os.getpid(): 1 + (waits.result() == b"+")}
        with pytest.raises(BlockingIOError):
            mine.read(1)
        writes.write(b"++")
        server.kill()
        assert held(mine) == {child: 1}
        os.kill(child, signal.SIGKILL)
        until(lambda: held(mine) == {})
        assert drained(mine) == 3


def test_who_dies_while_there_is_no_worker_is_missed() -> None:
    with serving("jobserver") as server, family() as (_, child):
        opened(server.kernel, READ, child).read(1)
        server.kernel.pid = None
        mine = server.kernel.open(READ)
        os.kill(server.worker, signal.SIGSTOP)
        os.kill(child, signal.SIGKILL)
        server.kill()
        until(lambda: held(mine) == {})
        assert drained(mine) == 3


# --- a FIFO of a build's own ---------------------------------------------------------------------


def test_a_fifo_of_its_own_has_one_token_as_long_as_there_are_some(tmp_path: Path) -> None:
    """What stands in for the device is a FIFO as well."""
    source = tmp_path / "device"
    os.mkfifo(source)
    theirs = os.open(source, os.O_RDWR | os.O_NONBLOCK)
    os.write(theirs, b"+++")
    with OwnFifo(source) as path:
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        for left in (2, 1, 0):
            until(lambda left=left: (waiting(theirs), waiting(fifo)) == (left, 1))
            os.read(fifo, 1)
        time.sleep(0.05)
        assert (waiting(theirs), waiting(fifo)) == (0, 0)
        os.write(fifo, b"++")
        until(lambda: (waiting(theirs), waiting(fifo)) == (1, 1))
        os.close(fifo)
    assert waiting(theirs) == 3  # that of the dead too, who did not write it back
    assert not path.parent.exists()
    os.close(theirs)


@pytest.mark.logs_errors
def test_a_build_goes_on_when_its_jobserver_has_gone(cuse_log: list[logging.LogRecord]) -> None:
    with OwnFifo("/dev/full") as path:  # read as one likes, and written never
        fifo = os.open(path, os.O_RDWR)
        os.write(fifo, b"++")
        until(lambda: cuse_log)
        os.close(fifo)
    assert "the build goes on" in cuse_log[0].getMessage()


# --- the command line ---------------------------------------------------------------------------

BAD = [
    (["jobserver", "--tokens", "0"], ["--tokens", "1<=x<=65536"]),
    (["jobserver", "--tokens", "70000"], ["--tokens"]),
    (["jobserver", "--tokens", "many"], ["--tokens", "integer"]),
    (["jobserver", "--load", "nan"], ["--load", "'nan'", "type a number"]),
    (["jobserver", "--load", "-1"], ["--load", "'-1'"]),
    (["jobserver", "--min-memory", "900T"], ["--min-memory", "this machine has"]),
    (["jobserver", "--min-memory", "some"], ["--min-memory", "'some'"]),
    (["jobserver", "--name", "a/b"], ["--name", "a/b"]),
    (["jobserver", "--metrics", "no"], ["no address", "9100"]),
    (["get", "/dev/null", "tokens"], ["/dev/null", "not a jobserver"]),
    (["get", "/no/such", "load"], ["/no/such", "'cuse-scullv jobserver'"]),
    (["build"], ["CMD"]),
    (["build", "--jobserver", "/no/such", "true"], ["/no/such", "'cuse-scullv jobserver'"]),
    (["build", "--jobserver", "/dev/null", "true"], ["/dev/null", "not a jobserver"]),
    (["set", "/dev/null", "tokens", "3"], ["/dev/null", "not a jobserver"]),
    (["set", "/dev/null", "tokens", "0"], ["tokens", "1 to 65536"]),
    (["set", "/dev/null", "tokens", "x"], ["'x'", "number"]),
    (["set", "/dev/null", "load", "nan"], ["load", "no load average"]),
    (["set", "/dev/null", "min-memory", "900T"], ["this machine has"]),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_refused(arguments: list[str], words: list[str]) -> None:
    message = refused(*arguments, run=inside)
    for word in words:
        assert word in message
