"""Messages between a keeper and its worker: JSON, one a packet."""

from __future__ import annotations

import json
import socket
from typing import Any

MESSAGE_MAX = 1 << 16  # bytes


def send(to: socket.socket, **message: Any) -> None:
    to.send(json.dumps(message).encode())


def receive(end: socket.socket) -> dict[str, Any]:
    """The next message; empty: the other side is gone. Raises BlockingIOError."""
    data = end.recv(MESSAGE_MAX)
    message: dict[str, Any] = json.loads(data) if data else {}
    return message
