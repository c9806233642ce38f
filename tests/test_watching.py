"""info --watch, top, map: what a person sees of a device, on a terminal and in a file."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client
from cuse_scullv.cli._map_picture import Map, as_svg, as_text
from cuse_scullv.cli._top_screen import human_seconds, short_bytes
from cuse_scullv.ioctl import Information
from cuse_scullv.openers import openers
from nodes import RealPool
from shell import CLI, inside, refused
from views import FilesServer

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two devices of quanta of 4 KiB, 100 a set: the first with quanta 0, 3 and 250."""
    directory = tmp_path_factory.mktemp("view")
    server = FilesServer(directory, "--devices", "2", "--quantum", "4K", "--qset", "100")
    try:
        with client.open(directory / "scullv0", "r+") as device:
            for quantum in (0, 3, 250):
                device.seek(quantum * 4096)
                device.write(b"x")
        yield directory
    finally:
        assert server.stop() == 0


class Terminal:
    """A program at a terminal of so many columns."""

    def __init__(self, columns: int, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.shown = ""
        self.program = subprocess.Popen(
            [*CLI, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns)},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 60
        while text not in self.shown:
            left = until - time.monotonic()
            assert left > 0, self.shown
            if select.select([self._ours], [], [], left)[0]:
                self.shown += os.read(self._ours, 65536).decode(errors="replace")

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def end(self) -> int:
        status = self.program.wait(60)
        assert termios.tcgetattr(self._theirs) == self.before
        os.close(self._ours)
        os.close(self._theirs)
        return status


# --- top


@pytest.mark.mount
@pytest.mark.parametrize("columns", [80, 200])
def test_top_prints_without_colour_where_there_is_no_terminal(
    view: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = inside("top", str(view), "--count", "2", "--interval", "0.1")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode()
    assert ESCAPE not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.count("worker deaths: 0") == 2
    assert re.search(r"^scullv0 +1000\.0 KiB +12\.0 KiB +3 +1 ", shown, re.MULTILINE)
    assert re.search(r"^scullv1 +0 B +0 B +0 +1 ", shown, re.MULTILINE)
    second = shown.rpartition("memory ")[2]
    write = re.search(r"^ +write +0 +- +- +- +- +(\d+)$", second, re.MULTILINE)
    assert write is not None, second
    assert int(write[1]) == 3
    assert re.search(r"^ +ioctl +[1-9]\d* +\d.* [µm]s +.* [µm]?s +\d+$", second, re.MULTILINE)


@pytest.mark.mount
def test_top_at_a_terminal_ends_with_q(view: Path) -> None:
    with client.open(view / "scullv1"):
        terminal = Terminal(80, "top", str(view / "scullv1"), "--interval", "0.2")
        terminal.wait_for(str(os.getpid()))  # we are a client
        terminal.wait_for("µs")  # the second look
        terminal.press("q")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.shown


@pytest.mark.real
def test_top_shows_rates_and_where_threads_run_of_a_node(real_pool: RealPool) -> None:
    server = real_pool.get(devices=2)
    with server.open(os.O_RDWR, 1) as file:
        file.write(bytes(4096))
        done = inside("top", str(server.paths[0]), "--count", "2", "--interval", "0.1")
    shown = done.stdout.decode()
    assert f"{os.getpid()}" not in shown  # it does not show itself
    ways = "none|follow|crew|spinners|spin|free|pairs|idlers"
    assert re.search(rf"^{server.name}1 .* 0  ({ways})", shown, re.MULTILINE)
    assert re.search(r"^ +write .* [1-9]\d*$", shown, re.MULTILINE)


@pytest.mark.mount
def test_who_watches_is_told_that_the_server_has_ended(tmp_path: Path) -> None:
    directory = tmp_path / "view"
    directory.mkdir()
    server = FilesServer(directory)
    path = str(directory / "scullv")
    watches = [
        subprocess.Popen([*CLI, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for words in (["info", "--watch", "0.1", path], ["top", path, "--interval", "0.1"])
    ]
    for watch in watches:
        assert watch.stdout is not None
        assert watch.stdout.readline()
    server.process.send_signal(signal.SIGTERM)
    for watch in watches:
        _, said = watch.communicate(timeout=60)
        assert watch.returncode == 2
        assert said.decode() == (
            f"cuse-scullv: {path}: its server has ended: type 'cuse-scullv serve' to start one\n"
        )
    server.stop()


def test_openers_are_found_by_their_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with subprocess.Popen(["sleep", "60"], stdin=path.open()) as sleeper:
        found = openers([str(path)])
        sleeper.kill()
    assert [(each.pid, each.path, each.files) for each in found] == [(sleeper.pid, str(path), 1)]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1.024e-6, "1.0 µs"), (131e-6, "131 µs"), (0.0021, "2.1 ms"), (69, "69 s")],
)
def test_seconds_are_for_a_person(seconds: float, said: str) -> None:
    assert human_seconds(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**63, "8.0 EiB")]
)
def test_bytes_are_for_a_column(count: int, said: str) -> None:
    assert short_bytes(count) == said


