"""Bytes in JSON: so that a person can read and edit them, as far as they are for reading.

- a string, where all are printable ASCII, tab, line feed or carriage return: "AT+CSQ\\r\\n",
- {"hex": "01 03 00 0a"}, else, up to HEX_MAX of them,
- {"base64": "…"}, beyond.

Each is read whatever its length.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

HEX_MAX = 64
"""Bytes that are still shown as numbers."""
_TEXT = bytes(range(0x20, 0x7F)) + b"\t\n\r"


def encode(data: bytes | memoryview) -> str:
    """The JSON of `data`."""
    # Of what is no text the first bytes mostly tell.
    if _is_text(data[:HEX_MAX]) and _is_text(data):
        return json.dumps(str(data, "ascii"))
    if len(data) <= HEX_MAX:
        return f'{{"hex": "{data.hex(" ")}"}}'
    return f'{{"base64": "{base64.b64encode(data).decode("ascii")}"}}'


def _is_text(data: bytes | memoryview) -> bool:
    return not bytes(data).translate(None, _TEXT)


def decode(value: Any) -> bytes:
    """The other way round, of JSON that has been read. ValueError, saying what is wrong."""
    if isinstance(value, str):
        try:
            return value.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("text has to be ASCII: write other bytes as hex") from None
    if isinstance(value, dict) and len(value) == 1:
        ((kind, text),) = value.items()
        if kind == "hex" and isinstance(text, str):
            try:
                return bytes.fromhex(text)
            except ValueError:
                raise ValueError(f"{text!r} is not hex: two digits a byte") from None
        if kind == "base64" and isinstance(text, str):
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"it is not base64: {error}") from None
    raise ValueError('bytes are a string, {"hex": "…"} or {"base64": "…"}')
