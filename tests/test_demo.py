"""tools/demo: what it prints survives wherever it is sent, and is what it runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from shell import CLI, LIMIT_S

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "tools" / "demo"
SCRIPTS = [
    path
    for folder in ("tools", "tools/guest.d", ".ci", "examples", "docs", "tests")
    for path in sorted((ROOT / folder).iterdir())
    if path.is_file() and path != Path(__file__) and path.suffix not in {".gz", ".png", ".c"}
]


@pytest.mark.mount
@pytest.mark.parametrize("redirected", [">>log 2>&1", "2>&1 | tee -a log >/dev/null"])
@pytest.mark.parametrize("stdin", ["", "<&-"])
def test_nothing_of_a_log_is_lost(tmp_path: Path, redirected: str, stdin: str) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (tmp_path / "log").write_text("what was there before\n")
    serve = [*CLI, "serve", "--no-node", "--files", str(files), "--run"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {stdin} {redirected}', "sh", *serve, DEMO, "files_session", files],
        cwd=tmp_path,
        timeout=LIMIT_S,
        check=False,
    )
    log = (tmp_path / "log").read_text()
    assert done.returncode == 0, log
    assert log.startswith("what was there before\ncuse-scullv: serving ")
    typed = [line[2:] for line in log.splitlines() if line.startswith("$ ")]
    assert [line.split()[0] for line in typed] == ["ls", "echo", "dd", "ls"]
    assert "conv=notrunc" in typed[1]  # what is shown is what is run
    assert "\nin the middle\n" in log


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_opens_its_output_anew(path: Path) -> None:
    """An open of /dev/stdout is a new open file: it begins at 0, and `tee` cuts it."""
    found = re.findall(r"(?:tee|>|of=) ?/dev/(?:stdout|stderr|fd/\d)", path.read_text())
    assert found == []
