"""Nodes, their names, and what lies beside them."""

import errno
import grp
import os
import stat
import time
from pathlib import Path

import pytest

from cuse_scullv.server.daemon import ServeError, symlink
from nodes import NAME, RealFile, RealServer, free_major
from shell import refused, sh

pytestmark = pytest.mark.real

LINK = Path(f"/dev/{NAME}")
GONE_S = 60.0


def gone(*paths: Path) -> bool:
    """Whether the nodes go away: the kernel's helper removes them a moment after the server."""
    deadline = time.monotonic() + GONE_S
    while any(os.path.lexists(path) for path in paths):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_several_devices_have_numbers_and_a_link_to_the_first() -> None:
    server = RealServer("--devices", "3")
    try:
        assert [path.name for path in server.paths] == [f"{NAME}{n}" for n in range(3)]
        assert str(LINK.readlink()) == f"{NAME}0"
        sh('for n in 0 1 2; do printf $n >"$LINK$n"; done', LINK=str(LINK))
        assert sh('cat "$LINK" "$LINK"2 "$LINK"1', LINK=str(LINK)) == b"021"
    finally:
        assert server.stop() == 0
    assert gone(LINK, *server.paths)
    server.check_log()


def test_numbers_mode_and_owner_are_as_asked_for() -> None:
    group = grp.getgrgid(1).gr_name
    major = free_major()
    server = RealServer(
        *("--devices", "2", "--major", str(major), "--minor", "7", "--mode", "0640"),
        *("--owner", "65534", "--group", group),
    )
    try:
        for index, path in enumerate(server.paths):
            state = path.stat()
            assert stat.filemode(state.st_mode) == "crw-r-----"
            assert (os.major(state.st_rdev), os.minor(state.st_rdev)) == (major, 7 + index)
            assert (state.st_uid, state.st_gid) == (65534, 1)
    finally:
        assert server.stop() == 0


def test_the_default_mode_lets_in_owner_and_group(node: RealServer) -> None:
    assert stat.filemode(node.path.stat().st_mode) == "crw-rw----"


def test_the_text_node_shows_all_devices_as_they_were_when_opened() -> None:
    server = RealServer("--devices", "2", "--order", "0", "--qset", "9", "--mem-node")
    path = Path(f"/dev/{NAME}mem")
    try:
        with RealFile(path, os.O_RDONLY) as file:
            sh('printf abc >"$LINK"1', LINK=str(LINK))
            first = file.read(10)
            whole = first + file.read(100_000)
            assert file.read(10) == b""
        assert whole.decode().splitlines() == [
            "",
            "Device 0: qset 9, order 0, sz 0",
            "  item at 0x0, qset at (null)",
            "",
            "Device 1: qset 9, order 0, sz 0",
            "  item at 0x0, qset at (null)",
        ]
        assert b"Device 1: qset 9, order 0, sz 3\n" in path.read_bytes()
        assert stat.filemode(path.stat().st_mode) == "cr--r-----"
        with pytest.raises(OSError) as caught:
            RealFile(path, os.O_RDWR)
        assert caught.value.errno == errno.EACCES
    finally:
        assert server.stop() == 0
    assert gone(path)


def test_a_taken_name_is_refused_and_what_was_begun_is_undone() -> None:
    taken = RealServer(name=f"{NAME}1")
    try:
        message = refused("serve", "--name", NAME, "--devices", "3")
        assert f"{NAME}1" in message
        assert "name" in message
        assert gone(Path(f"/dev/{NAME}0"), Path(f"/dev/{NAME}2"), LINK)
        assert sh('printf x >"$NODE"; cat "$NODE"', NODE=str(taken.path)) == b"x"
    finally:
        assert taken.stop() == 0


def test_a_second_server_of_the_same_name_is_refused(node: RealServer) -> None:
    message = refused("serve", "--name", node.name)
    assert node.name in message
    assert node.process.poll() is None
    assert sh('printf y >"$NODE"; cat "$NODE"', NODE=str(node.path)) == b"y"


def test_a_link_that_is_not_ours_is_left_alone() -> None:
    LINK.symlink_to("/dev/null")
    try:
        message = refused("serve", "--name", NAME, "--devices", "2")
        assert f"{LINK} exists already" in message
        assert str(LINK.readlink()) == "/dev/null"
        assert gone(Path(f"/dev/{NAME}0"), Path(f"/dev/{NAME}1"))
    finally:
        LINK.unlink()


def test_a_link_that_a_crashed_server_left_is_taken_over() -> None:
    LINK.symlink_to(f"{NAME}0")
    server = RealServer("--devices", "2")
    try:
        assert str(LINK.readlink()) == f"{NAME}0"
    finally:
        assert server.stop() == 0
    assert gone(LINK)


def test_a_link_is_removed_only_while_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "link"
    with symlink(path, "target0"):
        path.unlink()
        path.symlink_to("other")
    assert str(path.readlink()) == "other"
    with pytest.raises(ServeError), symlink(path, "target0"):
        pass
