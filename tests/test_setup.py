"""tools/setup on a machine that lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can read; pytest's own are for one user, and so may $TMPDIR be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no dpkg: nothing is looked up")
def test_what_is_missing_is_named_to_who_may_not_install(public: Path) -> None:
    home = public / "home"
    home.mkdir()
    home.chmod(0o777)
    shutil.copytree(ROOT / "tools", public / "tools")
    for path in (public / "tools", *(public / "tools").rglob("*")):
        path.chmod(0o755)  # a checkout may have been made with umask 077
    (public / "tools" / "packages.txt").write_text("gcc # there\nno-such-package # not there\n")
    become = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*become, public / "tools" / "setup"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == (
        "tools/setup: not root and no sudo; type: "
        "sudo apt-get install --no-install-recommends no-such-package\n"
    )
    assert done.returncode == 1
