"""Options out of a file: serve --config, check-config."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuse_scullv.cli._config import FOLDER, path_of
from cuse_scullv.cli._serve_options import OPTIONS
from shell import cli, refused
from views import FilesServer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scullv.toml"


def check(file: Path, text: str) -> str:
    file.write_text(text)
    message = refused("check-config", str(file))
    assert message.startswith(f"cuse-scullv: {file}: ")
    return message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devcies = 2", "no option 'devcies': type 'devices'"),
        ("zzz = 2", "'cuse-scullv serve --help' lists them"),
        ("run = true", "no option 'run'"),
        ("config = 'other'", "no option 'config'"),
        ("devices =", "type NAME = VALUE"),
        ("\xff", "can't decode"),
        (f"devices = {'[' * 100_000}", "it is nested too deeply: type NAME = VALUE"),
        ("devices = 2000", "2000 is not in the range"),
        ("devices = [1]", "devices: type a number or a string"),
        ("filter = [1]", "filter: type a string, or a list of them"),
        ("filter = 'eror'", "no filter 'eror': type error, "),
        ("filter = ['readonly', 'eror']", "no filter 'eror': type error, "),
        ("devices = true", "devices: type a number or a string"),
        ("recover = 'yes'", "recover: type true or false"),
        ("minor = 2", "--minor needs a major number"),
        ("recover = true\nbacking = 'anon'", "type --backing memfd"),
        ("name = 'a/b'", "no name for a device"),
        ("order = 2\nquantum = '64K'", "order"),
    ],
)
def test_what_serve_would_not_take_is_refused(file: Path, text: str, said: str) -> None:
    if text == "\xff":
        file.write_bytes(b"\xff")
        assert said in refused("check-config", str(file))
    else:
        assert said in check(file, text)


def test_a_file_that_is_not_there_is_named() -> None:
    assert f"{FOLDER}/nosuch.toml: No such file" in refused("check-config", "nosuch")
    assert "/nosuch.toml: No such file" in refused("serve", "--config", "/nosuch.toml")


def test_a_name_is_a_file_of_etc() -> None:
    assert path_of("one") == Path("/etc/cuse-scullv/one.toml")
    assert path_of("./one") == Path("one")
    assert path_of("one.toml") == Path("one.toml")


def test_every_option_can_be_in_a_file(file: Path, tmp_path: Path) -> None:
    values = {
        "name": "'other'",
        "devices": 2,
        "major": 240,
        "minor": 3,
        "preset": "'scullp'",
        "order": 2,
        "qset": 100,
        "max-bytes": "'64M'",
        "backing": "'memfd'",
        "view": "'direct'",
        "user": "'nobody'",
        "owner": "'root'",
        "group": "'root'",
        "mode": "'0600'",
        "threads": 4,
        "placement": "'none'",
        "spin-us": 0,
        "files": f"'{tmp_path}'",
        "filter": "['delay:ms=5', 'error:rate=1%']",
        "metrics": "'unix:/run/scullv.metrics'",
        "log-level": "'info'",
        "log-format": "'json'",
        "log-requests": f"'{tmp_path}/requests'",
        "pidfile": f"'{tmp_path}/pid'",
    }
    values |= dict.fromkeys(("ldd3", "recover", "mem-node", "daemon"), "true")
    others = {"map", "quantum", "no-node", "no-drop", "run"}  # of which some exclude some
    assert {option.opts[0].lstrip("-") for option in OPTIONS} == values.keys() | others
    file.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    done = cli("check-config", str(file))
    assert (done.returncode, done.stdout.decode()) == (0, f"{file}: good\n")


@pytest.mark.mount
def test_what_is_typed_counts_more_than_the_file(file: Path, tmp_path: Path) -> None:
    file.write_text("devices = 2\nno-node = true\norder = 1\n")
    view = tmp_path / "view"
    view.mkdir()
    server = FilesServer(view, "--config", str(file), "--devices", "3", node=True)
    try:
        assert len(list(view.glob("scullv?"))) == 3
        assert b"quantum 8192 bytes" in server.errors
    finally:
        assert server.stop() == 0
