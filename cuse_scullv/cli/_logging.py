"""What subcommands that serve say on stderr while they do."""

from __future__ import annotations

import logging
import sys


def start_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="cuse-scullv: %(levelname)s: %(message)s", stream=sys.stderr
    )
