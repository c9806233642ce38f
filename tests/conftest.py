"""Fixtures, and what keeps a run honest: no test is skipped without a reason that is printed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from nodes import RealPool, RealServer, Serve, fake_serve, has_cuse
from reaper import ROOT
from views import unmount

# Slow machines and emulated kernels: hypothesis must not judge by the clock.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips, with what to type, a test whose kernel is not here."""
    if item.get_closest_marker("real") and not has_cuse():
        pytest.skip("needs a kernel with CUSE: type tools/guest -- pytest -m real")
    if item.get_closest_marker("mount") and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse: type modprobe fuse, or tools/guest -- pytest")
    if item.get_closest_marker("smp") and (os.cpu_count() or 1) < 2:
        pytest.skip("needs two CPUs: type tools/guest --smp -- pytest -m smp")


@pytest.fixture
def view(tmp_path: Path) -> Iterator[Path]:
    """An empty folder to mount a file view on; a view that a failed test leaves there ends."""
    folder = tmp_path / "view"
    folder.mkdir()
    yield folder
    unmount(folder)


@pytest.fixture(scope="session")
def real_pool() -> Iterator[RealPool]:
    pool = RealPool()
    yield pool
    pool.stop()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which the package logged a warning or an error, in this process."""
    yield
    said = [
        record
        for record in [*caplog.get_records("setup"), *caplog.get_records("call")]
        if record.name.startswith("cuse_scullv") and record.levelno >= logging.WARNING
    ]
    assert not said, [record.getMessage() for record in said]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes `serve_fake` drives a session over a socket pair."""
    for item in items:
        if {"serve_fake", "serve_map"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.fake)


FAKE = pytest.param("fake", marks=pytest.mark.fake)
REAL = pytest.param("real", marks=pytest.mark.real)
# The same once more where clients and server run at the same time.
SMP = pytest.param("smp", marks=[pytest.mark.real, pytest.mark.smp])
# Over devices that are files: where the bytes are makes no difference to a client.
FAKE_MEMFD = pytest.param("fake-memfd", marks=pytest.mark.fake)
FAKE_FILE = pytest.param("fake-file", marks=pytest.mark.fake)
REAL_MEMFD = pytest.param("real-memfd", marks=pytest.mark.real)
EVERYWHERE = [FAKE, FAKE_MEMFD, FAKE_FILE, REAL, REAL_MEMFD]


def serving(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """What the fixture `serve` gives, for modules that choose where they run."""
    kernel, _, kind = request.param.partition("-")
    options: dict[str, object] = {}
    if kind == "memfd":
        options["backing"] = "memfd"
    elif kind == "file":
        options["backing"] = str(request.getfixturevalue("tmp_path") / "image%d")
    if kernel != "fake":
        # And over a server that would survive its worker.
        options |= {"recover": True} if kind == "memfd" else {}
        pool = request.getfixturevalue("real_pool")
        yield lambda **more: pool.get(**{**options, **more})
        return
    request.getfixturevalue("quiet")
    with fake_serve() as function:
        yield lambda **more: function(**{**options, **more})


@pytest.fixture(params=EVERYWHERE)
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """A function that serves devices: `serve(devices=2, ldd3=True, order=0).open(os.O_RDWR, 1)`.

    Over a fake kernel, and over real nodes; over each backing. Options are those of
    `cuse-scullv serve`.
    """
    yield from serving(request)


@pytest.fixture(params=[FAKE, FAKE_MEMFD, REAL, REAL_MEMFD])
def serve_far(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """As `serve`, for the largest positions: a file's are those of the file system it is on."""
    yield from serving(request)


@pytest.fixture
def serve_map(quiet: None) -> Iterator[Serve]:
    """As `serve`, over a fake kernel, for `map="FILE:OFFSET:SIZE"`."""
    with fake_serve() as function:
        yield lambda **options: function(max_bytes=None, **options)


@pytest.fixture
def serve_fake(quiet: None) -> Iterator[Serve]:
    """As `serve`, over a fake kernel only: for what a real node cannot show."""
    with fake_serve() as function:
        yield function


@pytest.fixture
def node(real_pool: RealPool) -> RealServer:
    """A real node of the default settings, empty; mark the test `real`."""
    return real_pool.get()


@pytest.fixture(scope="session")
def mortal_build() -> Path:
    """Where the package is with kill points built in: tools/test makes it; else it is made here."""
    folder = ROOT / "build" / "kill-points"
    sources = [*ROOT.glob("csrc/**/*.[ch]"), *ROOT.glob("cuse_scullv/**/*.py")]
    newest = max(path.stat().st_mtime for path in sources)
    built = [path.stat().st_mtime for path in folder.glob("lib*/cuse_scullv/_native*.so")]
    if max(built, default=0.0) < newest:
        words = [sys.executable, "setup.py", "-q", "build", "-b", str(folder)]
        environment = {**os.environ, "CUSE_SCULLV_KILL_POINTS": "1"}
        subprocess.run(words, cwd=ROOT, env=environment, check=True)
        for path in folder.glob("lib*/cuse_scullv/_native*.so"):
            path.touch()  # it may need no compiling
    return next(folder.glob("lib*"))
