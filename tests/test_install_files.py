"""cuse-scullv install-files, and the file of options that it lays down."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cuse_scullv.cli._config import TYPED_ONLY
from cuse_scullv.cli._serve_options import OPTIONS
from cuse_scullv.cli.install_files import CONFIG, FILES, text_of
from shell import inside, refused, text

PROGRAM = "/usr/bin/cuse-scullv"
COMMENTED = re.compile(r"^# ([a-z0-9-]+) = ([^#\n]*?) *(#.*)?$", re.MULTILINE)


def install(root: Path, *more: str) -> list[str]:
    """The paths that it names."""
    done = inside("install-files", "--destdir", str(root), "--program", PROGRAM, *more)
    assert done.returncode == 0, text(done)
    return done.stdout.decode().split()


def test_the_files_are_those_that_are_named_and_anybody_may_read_them(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        named = install(tmp_path)
    finally:
        os.umask(before)
    there = sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())
    assert sorted(named) == there
    assert len(there) == len(FILES) + 1
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")} == {0o755, 0o644}
    unit = tmp_path / "usr/local/lib/systemd/system/cuse-scullv@.service"
    assert f"ExecStart={PROGRAM} serve --config %i\n" in unit.read_text()


def test_an_instance_s_own_file_stays(tmp_path: Path) -> None:
    install(tmp_path)
    config = tmp_path / "etc/cuse-scullv" / CONFIG
    config.write_text("devices = 3\n")
    assert str(config) not in install(tmp_path, "--prefix", "/usr")
    assert config.read_text() == "devices = 3\n"
    assert (tmp_path / "usr/lib/udev/rules.d/70-cuse-scullv.rules").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--destdir", "/no/such"], "no such folder: type mkdir -p /no/such"),
        (["--prefix", "usr"], "--prefix usr: type an absolute path"),
        (["--program", "cuse-scullv"], "--program cuse-scullv: type an absolute path"),
        (["--program", "/opt/my tools/x"], "type an absolute path without spaces"),
        (["--program", "/home/me/x"], "is in /home: install cuse-scullv elsewhere"),
        (["--prefix", "/dev/null"], "Not a directory"),
        (["--prefix", "/proc"], "/proc/lib: No such file"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").write_text("")
    root = "/" if "/proc" in words else str(tmp_path)
    given = ["--destdir", root, "--program", PROGRAM, *words]
    assert said in refused("install-files", *given, run=inside)


def test_the_file_has_every_option_of_serve() -> None:
    found = text_of(CONFIG)
    there = {key for key, *_ in COMMENTED.findall(found)}
    there |= set(re.findall(r"^([a-z-]+) =", found, re.MULTILINE))
    options = {option.opts[0].lstrip("-") for option in OPTIONS if option.name not in TYPED_ONLY}
    assert there == options


@pytest.mark.parametrize("line", [match[0] for match in COMMENTED.finditer(text_of(CONFIG))])
def test_each_line_of_the_file_may_be_made_to_hold(tmp_path: Path, line: str) -> None:
    needs = {"minor": "major = 240", "no-node": "files = '/srv'", "pidfile": "daemon = true"}
    key = line.split()[1]
    config = tmp_path / CONFIG
    added = [needs.get(key, ""), line.removeprefix("# ")]
    if key in {"map", "user"}:  # of a file that is there, and a user who is
        added[1] = added[1].replace("/dev/pmem0:0:64M", __file__).replace("scullv", "nobody")
    if key == "group":
        added[1] = added[1].replace("scullv", "root")
    without = "recover = true\n" if key == "map" else ""
    config.write_text(text_of(CONFIG).replace(without, "") + "\n".join(added) + "\n")
    done = inside("check-config", str(config))
    assert (done.returncode, text(done)) == (0, f"{config}: good\n")
