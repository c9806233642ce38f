"""cuse-scullv cdi, and the files for clusters: what containers' runtimes are given."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema
import yaml

from cuse_scullv import registry
from cuse_scullv.cdi import KIND, NameTakenError, specification
from shell import inside, refused

DATA = Path(__file__).resolve().parent / "data" / "cdi"
MANIFESTS = DATA.parents[2] / "packaging" / "kubernetes"
# Nodes that are everywhere, and which this process says that it serves.
NULL, FULL = Path("/dev/null"), Path("/dev/full")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[None]:
    with registry.registered([FULL, NULL, tmp_path]):
        yield


def check(spec: dict[str, Any]) -> None:
    """Fails unless the schema of CDI allows it."""
    schema, defs = (json.loads((DATA / f"{name}.json").read_text()) for name in ("schema", "defs"))
    resource = referencing.jsonschema.DRAFT7.create_resource(defs)
    known = referencing.Registry().with_resource("defs.json", resource)
    jsonschema.Draft7Validator(schema, registry=known).validate(spec)


def test_a_node_is_a_device_with_the_owner_and_mode_it_has(served: None) -> None:
    done = inside("cdi", "/dev/null")
    assert done.stderr == b""
    spec = json.loads(done.stdout)
    check(spec)
    assert (spec["cdiVersion"], spec["kind"]) == ("0.3.0", KIND)
    assert spec["devices"] == [
        {
            "name": "null",
            "containerEdits": {
                "deviceNodes": [
                    {
                        "path": "/dev/null",
                        "type": "c",
                        "permissions": "rw",
                        "fileMode": stat.S_IMODE(NULL.stat().st_mode),
                        "uid": 0,
                        "gid": 0,
                    }
                ]
            },
        }
    ]


def test_all_nodes_are_written_to_a_file_that_is_whole(served: None, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text("before")
    assert inside("cdi", "--output", str(tmp_path / "own.json")).returncode == 0
    names = [
        device["name"] for device in json.loads((tmp_path / "own.json").read_text())["devices"]
    ]
    assert {"full", "null"} <= set(names)  # this machine may serve others
    assert tmp_path.name not in names
    assert [path.name for path in tmp_path.iterdir()] == ["own.json"]


def test_names_are_those_that_cdi_allows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cuse_scullv.cdi.DEV", tmp_path)
    nodes = [tmp_path / name for name in ("9p+", "a@b#", "bus/1")]
    for node in nodes:
        node.parent.mkdir(exist_ok=True)
        node.touch()
    spec = specification(nodes)
    check(spec)
    assert [device["name"] for device in spec["devices"]] == ["9p", "a-b", "bus-1"]
    assert spec["cdiVersion"] == "0.5.0"
    with pytest.raises(NameTakenError):
        specification([tmp_path / "a@b#", tmp_path / "a-b"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/dev/zero"], "/dev/zero is no node that is served: type 'cuse-scullv serve'"),
        (["/dev/nonsense"], "/dev/nonsense is no node that is served"),
        (["--output", "/tmp/own.yaml"], "runtimes read NAME.json alone: type such a name"),
        (["--output", "/nonsense/own.json"], "there is no folder /nonsense: make it first"),
    ],
)
def test_bad_input_is_refused(served: None, arguments: list[str], said: str) -> None:
    assert said in refused("cdi", *arguments, run=inside)


def test_where_nothing_is_served_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "served", list)
    assert "no node is served: type 'cuse-scullv serve'" in refused("cdi", run=inside)


def test_the_pod_asks_for_what_the_plugin_offers() -> None:
    devices, pod = (
        yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text()) for name in ("devices", "pod")
    )
    (plugin,) = devices["spec"]["template"]["spec"]["containers"]
    words = dict(zip(plugin["args"][::2], plugin["args"][1::2], strict=True))
    offered = yaml.safe_load(words["--device"])["name"]
    (client,) = pod["spec"]["containers"]
    assert client["resources"]["limits"] == {f"{words['--domain']}/{offered}": "1"}
