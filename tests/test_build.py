"""The build of the extension: what stops it, what it says then, and what an sdist makes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from cuse_scullv import __version__, _native
from cuse_scullv.cli.install_files import CONFIG, FILES

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "sudo apt install gcc libc6-dev pkg-config libfuse3-dev python3-dev",
    "sudo dnf install gcc glibc-devel pkgconf-pkg-config fuse3-devel python3-devel",
    "sudo pacman -S --needed gcc pkgconf fuse3",
)


@pytest.fixture
def build() -> ModuleType:
    """A fresh cuse_scullv/_build.py, which the package itself never imports."""
    spec = importlib.util.spec_from_file_location("_build", ROOT / "cuse_scullv" / "_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_build(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", "--name"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def assert_stopped(done: subprocess.CompletedProcess[str], problem: str) -> None:
    assert done.returncode != 0
    assert f"cuse-scullv: {problem}" in done.stderr
    for command in COMMANDS:
        assert command in done.stderr
    assert "Traceback" not in done.stderr


def test_without_libfuse_the_build_says_what_to_type() -> None:
    done = run_build(PKG_CONFIG_LIBDIR="/nowhere", PKG_CONFIG_PATH="/nowhere")
    assert_stopped(done, "no libfuse3 >= 3.14: pkg-config does not know 'fuse3'")


def test_without_pkg_config_the_build_says_what_to_type() -> None:
    assert_stopped(run_build(PKG_CONFIG="/nowhere/pkg-config"), "no pkg-config:")


def test_without_a_compiler_the_build_says_what_to_type() -> None:
    assert_stopped(run_build(CC="/nowhere/cc"), "no C compiler: '/nowhere/cc' is not on PATH")


def test_an_old_libfuse_stops_the_build(tmp_path: Path) -> None:
    old = tmp_path / "pkg-config"
    old.write_text("#!/bin/sh\necho 3.10.5\n")
    old.chmod(0o755)
    problem = "libfuse3 3.10.5 is too old: 3.14 or later is needed"
    assert_stopped(run_build(PKG_CONFIG=str(old)), problem)


def test_a_header_without_marks_is_refused(build: ModuleType, tmp_path: Path) -> None:
    header = tmp_path / "scullv.h"
    header.write_text("int f(void);\n/* cdef: begin */\n")
    with pytest.raises(SystemExit, match="lacks the marks"):
        build.cdef_text(header)


def test_the_cdef_is_what_stands_between_the_marks(build: ModuleType, tmp_path: Path) -> None:
    header = tmp_path / "scullv.h"
    header.write_text(
        "x\n/* cdef: begin */\nint f(void);\nSCULLV_PYTHON int g(void);\n/* cdef: end */\ny\n"
    )
    assert build.cdef_text(header) == '\nint f(void);\nextern "Python+C" int g(void);\n'


@pytest.mark.parametrize(("setting", "expected"), [("1", True), ("0", False)])
def test_warnings_are_errors_only_where_asked(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, setting: str, expected: bool
) -> None:
    monkeypatch.setenv("CUSE_SCULLV_WERROR", setting)
    assert ("-Werror" in build.compile_flags()) is expected


def test_outside_a_checkout_warnings_are_no_errors(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUSE_SCULLV_WERROR", raising=False)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert "-Werror" not in build.compile_flags()
    (tmp_path / ".git").mkdir()
    assert "-Werror" in build.compile_flags()


@pytest.mark.timeout(600)
def test_an_sdist_makes_a_wheel_that_imports(tmp_path: Path) -> None:
    def run(*command: str | Path, cwd: Path, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    metadata = ("egg_info", "--egg-base", str(tmp_path))
    run(sys.executable, "setup.py", "-q", *metadata, "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        tar.extractall(tmp_path / "source")
    assert {"LICENSE", "csrc/scullv.h", "tools/setup", "tools/guest.d/init/main.c"} <= names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    (source,) = (tmp_path / "source").iterdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    options = ("--no-build-isolation", "--no-deps", "--no-index", "-w", str(tmp_path))
    run(*pip, "wheel", *options, ".", cwd=source)
    (wheel,) = tmp_path.glob("*.whl")
    assert "-cp310-abi3-linux_" in wheel.name
    run(sys.executable, "-m", "abi3audit", "--strict", wheel, cwd=tmp_path)
    run(sys.executable, "-m", "twine", "check", "--strict", archive, wheel, cwd=tmp_path)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    (metadata_file,) = (tmp_path / "installed").glob("*.dist-info/METADATA")
    page = metadata_file.read_text()
    assert "# cuse-scullv" in page
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if "://" not in link] == []
    shared = next((tmp_path / "installed").glob("*.data")) / "data"
    for file in (
        "include/cuse-scullv/scullv_ioctl.h",
        "share/man/man1/cuse-scullv-serve.1",
        "share/man/man3/cuse_scullv.cuse.3",
        "share/man/man4/scullv.4",
        "share/bash-completion/completions/cuse-scullv",
        "share/zsh/site-functions/_cuse-scullv",
        "share/fish/vendor_completions.d/cuse-scullv.fish",
    ):
        assert (shared / file).exists(), file
    assert (tmp_path / "installed" / "cuse_scullv" / "py.typed").exists()
    laid = {path.name for path in (tmp_path / "installed" / "cuse_scullv" / "packaging").iterdir()}
    assert laid == {*FILES, CONFIG}
    script = "import cuse_scullv._native as n; print(n.__file__, bool(n.lib))"
    said = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    assert said.startswith(str(tmp_path / "installed"))
    assert said.endswith("True\n")


def test_the_version_is_that_of_the_changes() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__
    assert importlib.metadata.version("cuse-scullv") == __version__


def test_the_manifest_names_what_is_there() -> None:
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        word, *names = line.split()
        if word in {"include", "graft"}:
            assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_header_is_where_the_command_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cuse_scullv", "--include-dir"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert (Path(done.stdout.strip()) / "scullv_ioctl.h").exists()


def readelf(*words: str) -> str:
    done = subprocess.run(
        ["readelf", "--wide", *words, str(_native.__file__)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_the_extension_is_hardened() -> None:
    symbols = readelf("--dyn-syms")
    if "__asan_init" in symbols:
        pytest.skip("the sanitizers check the same")
    assert "BIND_NOW" in readelf("--dynamic")
    headers = readelf("--program-headers")
    assert "GNU_RELRO" in headers
    assert re.search(r"GNU_STACK .* RW ", headers)
    assert "__stack_chk_fail" in symbols
    assert "_chk@" in symbols.replace("__stack_chk_fail", "")


def test_flags_that_the_compiler_does_not_know_are_left_out(build: ModuleType) -> None:
    assert build.is_known("-fstack-protector-strong")
    assert not build.is_known("-fno-such-flag-at-all")
