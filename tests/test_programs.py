"""Programs that nobody here wrote, on a real node."""

import json
import os
import shutil
from pathlib import Path

import pytest

from nodes import RealFile, RealPool, RealServer, info
from shell import out, sh

pytestmark = pytest.mark.real


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """10 MiB and a bit of noise."""
    path = tmp_path / "data"
    path.write_bytes(os.urandom(10_500_001))
    return path


def test_dd_both_ways(node: RealServer, data: Path) -> None:
    sh(
        'dd if="$DATA" of="$NODE" bs=64k status=none; cmp "$DATA" "$NODE"\n'
        'dd if="$NODE" of="$DATA.back" bs=1M status=none; cmp "$DATA" "$DATA.back"',
        DATA=str(data),
        NODE=str(node.path),
    )


@pytest.mark.parametrize("block", ["1", "511", "4096", "65537", "3M"])
def test_dd_with_any_block_size(node: RealServer, tmp_path: Path, block: str) -> None:
    part = tmp_path / "part"
    part.write_bytes(os.urandom(3001 if block == "1" else 1_000_003))
    sh(
        'dd if="$DATA" of="$NODE" bs="$BS" status=none\n'
        'dd if="$NODE" bs="$BS" status=none | cmp "$DATA"',
        DATA=str(part),
        NODE=str(node.path),
        BS=block,
    )


def test_cp_and_cat_both_ways(node: RealServer, data: Path) -> None:
    sh(
        'cp "$DATA" "$NODE"; cat "$NODE" | cmp "$DATA"\n'
        'cat "$DATA" "$DATA" >"$NODE"; cp "$NODE" "$DATA.back"\n'
        'cat "$DATA" "$DATA" | cmp "$DATA.back"',
        DATA=str(data),
        NODE=str(node.path),
    )


def test_past_the_byte_at_which_the_book_s_module_breaks(real_pool: RealPool) -> None:
    """At byte 32,768,000 a second list item begins, for which the book allocates too little."""
    server = real_pool.get(ldd3=True)
    sh(
        'head -c 40000000 /dev/urandom >"$TMP"; dd if="$TMP" of="$NODE" bs=1M status=none\n'
        'cmp "$TMP" "$NODE"; rm "$TMP"',
        TMP="/tmp/defect1",
        NODE=str(server.path),
    )


def test_redirection_trims_and_read_write_redirection_does_not(node: RealServer) -> None:
    printed = sh(
        'printf abcdef >"$NODE"; printf XY >"$NODE"; cat "$NODE"; echo\n'
        'printf abcdef >"$NODE"; printf XY 1<>"$NODE"; cat "$NODE"; echo\n'
        ': >"$NODE"; cat "$NODE"; echo end',
        NODE=str(node.path),
    )
    assert printed == b"XY\nXYcdef\nend\n"


def test_append_redirection_trims_as_in_the_book(node: RealServer) -> None:
    """`>>` opens O_WRONLY | O_APPEND: the device looks at the first and ignores the second."""
    printed = sh('printf abc >"$NODE"; printf X >>"$NODE"; cat "$NODE"', NODE=str(node.path))
    assert printed == b"X"


def test_children_of_a_shell_share_the_position(node: RealServer) -> None:
    printed = sh(
        'exec 3<>"$NODE"; printf 12345 >&3; exec 3<&-; exec 3<"$NODE"\n'
        "head -c 2 <&3 >/dev/null; cat <&3",
        NODE=str(node.path),
    )
    assert printed == b"345"


def fio(node: RealServer, *options: str) -> dict[str, int]:
    """Runs one job of fio on the node; its counts of errors and bytes."""
    if shutil.which("fio") is None:
        pytest.fail("fio is missing: type tools/setup")
    report = out(
        *("fio", "--name=job", f"--filename={node.path}", "--size=4M", "--output-format=json"),
        *options,
    )
    job = json.loads(report[report.index(b"{") :])["jobs"][0]
    return {
        "error": job["error"],
        "read": job["read"]["io_bytes"],
        "written": job["write"]["io_bytes"],
    }


@pytest.mark.parametrize("block", ["512", "4k", "128k", "1M"])
def test_fio_writes_and_verifies_in_sequence(node: RealServer, block: str) -> None:
    size = "--size=256k" if block == "512" else "--size=4M"
    counts = fio(
        node, "--rw=write", f"--bs={block}", "--ioengine=sync", "--verify=crc32c", size,
        "--do_verify=1", "--verify_fatal=1",
    )  # fmt: skip
    assert counts["error"] == 0
    assert counts["read"] == counts["written"] == (256 << 10 if block == "512" else 4 << 20)


@pytest.mark.parametrize("engine", ["psync", "vsync", "libaio", "io_uring"])
def test_other_engines_write_and_read_in_sequence(node: RealServer, engine: str) -> None:
    """One request at a time: on a node two in flight have no order, and offsets go nowhere."""
    counts = fio(node, "--rw=write", "--bs=64k", f"--ioengine={engine}", "--iodepth=1")
    assert counts == {"error": 0, "read": 0, "written": 4 << 20}
    with RealFile(node.path, os.O_RDONLY) as file:
        assert info(file).size == 4 << 20
    counts = fio(node, "--rw=read", "--bs=64k", f"--ioengine={engine}", "--iodepth=1")
    assert counts == {"error": 0, "read": 4 << 20, "written": 0}


@pytest.mark.parametrize("engine", ["libaio", "io_uring"])
def test_deep_queues_lose_nothing(node: RealServer, engine: str) -> None:
    counts = fio(node, "--rw=write", "--bs=16k", f"--ioengine={engine}", "--iodepth=16")
    assert counts == {"error": 0, "read": 0, "written": 4 << 20}
    with RealFile(node.path, os.O_RDONLY) as file:
        assert info(file).size == 4 << 20


def test_socat_splices_to_the_node_and_back(node: RealServer, data: Path) -> None:
    sh(
        'socat -u "FILE:$DATA" "OPEN:$NODE,wronly"; socat -u "OPEN:$NODE,rdonly" - | cmp "$DATA"',
        DATA=str(data),
        NODE=str(node.path),
    )
