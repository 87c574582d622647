"""Alert rules, dashboard and documentation name metrics that there are, and use them as what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from udfstore.http.metrics import METRICS, Told

HERE = Path(__file__).parents[2]
RULES = yaml.safe_load((HERE / "deploy/prometheus/udfstore.rules.yml").read_text())
BOARD = json.loads((HERE / "deploy/grafana/udfstore.json").read_text())
PAGE = (HERE / "docs/metrics.md").read_text()

ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
ADDED = {"job", "instance"}
"""Labels that Prometheus gives every series."""

_BY_NAME = {metric.name: metric for metric in METRICS}
_NAME = re.compile(r"\b(?:udfstore|process)_\w+")
_SELECTED = re.compile(r"((?:udfstore|process)_\w+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPED = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")
_GROWTH = re.compile(r"\b(?:rate|irate|increase)\(\s*(\w+)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def metric_of(name: str) -> Told | None:
    """The metric that a name in a query is of; None: of none."""
    if name in _BY_NAME:
        return None if _BY_NAME[name].type == "histogram" else _BY_NAME[name]
    base, _, suffix = name.rpartition("_")
    found = _BY_NAME.get(base)
    return found if found and found.type == "histogram" and suffix in ("bucket", "sum", "count") else None


def queries() -> Iterator[tuple[str, str]]:
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in BOARD["templating"]["list"][1:]:
        yield variable["name"], variable["definition"]
    for annotation in BOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


QUERIES = dict(queries())


@pytest.mark.parametrize("where", QUERIES)
def test_every_name_is_that_of_a_metric_with_those_labels(where: str) -> None:
    query = QUERIES[where]
    names = _NAME.findall(query)
    metrics = {name: metric_of(name) for name in names}
    assert names
    assert [name for name, metric in metrics.items() if metric is None] == []
    labels = {*ADDED, "le", *(label for metric in metrics.values() if metric for label in metric.labels)}
    for name, selectors in _SELECTED.findall(query):
        metric = metric_of(name)
        assert metric is not None
        assert set(_LABEL.findall(selectors)) <= {*ADDED, *metric.labels}, name
    for grouped in _GROUPED.findall(query):
        assert {label.strip() for label in grouped.split(",")} <= labels


@pytest.mark.parametrize("where", QUERIES)
def test_rates_are_of_what_only_grows_and_of_all_of_it(where: str) -> None:
    query = QUERIES[where]
    growing = [name for name in _GROWTH.findall(query) if name.startswith(("udfstore_", "process_"))]
    for name in growing:
        metric = metric_of(name)
        assert metric is not None
        assert metric.type != "gauge", name
    counters = [name for name in _NAME.findall(query) if (m := metric_of(name)) and m.type != "gauge"]
    assert sorted(growing) == sorted(counters), "a counter says nothing without its rate"


def test_the_query_of_a_name_that_is_none_is_found() -> None:
    assert metric_of("udfstore_blob") is None
    assert metric_of("udfstore_blobs_bucket") is None
    assert metric_of("udfstore_call_seconds") is None, "a histogram has only its parts"
    assert metric_of("udfstore_call_seconds_bucket") is _BY_NAME["udfstore_call_seconds"]


def test_counters_and_only_they_end_in_total() -> None:
    assert [m.name for m in METRICS if m.name.endswith("_total") is not (m.type == "counter")] == []
    assert len(_BY_NAME) == len(METRICS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_tells_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("warning", "critical")
    told = alert["annotations"]
    assert set(told) == {"summary", "description", "runbook_url"}
    assert told["runbook_url"] == f"docs/metrics.md#{alert['alert'].lower()}"
    assert f"### {alert['alert']}\n" in PAGE
    used = set(re.findall(r"\$labels\.(\w+)", told["summary"] + told["description"]))
    metrics = [metric for name in _NAME.findall(alert["expr"]) if (metric := metric_of(name))]
    assert used <= {*ADDED, *(label for metric in metrics for label in metric.labels)}


def test_the_page_has_a_section_for_no_other_alert() -> None:
    assert re.findall(r"^### (Udfstore\w+)$", PAGE, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_alerts_hold_with_names_and_without() -> None:
    """An alert by task or tag has another side, for a server that tells no names."""
    for alert in ALERTS:
        sides = re.split(r"\bor on \(job, instance\)", alert["expr"])
        named = [any(m.named for name in _NAME.findall(side) if (m := metric_of(name))) for side in sides]
        assert not named[-1], alert["alert"]


def row(metric: Told) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |"


def test_the_page_lists_every_metric() -> None:
    table = re.search(r"^\| metric \| .*\n\|[-|]+\|\n((?:\|.*\n)*)", PAGE, re.MULTILINE)
    assert table is not None
    assert table[1].splitlines() == [row(metric) for metric in METRICS]


def test_panels_lie_beside_each_other() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_panel_asks_the_chosen_source_and_server() -> None:
    first = BOARD["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    for panel in PANELS:
        assert panel["description"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            selectors = _SELECTED.findall(target["expr"])
            assert len(selectors) == len(_NAME.findall(target["expr"]))
            assert all('job=~"$job", instance=~"$instance"' in selector for _, selector in selectors)
            labels = {label for name, _ in selectors if (m := metric_of(name)) for label in m.labels}
            assert set(_LEGEND.findall(target["legendFormat"])) <= labels | ADDED