# --- info --watch


@pytest.mark.mount
def test_info_watches_as_lines_of_json(view: Path) -> None:
    words = [*CLI, "info", "--json", "--watch", "0.1", str(view / "scullv0")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        looks = [json.loads(watch.stdout.readline()) for _ in range(2)]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
        assert watch.stderr is not None
        assert watch.stderr.read() == b""
    assert [look["regions"] for look in looks] == [3, 3]
    assert looks[1]["files"]["ioctl"]["requests"] > looks[0]["files"]["ioctl"]["requests"]
    assert looks[0]["files"]["write"] == {
        **looks[0]["files"]["write"],
        "requests": 3,
        "errors": 0,
        "bytes": 3,
    }
    assert looks[0]["worker_deaths"] == 0
    assert "node" not in looks[0]


@pytest.mark.mount
def test_info_watches_in_place_on_a_terminal_until_an_interrupt(view: Path) -> None:
    terminal = Terminal(80, "info", str(view / "scullv0"), "--watch")
    terminal.wait_for("in 3 quanta")
    terminal.press("\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.shown


# --- map


def information(quantum: int, qset: int, size: int) -> Information:
    fields = dict.fromkeys(Information.__annotations__, 0)
    return Information(**(fields | {"size": size, "quantum": quantum, "qset": qset}))


@pytest.mark.mount
def test_map_shows_holes(view: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = inside("map", str(view / "scullv0"))
    assert done.returncode == 0, done.stderr
    first, second, *lines, legend = done.stdout.decode().splitlines()
    assert first.endswith("scullv0: 1024001 bytes, 3 of 251 quanta have memory")
    assert second.endswith("a line here is 1 set, a place 1 quantum")
    assert lines == [
        "0x00000 █··█" + 96 * "·",
        "0x64000 " + 100 * "·",
        "0xc8000 " + 50 * "·" + "█",
    ]
    assert legend == "█ memory   ▒ memory and holes   · a hole"


def test_a_map_of_any_size_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    quanta = 2**63 // 4096
    spans = [(0, 1), (quanta // 2, quanta // 2 + 1), (quanta - 3, quanta)]
    found = Map("/dev/scullv", information(4096, 500, 2**63 - 1), quanta, spans)
    lines = as_text(found).splitlines()
    assert len(lines) <= 64 + 3
    assert max(map(len, lines[2:])) <= 80
    assert sum("▒" in line for line in lines[2:-1]) == 3
    ET.fromstring(as_svg(found))


def test_an_empty_device_has_a_map_too() -> None:
    found = Map("/dev/scullv", information(65536, 500, 0), 0, [])
    assert "0 of 0 quanta" in as_text(found)
    ET.fromstring(as_svg(found))


@pytest.mark.mount
def test_map_draws_a_picture(view: Path, tmp_path: Path) -> None:
    picture = tmp_path / "map.svg"
    assert inside("map", str(view / "scullv0"), "--svg", str(picture)).returncode == 0
    rects = ET.parse(picture).iter("{http://www.w3.org/2000/svg}rect")
    width = {"hole": 0.0, "memory": 0.0}
    for rect in rects:
        width[rect.attrib["class"]] += float(rect.attrib["width"])
    assert width == {"hole": pytest.approx(2480), "memory": pytest.approx(30)}


# --- bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["top", "/dev/null"], "/dev/null: not a scullv device"),
        (["top", "/nonexistent"], "no such device: type 'cuse-scullv serve' to make one"),
        (["top", "/var/empty/never"], "no such device"),
        (["top", "--interval", "0", "/dev/null"], "'0' is no number of seconds from 0.1"),
        (["top", "--interval", "5 m", "/dev/null"], "'5 m' is no number of seconds"),
        (["top", "--count", "0", "/dev/null"], "--count"),
        (["info", "/dev/null", "--watch", "-1"], "'-1' is no number of seconds"),
        (["info", "/dev/null", "--watch", "nan"], "'nan' is no number of seconds"),
        (["info", "--watch", "/dev/null"], "/dev/null: not a scullv device"),
        (["info", "--watch", "2", "/nonexistent"], "no such device"),
        (["map", "/dev/null"], "/dev/null: not a scullv device"),
        (["map", "/nonexistent"], "no such device"),
        (["map", "/tmp"], "type the path of a device"),
        (["map", "/dev/null", "--svg", "/tmp"], "is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(words: list[str], said: str) -> None:
    assert said in refused(*words, run=inside)


@pytest.mark.mount
def test_top_of_an_empty_directory_and_a_picture_nowhere(view: Path, tmp_path: Path) -> None:
    assert f"{tmp_path} has no devices" in refused("top", str(tmp_path), run=inside)
    said = refused("map", str(view / "scullv0"), "--svg", "/nonexistent/a.svg", run=inside)
    assert said.endswith("No such file or directory: type a file's path that you may write")
