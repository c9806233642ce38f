"""The dashboard of packaging/grafana asks for what there is."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cuse_scullv import cuse
from cuse_scullv.cuse.metrics import Collector, Measures
from cuse_scullv.server.server_metrics import ServerMeasures, name_of
from nodes import Serve

DASHBOARD = Path(__file__).parent.parent / "packaging" / "grafana" / "cuse-scullv.json"


@pytest.fixture
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def queries(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = dashboard["templating"]["list"]
    return asked + [each["query"]["query"] for each in variables if each["type"] == "query"]


def test_every_metric_that_is_asked_for_is_there_and_none_is_left_out(
    dashboard: dict[str, Any], serve_fake: Serve
) -> None:
    served: Any = serve_fake(devices=1)
    with served.open(os.O_RDWR) as file:
        file.write(b"x")
    channel: cuse.Channel = served.channels[0]
    device = served.devices[0]
    collectors = (
        Collector([(device.name, channel.statistics, name_of)]),
        Measures([device]),
        ServerMeasures(device.shared),
    )
    shown: dict[str, set[str]] = {}
    for family in itertools.chain.from_iterable(each.collect() for each in collectors):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        for suffix in suffixes.get(family.type, [""]):
            shown[family.name + suffix] = {
                label for sample in family.samples for label in sample.labels
            } | {"instance"}
    used = set()
    for query in queries(dashboard):
        for name, labels in re.findall(r"\b((?:cuse|scullv)_\w+)(\{[^}]*\})?", query):
            assert name in shown, query
            used.add(re.sub("_(bucket|count|sum|total)$", "", name))
            if "ioctls" not in name:  # of which there were none
                assert set(re.findall(r"(\w+)=~?\"", labels)) <= shown[name], query
    families = {re.sub("_(bucket|count|sum|total)$", "", name) for name in shown}
    assert families - used == {"cuse_ioctls_errors", "cuse_ioctls_bytes"}


def test_panels_have_their_places(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert panel["title"]
        assert panel["description"]
        assert at["x"] + at["w"] <= 24
        squares = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & squares
        taken |= squares


def test_brackets_of_queries_are_in_pairs(dashboard: dict[str, Any]) -> None:
    for query in queries(dashboard):
        rest = re.sub(r"[^][(){}]", "", query)
        while (shorter := re.sub(r"\(\)|\[\]|\{\}", "", rest)) != rest:
            rest = shorter
        assert rest == "", query
