"""What a server looks at before it says that its nodes can be opened."""

from __future__ import annotations

import os
import sys

import pytest

from shell import run

LOOK = """
import pathlib, sys
from cuse_scullv.server.daemon import ServeError, check_node
try:
    check_node(pathlib.Path(sys.argv[1]))
except ServeError as error:
    print(error)
"""
PLACE = """
mount -t tmpfs -o $1 none /mnt
if [ "$2" = node ]; then mknod -m 0600 /mnt/it c 1 3; chown 1:1 /mnt/it; else echo >/mnt/it; fi
shift 2
exec "$@"
"""
NO_MIGHTY_ROOT = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes nodes")
@pytest.mark.parametrize(
    ("options", "what", "become", "said"),
    [
        ("dev", "node", [], ""),
        ("dev", "file", [], "/mnt/it is no character device: move it away, or type --name"),
        ("nodev", "node", [], "/mnt/it was made but cannot be opened: Permission denied"),
        ("dev", "node", NO_MIGHTY_ROOT, ""),  # others may
        (
            "nodev",
            "node",
            NO_MIGHTY_ROOT,
            "/mnt/it was made but cannot be opened: Permission denied",
        ),
    ],
)
def test_a_node_that_nobody_can_open_is_complained_of(
    options: str, what: str, become: list[str], said: str
) -> None:
    words = [*become, sys.executable, "-c", LOOK, "/mnt/it"]
    done = run("unshare", "--mount", "sh", "-ec", PLACE, "sh", options, what, *words)
    assert (done.stdout.decode().strip(), done.stderr) == (said, b"")
