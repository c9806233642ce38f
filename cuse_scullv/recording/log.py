"""The log: JSON lines. docs/record.md has every field, for those who read and edit one.

The first line names the format, the last one ends it; each between is an exchange, in the order in
which they were answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from . import flags, octets
from .arguments import name_of
from .fields import Fields
from .requests import Answer, Exchange, Ioctl, Open, Poll, Read, Release, Request, Write

FORMAT = "cuse-scullv record"
VERSION = 1
END = '{"op": "end"}'

_Texts: TypeAlias = "dict[str, str]"
"""The JSON of each field."""


class LogError(Exception):
    """A file is no log, or not one that can be used; in one line."""


@dataclass(frozen=True, slots=True)
class Log:
    device: str
    """The path of the device that was recorded."""
    exchanges: list[Exchange]


# --- writing --------------------------------------------------------------------------------------


def header(device: str, started: str) -> str:
    """The first line. `started`: when, ISO 8601."""
    return json.dumps({"format": FORMAT, "version": VERSION, "device": device, "started": started})


def line_of(exchange: Exchange) -> str:
    """The line of an exchange."""
    return _object(
        {
            "time": f"{exchange.start_us / 1e6:.6f}",
            "took": f"{(exchange.end_us - exchange.start_us) / 1e6:.6f}",
            "file": str(exchange.file),
            **_asked(exchange.request),
            **_answered(exchange.request, exchange.answer),
        }
    )


def asked(request: Request) -> str:
    """A request, as it is in its line."""
    return _object(_asked(request))


def _object(fields: _Texts) -> str:
    # Not by json.dumps: it would look for what to escape in each byte of base64.
    return "{" + ", ".join(f'"{key}": {text}' for key, text in fields.items()) + "}"


def _asked(request: Request) -> _Texts:
    match request:
        case Open(mode):
            return {"op": '"open"', "flags": f'"{flags.open_flags(mode)}"'}
        case Read(size):
            return {"op": '"read"', "size": str(size)}
        case Write(data):
            return {"op": '"write"', "data": octets.encode(data)}
        case Ioctl():
            return {"op": '"ioctl"', **_ioctl_asked(request)}
        case Poll():
            return {"op": '"poll"'}
        case Release():
            return {"op": '"release"'}


def _ioctl_asked(request: Ioctl) -> _Texts:
    fields = {"command": f'"{request.command:#x}"'}
    if name := name_of(request.command):
        fields["name"] = f'"{name}"'
    if isinstance(request.argument, bytes):
        fields["in"] = octets.encode(request.argument)
    elif request.argument is not None:
        fields["arg"] = str(request.argument)
    return fields


def _answered(request: Request, answer: Answer) -> _Texts:
    if answer.errno:
        return {"error": f'"{flags.error_name(answer.errno)}"'}
    match request:
        case Read():
            return {"data": octets.encode(answer.data)}
        case Write(data):
            return {} if answer.result == len(data) else {"count": str(answer.result)}
        case Ioctl():
            given = {"out": octets.encode(answer.data)} if len(answer.data) else {}
            return given | ({"result": str(answer.result)} if answer.result else {})
        case Poll():
            return {"events": f'"{flags.events(answer.result)}"'}
        case _:
            return {}


# --- reading --------------------------------------------------------------------------------------


def load(path: Path) -> Log:
    """The log that a file has. LogError, with the line, where it is none; OSError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise LogError(f"{path} is no log: it is not text") from None
    with _where(path, 1):
        device = _device(lines[0])
    exchanges: list[Exchange] = []
    for number, line in enumerate(lines[1:], 2):
        if line.replace(" ", "") == END.replace(" ", ""):
            return Log(device, exchanges)
        if number == len(lines):  # without its line feed: cut off in its midst
            break
        if line.strip():
            with _where(path, number):
                exchanges.append(_exchange(Fields(line), number))
    raise LogError(
        f"{path} is truncated: its last line is not {END}; if nothing is missing, append that"
    )


@contextmanager
def _where(path: Path, number: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise LogError(f"{path}:{number}: {error}") from None


def _device(line: str) -> str:
    try:
        fields = Fields(line)
        is_log = fields.any("format") == FORMAT
    except ValueError:
        is_log = False
    if not is_log:
        raise ValueError('it is no log of cuse-scullv proxy: that begins with {"format": …')
    version = fields.any("version")
    if version != VERSION:
        raise ValueError(
            f"the log is of version {json.dumps(version)}, and this reads {VERSION} alone:"
            " record it again"
        )
    return fields.text("device", "")


def _exchange(fields: Fields, number: int) -> Exchange:
    start_us = fields.microseconds("time")
    end_us = start_us + fields.microseconds("took")
    file = fields.number("file", least=1)
    request = _request(fields)
    answer = _answer(fields, request)
    fields.end()
    return Exchange(file, request, answer, start_us, end_us, number)


def _request(fields: Fields) -> Request:
    op = fields.text("op")
    match op:
        case "open":
            return Open(flags.parse_open_flags(fields.text("flags")))
        case "read":
            return Read(fields.number("size", least=1))
        case "write":
            return Write(_octets(fields, "data"))
        case "ioctl":
            return _ioctl(fields)
        case "poll":
            return Poll()
        case "release":
            return Release()
    raise ValueError(f"{op!r} is no op: it is open, read, write, ioctl, poll, release or end")


def _ioctl(fields: Fields) -> Ioctl:
    try:
        command = int(fields.text("command"), 16)
    except ValueError:
        raise ValueError("'command' is no number as \"0x5401\"") from None
    fields.text("name", "")
    if "in" in fields:
        return Ioctl(command, _octets(fields, "in"))
    if "arg" in fields:
        return Ioctl(command, fields.number("arg"))
    return Ioctl(command)


def _answer(fields: Fields, request: Request) -> Answer:
    if "error" in fields:
        return Answer(errno=flags.parse_error(fields.text("error")))
    match request:
        case Read(size):
            data = _octets(fields, "data")
            if len(data) > size:
                raise ValueError(f"'data' are {len(data)} bytes, of a read of {size}")
            return Answer(data=data)
        case Write(data):
            count = fields.number("count", len(data))
            if count > len(data):
                raise ValueError(f"'count' is {count}, of a write of {len(data)} bytes")
            return Answer(result=count)
        case Ioctl():
            given = _octets(fields, "out") if "out" in fields else b""
            return Answer(data=given, result=fields.number("result", 0))
        case Poll():
            return Answer(result=flags.parse_events(fields.text("events")))
        case _:
            return Answer()


def _octets(fields: Fields, key: str) -> bytes:
    value = fields.any(key)
    try:
        return octets.decode(value)
    except ValueError as error:
        raise ValueError(f"{key!r}: {error}") from None
