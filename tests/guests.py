"""What tests of tools/guest share: the tool, and where it can run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUEST = ROOT / "tools" / "guest"

where_guests_run = [
    pytest.mark.skipif(not shutil.which("linux.uml"), reason="no linux.uml: tools/setup"),
    pytest.mark.skipif("CUSE_SCULLV_IN_GUEST" in os.environ, reason="already in a guest"),
]
needs_qemu = pytest.mark.skipif(
    not shutil.which("qemu-system-x86_64"), reason="no qemu-system-x86_64: tools/setup"
)
