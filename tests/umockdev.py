"""Programs that ask udev and /sys for a device, with what the manual has for umockdev."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

from shell import out

PAGES = Path(__file__).parent.parent / "docs" / "classes"
FENCE = re.compile(r"^( *)```umockdev\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def run_described(page: str, folder: Path, *words: str) -> bytes:
    """What a program prints that sees the only description of `page` (i2c.md, say); files go to
    `folder`."""
    ((_, described),) = FENCE.findall((PAGES / page).read_text())
    bed = folder / "bed.umockdev"
    bed.write_text(textwrap.dedent(described))
    command = f'rm "$UMOCKDEV_DIR/ioctl/_default"; exec {shlex.join(words)}'
    return out("umockdev-run", "-d", str(bed), "--", "sh", "-c", command)
