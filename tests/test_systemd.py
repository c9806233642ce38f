"""The service as `cuse-scullv install-files` lays it down: what systemd says of the unit, and the
unit under a real systemd with a real udev, in a guest."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client
from nodes import child_named, until
from reaper import ROOT
from shell import out, run, text
from test_docs import paste_all

SYSTEMD = Path("/lib/systemd/systemd")
UDEV = Path("/lib/systemd/systemd-udevd")
UNIT = "cuse-scullv@scullv.service"
TEMPLATE = "cuse-scullv@.service"
NODE = Path("/dev/scullv")
UNITS = Path("/run/systemd/system")
LOG = Path("/run/cuse-scullv.log")
BEGIN = f"""
mount -t tmpfs none /etc
cp -a "$1/etc/." /etc
mount -t tmpfs none /var
mkdir /var/lib /var/tmp
policy=/usr/sbin/policy-rc.d # deb-systemd-invoke(1): a builder's machine starts nothing
[ ! -e $policy ] || mount --bind /bin/true $policy
exec {SYSTEMD} --unit=basic.target --log-target=null
"""
EXPOSURE_MOST = 20
"""Tenths, of `systemd-analyze security`."""
PROGRAM = Path("/usr/bin/cuse-scullv")
SCRIPTS = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not SYSTEMD.exists(), reason="apt-get install systemd udev")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What install-files has laid down: a root with nothing else."""
    root = tmp_path_factory.mktemp("laid")
    words = ["--destdir", str(root), "--prefix", "/usr", "--program", str(PROGRAM)]
    out(sys.executable, "-m", "cuse_scullv", "install-files", *words)
    return root


