"""The subcommands that use a device."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from cuse_scullv.params import PAGE_SIZE
from nodes import RealFile, RealPool, RealServer, seek
from shell import CLI, NOBODYS_CLI, inside, out, refused, run, sh, text

CUSE_SCULLV = "cuse-scullv"

COMMAND = shlex.join(CLI)  # for a shell: a checkout may lie in a folder with a space


def ask(*arguments: str) -> str:
    """What a subcommand that must succeed prints."""
    done = inside(*arguments)
    assert done.returncode == 0, text(done)
    return done.stdout.decode()


# --- bad input, anywhere

BAD = [
    (["get", "/dev/null", "order"], ["/dev/null", "not a scullv device"]),
    (["get", "/no/such", "order"], ["/no/such", "serve"]),
    (["get", "/tmp", "order"], ["/tmp is a directory: type the path"]),
    (["get", "/dev/null", "size"], ["size", "order"]),
    (["get"], ["DEVICE", "get --help"]),
    (["set", "/dev/null", "order"], ["VALUE"]),
    (["set", "/dev/null", "order", "15"], ["order", "0 to 14"]),
    (["set", "/dev/null", "order", "-1"], ["-1"]),
    (["set", "/dev/null", "qset", "0"], ["qset", "1 to"]),
    (["set", "/dev/null", "qset", "many"], ["'many'", "number"]),
    (["set", "/dev/null", "quantum", "65M"], ["quantum", "1 to"]),
    (["set", "/dev/null", "quantum", "big"], ["'big'", "64K"]),
    (["set", "/dev/null", "order", "1"], ["/dev/null", "not a scullv device"]),
    (["reset", "/dev/null"], ["/dev/null"]),
    (["trim", "/dev/null"], ["/dev/null"]),
    (["trim", "/tmp"], ["/tmp is a directory"]),
    (["punch", "/dev/null", "0", "0"], ["too small"]),
    (["punch", "/dev/null", "-5", "1"], ["-5"]),
    (["punch", "/dev/null", "1", "9223372036854775807"], ["2^63-1"]),
    (["punch", "/dev/null", "0", "1"], ["/dev/null"]),
    (["info", "/dev/null"], ["/dev/null"]),
    (["info", "--json", "--scullvmem", "/dev/null"], ["type one"]),
    (["seek-copy", "--bs", "0"], ["--bs", "too small"]),
    (["seek-copy", "--bs", "2G"], ["at most 1G"]),
    (["seek-copy", "--bs", "1G", "--skip", "9000000000"], ["2^63-1"]),
    (["seek-copy", "--if", "a", "--of", "b", "/dev/c"], ["DEVICE"]),
    (["seek-copy", "--if", "/no/such"], ["/no/such"]),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_refused(arguments: list[str], words: list[str]) -> None:
    message = refused(*arguments, run=inside)
    assert message.startswith(CUSE_SCULLV)
    for word in words:
        assert word in message


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    done = run("sh", "-c", f"{COMMAND} --help | :")
    assert done.stderr == b"", text(done)


def test_doctor_says_what_this_machine_can_do() -> None:
    done = inside("doctor")
    lines = done.stdout.decode().splitlines()
    found = {
        name: rest.split()[0]
        for name, rest in re.findall(r"^(\w.*?): +(.*)", "\n".join(lines), re.MULTILINE)
    }
    assert {"nodes", "file view", "passthrough", "libfuse", "memory"} <= set(found)
    assert done.returncode == (0 if found["nodes"] == "yes" else 1)
    if found["nodes"] == "no" and found["file view"] == "yes":
        assert any("serve --no-node --files DIR" in line for line in lines[5:])
    if found["nodes"] == "no":
        assert any("tools/guest -- COMMAND" in line for line in lines[5:])  # this is a checkout


# --- seek-copy over plain files and pipes


def test_seek_copy_means_by_its_numbers_what_dd_means(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(10_000))
    for options in ("skip=3 count=2", "seek=5 count=1", "skip=1 seek=2", "skip=99", "count=0"):
        words = [word.partition("=") for word in options.split()]
        flags = [part for name, _, value in words for part in (f"--{name}", value)]
        mine, theirs = tmp_path / "mine", tmp_path / "theirs"
        for path in (mine, theirs):
            path.write_bytes(b"\xaa" * 9000)
        sh(f"dd if={source} of={theirs} bs=1000 {options} 2>/dev/null")
        ask("seek-copy", "--bs", "1000", *flags, "--if", str(source), "--of", str(mine))
        assert mine.read_bytes() == theirs.read_bytes(), options


def test_seek_copy_keeps_the_rest_of_a_file_when_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    done = inside(
        "seek-copy", "--bs", "1", "--seek", "4", "--notrunc", "--of", str(path), stdin=b"ab"
    )
    assert done.returncode == 0
    assert path.read_bytes() == b"0123ab6789"
    assert done.stderr == b"2 bytes copied\n"


def test_seek_copy_skips_on_pipes_by_reading() -> None:
    done = inside("seek-copy", "--bs", "3", "--skip", "1", "--count", "1", stdin=b"abcdefgh")
    assert (done.returncode, done.stdout) == (0, b"def")


def test_seek_copy_does_not_write_to_a_place_that_a_pipe_has_not() -> None:
    done = run("sh", "-c", f"echo x | {COMMAND} seek-copy --seek 1 | cat")
    assert b"seek" in done.stderr
    assert done.stdout == b""


# --- on a node


@pytest.mark.real
def test_get_set_and_reset(real_pool: RealPool) -> None:
    path = str(real_pool.get().path)
    assert ask("get", path, "order") == "4\n"
    assert ask("get", path) == f"order 4\nquantum {16 * PAGE_SIZE}\nqset 500\n"
    assert ask("set", path, "order", "2") == ""
    assert ask("set", path, "qset", "17") == ""
    assert ask("get", path) == f"order 2\nquantum {4 * PAGE_SIZE}\nqset 17\n"
    assert ask("set", path, "quantum", "6000") == ""
    assert ask("get", path) == "order 1\nquantum 6000\nqset 17\n"
    assert ask("set", path, "quantum", "64K") == ""
    assert ask("get", path, "quantum") == "65536\n"
    assert ask("reset", path) == ""
    assert ask("get", path, "qset") == "500\n"


@pytest.mark.real
@pytest.mark.parametrize(
    ("preset", "parameter", "value"),
    [("scullv", "quantum", "8K"), ("scullp", "qset", "3"), ("scull", "order", "1")],
)
def test_set_finds_the_family_that_answers(
    real_pool: RealPool, preset: str, parameter: str, value: str
) -> None:
    path = str(real_pool.get(ldd3=True, preset=preset).path)
    ask("set", path, parameter, value)
    assert ask("get", path, parameter).strip() in (value, "8192")
    if preset == "scullv":
        assert "power of two" in refused("set", path, "quantum", "6000", run=inside)


@pytest.mark.real
def test_trim_punch_and_info(real_pool: RealPool) -> None:
    path = str(real_pool.get(order=0).path)
    sh('head -c 20000 /dev/zero | tr "\\0" x >"$NODE"', NODE=path)
    before = json.loads(ask("info", "--json", path))
    assert (before["size"], before["regions"], before["order"]) == (20000, 5, 0)
    assert before["ldd3"] is False
    ask("punch", path, "4K", "8K")
    assert json.loads(ask("info", "--json", path))["regions"] == 3
    assert sh('cat "$NODE"', NODE=path) == b"x" * 4096 + bytes(8192) + b"x" * (20000 - 12288)
    ask("set", path, "order", "3")
    table = ask("info", path)
    assert "size:        20000 bytes" in table
    assert f"next trim:   quantum {8 * PAGE_SIZE} bytes, qset 500" in table
    ask("trim", path)
    after = json.loads(ask("info", "--json", path))
    assert (after["size"], after["regions"], after["order"], after["used"]) == (0, 0, 3, 0)
    assert "next trim" not in ask("info", path)


@pytest.mark.real
def test_looking_at_a_device_does_not_trim_it(real_pool: RealPool) -> None:
    path = str(real_pool.get().path)
    sh('printf kept >"$NODE"', NODE=path)
    for command in (["get", path], ["info", path], ["set", path, "order", "1"], ["reset", path]):
        ask(*command)
    assert sh('cat "$NODE"', NODE=path) == b"kept"


@pytest.mark.real
def test_info_shows_scullvmem(real_pool: RealPool) -> None:
    path = str(real_pool.get(order=0, qset=4).path)
    sh('printf abc >"$NODE"', NODE=path)
    lines = ask("info", "--scullvmem", path).splitlines()
    assert lines[1] == "Device 0: qset 4, order 0, sz 3"
    assert lines[2].startswith("  item at 0x0, qset at 0x")
    assert lines[3].startswith("       0:")


@pytest.mark.real
def test_who_may_not_open_a_device_is_told_how_to_see_why(node: RealServer) -> None:
    done = run(*NOBODYS_CLI, "trim", str(node.path))
    assert done.returncode == 2
    assert f"ls -l {node.path}".encode() in done.stderr


@pytest.mark.real
def test_seek_copy_goes_to_any_place_of_a_node(node: RealServer, tmp_path: Path) -> None:
    path, data = str(node.path), os.urandom(40_000)
    source = tmp_path / "source"
    source.write_bytes(data)
    ask("seek-copy", "--if", str(source), "--bs", "4K", "--seek", "3", path)
    with RealFile(node.path, os.O_RDONLY) as file:
        assert file.read(99_999) == bytes(3 * 4096) + data
    # written again without a trim
    done = inside("seek-copy", "--bs", "1", "--seek", "1", path, stdin=b"XY")
    assert done.stderr == b"2 bytes copied\n"
    assert out("head", "-c", "4", path) == b"\0XY\0"
    done = inside("seek-copy", "--bs", "4096", "--skip", "4", "--count", "2", path)
    assert done.stdout == data[4096 : 3 * 4096]


@pytest.mark.real
def test_seek_copy_knows_a_node_on_its_standard_input(node: RealServer) -> None:
    printed = sh(
        'printf 0123456789 >"$NODE"; "$PYTHON" -m cuse_scullv seek-copy --bs 1 --skip 6 <"$NODE"',
        NODE=str(node.path),
        PYTHON=sys.executable,
    )
    assert printed == b"6789"


@pytest.mark.real
def test_dd_s_skip_is_silently_wrong_where_seek_copy_is_right(node: RealServer) -> None:
    path = str(node.path)
    sh('printf 0123456789 >"$NODE"', NODE=path)
    assert out("dd", f"if={path}", "bs=1", "skip=6", "count=2") == b"01"
    assert inside("seek-copy", "--bs", "1", "--skip", "6", "--count", "2", path).stdout == b"67"


@pytest.mark.real
def test_a_position_left_by_seek_is_the_open_file_s_alone(node: RealServer) -> None:
    with RealFile(node.path, os.O_RDWR) as file:
        file.write(b"abc")
        seek(file, 1)
        assert out("cat", str(node.path)) == b"abc"
        assert file.read(1) == b"b"
