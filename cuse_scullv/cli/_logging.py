"""What subcommands that serve say on stderr while they do."""

from __future__ import annotations

import logging
import sys

from cuse_scullv.log_format import JsonFormatter

FORMATS = ("text", "json")


def start_logging(level: str, form: str = "text") -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("cuse-scullv: %(levelname)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def say(message: str, level: int = logging.INFO) -> None:
    """What is said at any log level, in the form of the log."""
    root = logging.getLogger()
    handler = next(iter(root.handlers), None)
    if handler is not None and isinstance(handler.formatter, JsonFormatter):
        handler.handle(root.makeRecord("cuse_scullv", level, "", 0, message, (), None))
    else:
        print(f"cuse-scullv: {message}", file=sys.stderr, flush=True)
