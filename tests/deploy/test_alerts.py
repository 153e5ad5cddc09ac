"""Alerts and dashboard use metrics there are; each alert fires when it should, is quiet when it should, and has its
paragraph for whoever is woken by it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.health import Cause
from streams.metrics import CATALOGUE
from tests.conftest import REPOSITORY, not_run

DEPLOY = REPOSITORY / "deploy"
RULES = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in ALERTS]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "zhinao.json").read_text())
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()
KINDS = {name: spec.kind.removeprefix("read ") for name, spec in CATALOGUE.items()}


def unknown(expression: str) -> set[str]:
    """Names in an expression that no metric has: a histogram is asked for its buckets, sum or count."""
    known = {name for name, kind in KINDS.items() if kind != "histogram"}
    for name in (name for name, kind in KINDS.items() if kind == "histogram"):
        known |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"\b(zhinao_\w+|up)\b", bare))
    assert names, expression
    return names - known - {"up"}


def wrong_labels(expression: str) -> set[str]:
    """Labels asked for that none of the expression's metrics carries."""
    carried = {"instance", "job", "le", "alertname"}
    for name in re.findall(r"\bzhinao_\w+", expression):
        spec = CATALOGUE.get(re.sub(r"_(bucket|sum|count)$", "", name)) or CATALOGUE.get(name)
        carried |= set(spec.labels if spec is not None else ())
    asked = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(", ")}
    asked |= set(re.findall(r"[{,]\s*(\w+)=", expression))
    return asked - carried


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in ALERTS} | {
    panel["title"]: panel["targets"][0]["expr"] for panel in panels()
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_alerts_and_panels_ask_only_for_metrics_and_labels_there_are(expression: str) -> None:
    assert unknown(expression) == set()
    assert wrong_labels(expression) == set()


def test_a_name_nobody_has_would_be_seen() -> None:
    assert unknown("rate(zhinao_record_total[5m])") == {"zhinao_record_total"}
    assert unknown("zhinao_stage_seconds") == {"zhinao_stage_seconds"}
    assert wrong_labels("sum by (plate) (zhinao_lag_records{topik='a'})") == {"plate", "topik"}


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert() -> None:
    text = " ".join(EXPRESSIONS.values())
    left_out = {"zhinao_process_virtual_memory_bytes"}  # a number without a meaning of its own
    assert {name for name in KINDS if name not in text} == left_out


def test_the_dashboard_is_in_both_languages_and_its_panels_have_names_of_their_own() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert all(re.search(r"^.*[\u4e00-\u9fff].* / [A-Z]", title) for title in titles)
    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(titles)


def test_panels_ask_the_source_that_is_provisioned() -> None:
    folder = DEPLOY / "grafana" / "provisioning" / "datasources"
    (source,) = yaml.safe_load((folder / "prometheus.yaml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


# --------------------------------------------------------------------------------------------------------------- alerts


def anchors() -> set[str]:
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in headings()}


def headings() -> Iterator[str]:
    yield from re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_every_alert_says_how_bad_it_is_in_both_languages_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.search(r"[\u4e00-\u9fff].* / .*[a-z]", rule["annotations"]["summary"])
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in anchors()
    assert anchor == rule["alert"].lower()


def test_every_cause_of_ill_health_has_its_paragraph() -> None:
    assert {cause.value for cause in Cause} <= anchors()


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_is_quiet() -> None:
    tests = yaml.safe_load((DEPLOY / "alerts_test.yaml").read_text())["tests"]
    fires = [t["name"].removesuffix(" fires") for t in tests if t["promql_expr_test"][0]["exp_samples"]]
    quiet = [t["name"].removesuffix(" stays quiet") for t in tests if not t["promql_expr_test"][0]["exp_samples"]]
    assert sorted(fires) == sorted(quiet) == sorted(NAMES)
    for test in tests:
        assert f'alertname="{test["name"].split()[0]}"' in test["promql_expr_test"][0]["expr"]


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        not_run("promtool", "Debian's package prometheus missing")
    return found


def run(promtool: str, *arguments: str, folder: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    command = [promtool, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yaml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yaml")],
)
def test_prometheus_itself_finds_nothing_wrong(promtool: str, arguments: tuple[str, ...]) -> None:
    ended = run(promtool, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("expression", ["vector(1)", "vector(0) > 1"], ids=["always", "never"])
def test_an_alert_that_always_or_never_fires_fails_its_cases(
    promtool: str, tmp_path: Path, name: str, expression: str
) -> None:
    tests = yaml.safe_load((DEPLOY / "alerts_test.yaml").read_text())
    tests["tests"] = [test for test in tests["tests"] if test["name"].split()[0] == name]
    rule = next(rule for rule in ALERTS if rule["alert"] == name)
    planted = {"groups": [{"name": "planted", "rules": [rule | {"expr": expression}]}]}
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(planted))
    (tmp_path / "alerts_test.yaml").write_text(yaml.safe_dump(tests))
    assert run(promtool, "test", "rules", "alerts_test.yaml", folder=tmp_path).returncode == 1


def test_what_a_worker_tells_is_what_prometheus_reads(promtool: str) -> None:
    from streams.metrics import Metrics

    metrics = Metrics()
    metrics.chunk("late", 0, 1, {"used": 1}, seconds=0.1)
    ended = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.text(), capture_output=True, check=False, timeout=30
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
