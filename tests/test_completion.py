"""The completions of packaging/completions/, in the shells that they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cuse_scullv.registry import registered
from shell import LIMIT_S

COMPLETIONS = Path(__file__).resolve().parent.parent / "packaging" / "completions"
# What bash does at TAB, and the words that it offers then.
BASH = """
source "$FILE"
read -ra COMP_WORDS <<<"$LINE"
[[ $LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }  # there is no command line to be edited
_cuse_scullv_completion cuse-scullv
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'source "$FILE"; complete -C "$LINE"'
# zsh completes in its editor alone: one at a terminal of its own is asked to list what there is.
ZSH = r"""
zmodload zsh/zpty
zpty terminal zsh -f -i
zpty -w terminal 'PS1=; stty -echo columns 200; fpath=("'$FILE:h'" $fpath)'
zpty -w terminal 'autoload -Uz compinit; compinit -u -D'
zpty -w terminal "bindkey '^I' list-choices; zstyle ':completion:*' list-packed no; echo REA''DY"
zpty -r terminal before '*READY*'
zpty -n -w terminal "$LINE"$'\t'
zpty -r -m terminal shown "*$WANT*" && print -r -- $WANT
zpty -d terminal
"""
SCRIPTS = {
    "bash": (["bash", "--norc", "-c", BASH], "cuse-scullv"),
    "fish": (["fish", "--no-config", "-c", FISH], "cuse-scullv.fish"),
    "zsh": (["zsh", "-f", "-c", ZSH], "_cuse-scullv"),
}


def complete(shell: str, line: str, wanted: str) -> list[str]:
    """The words that a shell offers when TAB is pressed at the end of `line`."""
    command, file = SCRIPTS[shell]
    assert shutil.which(command[0]), f"{command[0]} is not installed"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FILE": str(COMPLETIONS / file),
        "LINE": line,
        "WANT": wanted,
        "TERM": "vt100",
    }
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("shell", "line", "word"),
    [
        ("bash", "cuse-scullv serve --max", "--max-bytes"),
        ("fish", "cuse-scullv serve --preset ", "scullp"),
        ("zsh", "cuse-scullv se", "seek-copy"),
    ],
)
def test_a_shell_completes(shell: str, line: str, word: str) -> None:
    assert word in complete(shell, line, word)


def test_devices_that_are_served_are_completed() -> None:
    with registered([Path("/dev/completed"), Path("/mnt/files")]):
        offered = complete("bash", "cuse-scullv set ", "")
    assert "/dev/completed" in offered
    assert "/mnt/files" not in offered
    assert "/dev/completed" not in complete("bash", "cuse-scullv set ", "")
