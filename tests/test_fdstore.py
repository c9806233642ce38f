"""The keeper's death: the service manager keeps what it held, and no client notices."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuse_scullv import client
from manager import Manager, managed
from nodes import NAME, until
from torture import torture

DEATHS = 4
OPTIONS = ["--recover", "--max-bytes", "64M", "--log-level", "info"]


@pytest.fixture
def words(view: Path) -> list[str]:
    return [*OPTIONS, "--no-node", "--files", str(view)]


@pytest.fixture
def manager(tmp_path: Path, words: list[str]) -> Iterator[Manager]:
    with managed(tmp_path, *words) as made:
        yield made


def kill_keepers(manager: Manager, deaths: int) -> list[float]:
    times = []
    for _ in range(deaths):
        time.sleep(0.5)
        times.append(manager.kill())
        manager.start()
        assert manager.status() is None, manager.said()
    return times


@pytest.mark.mount
def test_open_files_and_bytes_outlive_the_keeper(manager: Manager, view: Path) -> None:
    with client.open(view / "scullv", "r+") as device:
        device.write(b"before ")
        device.set("order", 1)
        for _ in range(2):
            manager.kill()
            manager.start()
            device.write(b"after ")
            assert device.info().opens == 1
        assert device.get("order") == 1
    assert (view / "scullv").read_bytes() == b"before after after "
    os.kill(manager.worker(), signal.SIGKILL)
    assert (view / "scullv").read_bytes() == b"before after after "


@pytest.mark.mount
def test_who_waits_while_there_is_no_keeper_goes_on(manager: Manager, view: Path) -> None:
    (view / "scullv").write_bytes(b"one")
    manager.kill()
    got = []
    reads = threading.Thread(target=lambda: got.append((view / "scullv").read_bytes()))
    reads.start()
    time.sleep(0.2)
    assert not got
    manager.start()
    reads.join(10)
    assert got == [b"one"]


@pytest.mark.mount
def test_nothing_is_kept_of_a_server_that_ends(manager: Manager, view: Path) -> None:
    kept = ["file0", "fuse", "note", "state"]
    assert manager.kept() == kept
    kill_keepers(manager, 1)
    manager.reload()
    assert manager.kept() == kept
    assert manager.stop() == 0
    until(lambda: not manager.kept())
    assert list(view.iterdir()) == []


@pytest.mark.mount
def test_what_was_of_another_command_is_refused(
    manager: Manager, words: list[str], view: Path
) -> None:
    manager.kill()
    manager.set_arguments(*words, "--devices", "2")
    manager.start()
    assert manager.status() == 2
    assert "served something else" in manager.said()
    manager.set_arguments(*words)
    manager.start()
    assert manager.status() is None
    (view / "scullv").write_bytes(b"still here")


@pytest.mark.mount
def test_what_the_manager_has_lost_is_said(manager: Manager) -> None:
    manager.kill()
    manager.hide("state")
    manager.start()
    assert manager.status() == 2
    assert "has lost the descriptor 'state'" in manager.said()
    assert "FileDescriptorStoreMax=" in manager.said()
    manager.show()
    manager.start()
    assert manager.status() is None


@pytest.mark.mount
def test_no_client_of_the_view_notices(tmp_path: Path, words: list[str], view: Path) -> None:
    path = [view / f"scullv{n}" for n in range(4)]
    roles = [("place", path[0]), ("place", path[1]), ("exchange", path[0]), ("cut", path[3])]
    roles += [("wait", path[0]), ("store", path[2])]
    with managed(tmp_path, *words, "--devices", "4") as manager:
        torture(roles, lambda: kill_keepers(manager, DEATHS))


@pytest.mark.real
def test_a_node_outlives_the_keeper(tmp_path: Path) -> None:
    node = Path(f"/dev/{NAME}0")
    words = [*OPTIONS, "--name", NAME, "--devices", "2", "--mem-node"]
    with managed(tmp_path, *words) as manager:
        number = node.stat().st_rdev
        with client.open(node, "r+") as device:
            device.write(b"before ")
            kill_keepers(manager, 2)
            device.write(b"after")
            assert device.tell() == 12
            assert node.stat().st_rdev == number
    assert not node.exists()


@pytest.mark.real
@pytest.mark.smp
def test_no_client_of_a_node_notices(tmp_path: Path) -> None:
    path = [Path(f"/dev/{NAME}{n}") for n in range(4)]
    roles = [("stream", path[0]), ("stream", path[1]), ("trim", path[2]), ("exchange", path[0])]
    roles.append(("wait", path[0]))
    with managed(tmp_path, *OPTIONS, "--name", NAME, "--devices", "4") as manager:
        torture(roles, lambda: kill_keepers(manager, DEATHS))
