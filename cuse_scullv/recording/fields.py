"""Fields: one line of a log as JSON, whose keys are taken one by one."""

from __future__ import annotations

import json
from typing import Any


class Fields:
    """Raises ValueError, saying what is wrong, for what is missing or of another kind."""

    def __init__(self, text: str) -> None:
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON: {error.msg} at column {error.colno}") from None
        except RecursionError:
            raise ValueError("it is nested too deeply to be a line of a log") from None
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
        self._left: dict[str, Any] = found

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def any(self, key: str) -> Any:
        if key not in self._left:
            raise ValueError(f"it has no {key!r}")
        return self._left.pop(key)

    def text(self, key: str, default: str | None = None) -> str:
        value: str = self._of_kind(key, str, "a string", default)
        return value

    def number(self, key: str, default: int | None = None, least: int = 0) -> int:
        value: int = self._of_kind(key, int, "a whole number", default)
        if isinstance(value, bool) or value < least:
            raise ValueError(f"{key!r} is {json.dumps(value)}, not a whole number from {least} on")
        return value

    def microseconds(self, key: str) -> int:
        value: float = self._of_kind(key, (int, float), "seconds", None)
        if not 0 <= value < 1e12:
            raise ValueError(f"{key!r} is {value!r}, not seconds from 0 on")
        return round(value * 1e6)

    def _of_kind(self, key: str, kind: Any, called: str, default: object) -> Any:
        if key not in self._left and default is not None:
            return default
        value = self.any(key)
        if not isinstance(value, kind):
            raise ValueError(f"{key!r} is {json.dumps(value)}, not {called}")
        return value

    def end(self) -> None:
        """Nothing is left over."""
        for key in self._left:
            raise ValueError(f"{key!r} is nothing that it can have")
