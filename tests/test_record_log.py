"""The log of cuse-scullv proxy: what is written can be read, and what is none is said in a line."""

from __future__ import annotations

import errno
import json
import os
import select
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuse_scullv.recording import flags, log, octets
from cuse_scullv.recording.requests import (
    Answer,
    Exchange,
    Ioctl,
    Open,
    Poll,
    Read,
    Release,
    Request,
    Write,
)
from shell import inside, refused

HEADER = log.header("/dev/real", "2026-11-30T12:00:00.000+00:00")
READ = '{"time": 0.5, "took": 0.1, "file": 1, "op": "read", "size": 9, "data": "text"}'


def wrote(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_text("\n".join(lines) + end)
    return path


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"", ""),
        (b'AT+CSQ\r\n\t"\\', 'AT+CSQ\r\n\t"\\'),
        (b"\x01\x03\x00\x0a", {"hex": "01 03 00 0a"}),
        (b"\x80" * 64, {"hex": " ".join(["80"] * 64)}),
        (b"\x00" * 66, {"base64": "A" * 88}),
    ],
)
def test_bytes_are_text_numbers_or_base64(data: bytes, encoded: object) -> None:
    assert json.loads(octets.encode(data)) == encoded
    assert octets.decode(encoded) == data


@given(st.binary(max_size=200))
def test_any_bytes_come_back(data: bytes) -> None:
    assert octets.decode(json.loads(octets.encode(data))) == data


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Open(os.O_RDWR | os.O_NONBLOCK), Answer()),
        (Open(os.O_RDONLY | os.O_SYNC), Answer(errno=errno.EBUSY)),
        (Open(3 | os.O_DSYNC), Answer()),
        (Read(100), Answer(data=b"hello\n")),
        (Read(100), Answer(data=b"")),
        (Read(100), Answer(errno=errno.EAGAIN)),
        (Write(b"\xff" * 99), Answer(result=99)),
        (Write(b"hello"), Answer(result=3)),
        (Ioctl(0x5401), Answer(data=bytes(36))),
        (Ioctl(0x540B, 2), Answer()),
        (Ioctl(0xC0046B05, b"\1\2\3\4"), Answer(data=b"\4\3\2\1", result=7)),
        (Ioctl(0x4B00, 0), Answer(errno=errno.ENOTTY)),
        (Poll(), Answer(result=select.POLLIN | select.POLLHUP)),
        (Poll(), Answer(result=0)),
        (Release(), Answer()),
    ],
)
def test_an_exchange_comes_back(tmp_path: Path, request_: Request, answer: Answer) -> None:
    exchange = Exchange(3, request_, answer, 1_000_007, 1_000_012, line=2)
    path = wrote(tmp_path / "log", HEADER, log.line_of(exchange), log.END)
    assert log.load(path) == log.Log("/dev/real", [exchange])


def test_a_line_is_for_reading() -> None:
    exchange = Exchange(1, Ioctl(0x5401), Answer(data=b"\1\0"), 1_500_000, 1_500_010)
    assert log.line_of(exchange) == (
        '{"time": 1.500000, "took": 0.000010, "file": 1, "op": "ioctl", "command": "0x5401",'
        ' "name": "TCGETS", "out": {"hex": "01 00"}}'
    )
    assert flags.open_flags(os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC) == "O_WRONLY|O_APPEND"