def analyze(laid: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    unit = laid / "usr/lib/systemd/system" / TEMPLATE
    return run("systemd-analyze", words[0], "--no-pager", *words[1:], str(unit))


def test_systemd_has_nothing_to_say_of_the_unit(laid: Path) -> None:
    unit = laid / "usr/lib/systemd/system" / TEMPLATE
    there = unit.read_text().replace(str(PROGRAM), str(SCRIPTS / "cuse-scullv"))
    (laid / TEMPLATE).write_text(there)
    done = run("systemd-analyze", "verify", "--man=no", str(laid / TEMPLATE))
    assert (done.returncode, text(done)) == (0, "")


def test_the_unit_is_hardly_exposed(laid: Path) -> None:
    done = analyze(laid, "security", "--offline=true", f"--threshold={EXPOSURE_MOST}")
    assert done.returncode == 0, text(done)
    exposure = re.search(r"Overall exposure level .*: (\d\.\d)", text(done))
    assert exposure is not None
    print("systemd-analyze security:", exposure[1])


def test_every_line_of_the_service_has_its_reason_above_it(laid: Path) -> None:
    unit = (laid / "usr/lib/systemd/system" / TEMPLATE).read_text()
    lines = unit.partition("[Service]\n")[2].partition("\n[Install]")[0].splitlines()
    pairs = itertools.pairwise(lines)
    assert [line for above, line in pairs if line[:1].isalpha() and above[:2] != "# "] == []


def test_the_user_is_made(laid: Path) -> None:
    make_user(laid)
    made = [line for line in (laid / "etc/passwd").read_text().splitlines() if "scullv" in line]
    assert len(made) == 1
    assert made[0].endswith("/nologin")
    assert re.search(r"^scullv:", (laid / "etc/group").read_text(), re.MULTILINE)


def make_user(root: Path) -> None:
    """As a package's installation does."""
    (root / "etc").mkdir(exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    out("systemd-sysusers", f"--root={root}")


# --- in a guest


class Systemd:
    """In a PID namespace of its own, with nothing but the unit, on an /etc of its own."""

    def __init__(self, root: Path) -> None:
        make_user(root)
        for name in ("nsswitch.conf", "ld.so.cache", "machine-id"):
            shutil.copy(f"/etc/{name}", root / "etc" / name)
        UNITS.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "usr/lib/systemd/system" / TEMPLATE, UNITS)
        for name in ("sysinit", "basic", "shutdown"):  # what every unit is ordered by
            (UNITS / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        self._show_checkout(UNITS / f"{TEMPLATE}.d")
        words = ["unshare", "--pid", "--fork", "--mount-proc"]
        words += ["env", "container=guest", f"SYSTEMD_UNIT_PATH=/etc/systemd/system:{UNITS}"]
        words += ["sh", "-ec", BEGIN, "sh", str(root)]
        self._process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: child_named(self._process.pid, "systemd"))
        self.pid = child_named(self._process.pid, "systemd")
        until(lambda: self._call("systemctl", "list-units").returncode == 0)

    def _show_checkout(self, folder: Path) -> None:
        """To a service that sees no /home and no /root: what it is to start may be there."""
        folder.mkdir(exist_ok=True)
        (folder / "checkout.conf").write_text(
            "[Service]\nProtectHome=read-only\n"
            f"ExecStart=\nExecStart={SCRIPTS}/cuse-scullv serve --config %i\n"
            f"StandardError=append:{LOG}\n"
        )

    @property
    def enter(self) -> list[str]:
        """The beginning of a command that is run beside it."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p"]

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.enter, *words],
            capture_output=True,
            text=True,
            check=False,
        )

    def do(self, verb: str, unit: str = UNIT) -> None:
        done = self._call("systemctl", verb, unit)
        assert done.returncode == 0, done.stderr + LOG.read_text()

    def refuses(self, unit: str) -> bool:
        return self._call("systemctl", "start", unit).returncode != 0

    def show(self, what: str, unit: str = UNIT) -> str:
        done = self._call("systemctl", "show", unit, "-p", what, "--value")
        return done.stdout.strip()

    def keeper(self) -> int:
        """As we see it, who are in another namespace than systemd."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return next(int(pid) for pid in children if child_named(int(pid), "scullv-worker"))

    def kill_worker(self) -> None:
        with self._another_worker() as worker:
            os.kill(worker, signal.SIGKILL)

    def upgrade(self) -> None:
        """As Debian's package does when it has another version of the program."""
        with self._another_worker():
            self.maintain("postinst", "configure", "0.0.1")

    def maintain(self, script: str, *words: str) -> None:
        done = self._call("sh", f"{ROOT}/packaging/debian/cuse-scullv.{script}", *words)
        assert done.returncode == 0, done.stderr

    @contextlib.contextmanager
    def _another_worker(self) -> Iterator[int]:
        """Of the same keeper; there is one when the context has ended."""
        keeper = self.keeper()
        worker = child_named(keeper, "scullv-worker")
        yield worker
        until(lambda: child_named(keeper, "scullv-worker") not in (0, worker))

    def kill_keeper(self) -> None:
        restarts = int(self.show("NRestarts"))
        os.kill(self.keeper(), signal.SIGKILL)
        until(lambda: int(self.show("NRestarts")) == restarts + 1)
        until(lambda: self.show("ActiveState") == "active")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # and with it all of its namespace
        self._process.wait(20)
        print(LOG.read_text())  # shown where a test has failed


@pytest.fixture(scope="module")
def systemd(laid: Path) -> Iterator[Systemd]:
    made = Systemd(laid)
    yield made
    made.close()


@pytest.fixture(scope="module")
def udev(laid: Path) -> Iterator[None]:
    """With our rule alone: the host's would have work to do for every device."""
    rules = Path("/run/udev/rules.d")
    rules.mkdir(parents=True, exist_ok=True)
    shutil.copy(laid / "usr/lib/udev/rules.d/70-cuse-scullv.rules", rules)
    daemon = subprocess.Popen([UDEV], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(Path("/run/udev/control").exists)
    yield
    daemon.terminate()
    daemon.wait(20)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def bits(*numbers: int) -> str:
    return f"{sum(1 << number for number in numbers):016x}"


def check_privileges(keeper: int, laid: Path) -> None:
    """The worker has none; the keeper no more than the unit says (linux/capability.h)."""
    worker = status_of(child_named(keeper, "scullv-worker"))
    user = re.search(r"^scullv:x:(\d+):(\d+)", (laid / "etc/passwd").read_text(), re.MULTILINE)
    assert user is not None
    assert (worker["Uid"].split(), worker["Gid"].split()) == ([user[1]] * 4, [user[2]] * 4)
    assert (worker["CapPrm"], worker["CapEff"], worker["NoNewPrivs"]) == (bits(), bits(), "1")
    chown, kill, setgid, setuid = 0, 5, 6, 7
    assert status_of(keeper)["CapBnd"] == bits(chown, kill, setgid, setuid)


def check_node(laid: Path) -> None:
    """It is its group's, and a unit of systemd's is made of it."""
    group = re.search(r"^scullv:x:(\d+)", (laid / "etc/group").read_text(), re.MULTILINE)
    assert group is not None
    seen = NODE.stat()
    assert (seen.st_mode & 0o777, seen.st_uid, seen.st_gid) == (0o660, 0, int(group[1]))
    until(lambda: b"TAGS=:systemd:" in run("udevadm", "info", str(NODE)).stdout)


@pytest.mark.real
@pytest.mark.usefixtures("udev")
def test_a_service_outlives_worker_keeper_and_program(systemd: Systemd, laid: Path) -> None:
    systemd.do("start")
    check_privileges(systemd.keeper(), laid)
    check_node(laid)
    kept = systemd.show("NFileDescriptorStore")
    with client.open(NODE, "r+") as device:
        device.write(b"zero ")
        systemd.kill_worker()
        device.write(b"one ")
        systemd.kill_keeper()
        device.write(b"two ")
        systemd.upgrade()
        device.write(b"three ")
        systemd.kill_keeper()
        device.write(b"four")
        assert device.tell() == 23
        until(lambda: systemd.show("NFileDescriptorStore") == kept)
    assert NODE.read_bytes() == b"zero one two three four"
    systemd.maintain("prerm", "remove")
    assert not NODE.exists()
    assert systemd.show("NFileDescriptorStore") == "0"
    nothing = UNIT.replace("scullv.", "nothing.")  # no such file in /etc/cuse-scullv
    assert systemd.refuses(nothing)
    assert systemd.show("ExecMainStatus", nothing) == "2"
    assert systemd.show("NRestarts", nothing) == "0"


@pytest.mark.real
def test_the_page_shows_what_happens(systemd: Systemd, tmp_path: Path) -> None:
    paste_all(ROOT / "docs/service.md", "systemd", tmp_path, systemd.enter)
