"""serve --log-requests, --log-format: lines for machines."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import client, cuse
from cuse_scullv.cuse import testing
from cuse_scullv.log_format import JsonFormatter
from cuse_scullv.server.request_log import RequestLog, open_log
from nodes import NAME, RealServer, until
from shell import inside, refused
from views import FilesServer

SERVE = ("serve", "--no-node", "--files", "/nonexistent/never")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- requests


@pytest.mark.mount
def test_requests_are_lines_of_json_and_so_is_all_else(tmp_path: Path) -> None:
    view, log = tmp_path / "view", tmp_path / "requests"
    view.mkdir()
    log.write_text('{"operation": "before"}\n')
    options = ("--log-requests", str(log), "--log-format", "json", "--log-level", "info")
    server = FilesServer(view, *options)
    try:
        with client.open(view / "scullv", "r+") as device:
            device.info()
            device.write(b"not logged")
            with pytest.raises(OSError):
                fcntl.ioctl(device.fileno(), 0x4B63, 0)
            device.trim()
        until(lambda: lines_of(log)[-1]["operation"] == "release")
    finally:
        assert server.stop() == 0
    before, *logged = lines_of(log)
    assert before == {"operation": "before"}
    assert [(line["operation"], line["by"], line["device"]) for line in logged] == [
        (operation, "files", "scullv")
        for operation in ("open", "ioctl", "ioctl", "ioctl", "release")
    ]
    opened, *ioctls, released = logged
    assert opened["access"] == "rw"
    assert [line["command"] for line in ioctls] == [
        "SCULLV_IOC_INFO",
        "0x4b63",
        "SCULLV_IOC_TRIM",
    ]
    assert [line["error"] for line in ioctls] == [None, "ENOTTY", None]
    assert {line["pid"] for line in logged[:-1]} == {os.getpid()}
    assert all(0 < line["seconds"] < 60 for line in logged)
    assert "access" not in released
    said = [json.loads(line) for line in server.errors.splitlines()]
    assert any("serving" in line["message"] and line["level"] == "info" for line in said)
    assert any("trimmed" in line["message"] for line in said)


@pytest.mark.real
def test_requests_of_nodes_are_logged_by_worker_after_worker(tmp_path: Path) -> None:
    log = tmp_path / "requests"
    server = RealServer("--recover", "--log-requests", str(log))
    try:
        with client.open(server.paths[0]) as device:
            device.info()
            # User-mode-linux cannot copy a request for a process that is being killed: so it waits.
            server.kill_worker()
            device.info()
        mine = [line for line in lines_of(log) if line["pid"] == os.getpid()]
        # Of the first ioctl the worker that was killed may not have noted that it is answered.
        assert [line["operation"] for line in mine][:3] == ["open", "ioctl", "ioctl"]
        assert len(mine) <= 4
        assert {line["by"] for line in mine} == {"node"}
        assert {line["device"] for line in mine} == {NAME}
    finally:
        assert server.stop() == 0


def test_a_reader_who_does_not_read_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fd = open_log(str(path))
    device = cuse.Device("piped", ioctl=lambda file, request: 7)
    RequestLog(fd).watch(device, "node")
    with testing.serve(device) as kernel:
        file = kernel.open()
        assert {file.ioctl(1).result for _ in range(600)} == {7}
    assert [record.getMessage() for record in caplog.records] == [
        f"--log-requests: lines are lost: {os.strerror(errno.EAGAIN)}"
    ]
    os.close(fd)
    os.close(reader)


def test_what_a_method_raises_goes_on_to_the_client(tmp_path: Path) -> None:
    def refuse(file: cuse.File) -> None:
        raise PermissionError

    fd = open_log(str(tmp_path / "log"))
    device = cuse.Device("refusing", open=refuse)
    RequestLog(fd).watch(device, "node")
    with testing.serve(device) as kernel, pytest.raises(PermissionError):
        kernel.open()
    os.close(fd)
    assert [line["error"] for line in lines_of(tmp_path / "log")] == ["EIO"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log-requests", "/nonexistent/log"], "No such file or directory: type a file's path"),
        (["--log-requests", "/"], "is a directory"),
        (["--log-format", "xml"], "'xml' is not one of 'text', 'json'"),
    ],
)
def test_bad_input_is_one_line(options: list[str], said: str) -> None:
    assert said in refused(*SERVE, *options, run=inside)


# --- the format


def test_a_record_is_an_object_a_line() -> None:
    record = logging.makeLogRecord(
        {"name": "cuse_scullv", "levelname": "ERROR", "msg": 'a "%s"\nb', "args": ("name",)}
    )
    said = json.loads(JsonFormatter().format(record))
    assert said["message"] == 'a "name"\nb'
    assert said["level"] == "error"
    assert "traceback" not in said
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        record.exc_info = (ZeroDivisionError, error, error.__traceback__)
    line = JsonFormatter("cuse-scullv[%(process)d]: ").format(record)
    assert line.count("\n") == 0
    tag, _, said = line.partition(": ")
    assert tag == f"cuse-scullv[{os.getpid()}]"
    assert "ZeroDivisionError" in json.loads(said)["traceback"]