def test_a_log_may_be_edited(tmp_path: Path) -> None:
    path = wrote(tmp_path / "log", HEADER, "", READ, "", log.END, "what comes after is not read")
    (exchange,) = log.load(path).exchanges
    assert (exchange.line, exchange.answer.data) == (3, b"text")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "it is not JSON: "),
        ("[" * 100_000, "it is nested too deeply to be a line of a log"),
        ("[1]", "it is not a JSON object"),
        (READ.replace('"took": 0.1, ', ""), "it has no 'took'"),
        (READ.replace("0.5", "-1"), "'time' is -1, not seconds from 0 on"),
        (READ.replace("0.5", '"soon"'), "'time' is \"soon\", not seconds"),
        (READ.replace('"file": 1', '"file": 0'), "'file' is 0, not a whole number from 1 on"),
        (READ.replace('"file": 1', '"file": true'), "'file' is true, not a whole number"),
        (READ.replace("read", "raed"), "'raed' is no op: it is open, read, "),
        (READ.replace('"size": 9', '"size": 3'), "'data' are 4 bytes, of a read of 3"),
        (READ.replace('"text"', '"té"'), "'data': text has to be ASCII"),
        (READ.replace('"text"', '{"hex": "0"}'), "'data': '0' is not hex"),
        (READ.replace('"text"', '{"base64": "!"}'), "'data': it is not base64"),
        (READ.replace('"text"', "7"), "'data': bytes are a string, "),
        (READ.replace('"data": "text"', '"error": "EWHAT"'), "'EWHAT' is no error"),
        (READ.replace('"data"', '"count": 1, "data"'), "'count' is nothing that it can have"),
        (READ.replace("read", "write"), "'size' is nothing that it can have"),
        (READ.replace('"read", "size": 9', '"write", "count": 5'), "'count' is 5, of a write of 4"),
        (READ.replace('read", "size": 9', 'open", "flags": "O_X"'), "'O_X' is none of O_RDONLY"),
        (READ.replace('read", "size": 9', 'poll", "events": "IN"'), "'IN' is none of POLL"),
        (READ.replace('read", "size": 9', 'ioctl", "command": "TCGETS"'), "'command' is no number"),
    ],
)
def test_a_line_that_is_none_is_said(tmp_path: Path, line: str, said: str) -> None:
    path = wrote(tmp_path / "log", HEADER, READ, line, log.END)
    message = refused("replay", str(path), "--name", "x", run=inside)
    assert message.startswith(f"cuse-scullv: {path}:3: {said}"), message


@pytest.mark.parametrize(
    ("lines", "end", "said"),
    [
        ([HEADER, READ], "\n", " is truncated: its last line is not "),
        ([HEADER, READ, READ[:30]], "", " is truncated: its last line is not "),
        ([HEADER], "\n", " is truncated: its last line is not "),
        ([HEADER, READ, '{"op": "e'], "", " is truncated: its last line is not "),
        (
            [HEADER.replace('"version": 1', '"version": 2'), log.END],
            "\n",
            ":1: the log is of versi",
        ),
        ([READ, log.END], "\n", ":1: it is no log of cuse-scullv proxy"),
        (["", ""], "", ":1: it is no log of cuse-scullv proxy"),
        (["#!/bin/sh"], "\n", ":1: it is no log of cuse-scullv proxy"),
    ],
)
def test_a_file_that_is_no_log_is_said(
    tmp_path: Path, lines: list[str], end: str, said: str
) -> None:
    path = wrote(tmp_path / "log", *lines, end=end)
    message = refused("replay", str(path), "--name", "x", run=inside)
    assert message.startswith(f"cuse-scullv: {path}{said}"), message


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for path, said in [
        (tmp_path / "none", f"{tmp_path}/none: No such file or directory"),
        (tmp_path, f"{tmp_path}: Is a directory"),
        (tmp_path / "bytes", f"{tmp_path}/bytes is no log: it is not text"),
    ]:
        assert refused("replay", str(path), "--name", "x", run=inside) == f"cuse-scullv: {said}"


def test_options_that_cannot_be_are_said(tmp_path: Path) -> None:
    path = wrote(tmp_path / "log", HEADER, log.END)
    words = ("replay", str(path), "--name", "x")
    assert "type --speed or --any-order" in refused(*words, "--speed=1", "--any-order", run=inside)
    for speed in ("-1", "inf", "nan"):
        assert f"no speed {speed}" in refused(*words, "--speed", speed, run=inside)
    assert "null exists already" in refused("replay", str(path), "--name", "null", run=inside)
