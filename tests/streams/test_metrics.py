"""What is counted, under which names, and that nothing else is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.detections import Detection
from models.dispatch import DispatchOrder, VerificationResult
from models.incidents import Incident
from models.observations import DeadReason
from streams.city import build_city
from streams.metrics import CATALOGUE, Metrics, Spec
from streams.publishing import Message
from streams.settings import Settings
from streams.transport import TP, Flow, Sight
from streams.watchdog import Facts, Watchdog
from tests.conftest import REPOSITORY

SAMPLES = REPOSITORY / "docs" / "contracts" / "samples"


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a scrape: (name, labels) → value."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def sample(topic: str, kind: type[Any], name: str = "example") -> Any:
    return msgspec.convert(msgspec.json.decode((SAMPLES / topic / f"{name}.json").read_bytes()), kind)


@dataclass
class Published:
    value: object


# ------------------------------------------------------------------------------------------------------------- counting


def test_a_chunk_counts_its_records_once_each_and_by_bin() -> None:
    metrics = Metrics()
    bins = {"used": 90, "filtered": 6, "late": 2, "dead": 2, "raised": 7}
    dead = [DeadReason.NOT_JSON, DeadReason.NOT_JSON]
    metrics.chunk("camera.tracks", 2, 100, bins, dead=dead, late_us=[3_000_000, 400_000_000], seconds=0.02)
    assert value(metrics, "zhinao_records_total", topic="camera.tracks", partition="2") == 100
    found = {dict(k)["bin"]: v for (name, k), v in samples(metrics).items() if name == "zhinao_bins_total"}
    assert found == {"used": 90, "filtered": 6, "late": 2, "dead": 2}
    assert value(metrics, "zhinao_dead_letters_total", topic="camera.tracks", reason="not_json") == 2
    assert value(metrics, "zhinao_lateness_seconds_bucket", topic="camera.tracks", le="5.0") == 1
    assert value(metrics, "zhinao_lateness_seconds_count", topic="camera.tracks") == 2
    assert value(metrics, "zhinao_stage_seconds_count", stage="decide") == 1
    assert value(metrics, "zhinao_stage_seconds_bucket", stage="decide", le="0.01") == 0


def test_detections_count_by_rule_and_kind_and_a_rule_nobody_has_is_other() -> None:
    metrics = Metrics(rules=["illegal-parking"])
    detection = sample("detections", Detection)
    assert detection.rule == "illegal-parking"
    metrics.detected([detection, detection, msgspec.structs.replace(detection, rule="浙F12345")])
    assert value(metrics, "zhinao_detections_total", rule="illegal-parking", kind="raised") == 2
    assert value(metrics, "zhinao_detections_total", rule="other", kind="raised") == 1
    assert "浙F12345" not in metrics.text().decode()


def test_what_the_desk_decides_counts_by_type_state_reason_and_verdict() -> None:
    metrics = Metrics(types=["0505"])
    incident = msgspec.structs.replace(sample("incidents", Incident), type="0505", revision=1)
    later = msgspec.structs.replace(incident, revision=2, type="forged")
    outputs = [incident, later, sample("dispatch.orders", DispatchOrder)]
    outputs.append(sample("verification.results", VerificationResult))
    metrics.decided([Published(one) for one in outputs], {"used": 3, "unassigned": 2})
    state = str(incident.state)
    assert value(metrics, "zhinao_incident_changes_total", type="0505", state=state) == 1
    assert value(metrics, "zhinao_incident_changes_total", type="other", state=state) == 1
    assert value(metrics, "zhinao_incidents_opened_total", type="0505") == 1
    assert value(metrics, "zhinao_incidents_opened_total", type="other") is None
    assert value(metrics, "zhinao_orders_total", reason="nearest_on_duty") == 1
    assert value(metrics, "zhinao_verifications_total", verdict="passed") == 1
    assert value(metrics, "zhinao_noted_total", note="unassigned") == 2
    assert value(metrics, "zhinao_noted_total", note="used") is None


def test_what_is_sent_and_journalled_is_counted_and_timed() -> None:
    metrics = Metrics()
    metrics.sent([Message("incidents", "k", b"", "1"), Message("incidents", "k", b"", "2")], 0.003)
    metrics.step(41, 3, 0.002)
    assert value(metrics, "zhinao_published_total", topic="incidents") == 2
    assert value(metrics, "zhinao_stage_seconds_count", stage="send") == 1
    assert value(metrics, "zhinao_stage_seconds_count", stage="journal") == 1
    assert value(metrics, "zhinao_journal_position") == 41
    assert value(metrics, "zhinao_journal_epoch") == 3


def test_a_table_ages_from_the_beginning_of_its_last_complete_save() -> None:
    now = [100.0]
    metrics = Metrics(now_s=lambda: now[0])
    assert metrics.store_age_s() == {}
    metrics.current("detector/3")
    now[0] = 110.0
    metrics.saved("detector/3", 5000, 12, seconds=4.0)
    assert metrics.store_age_s() == {"detector/3": 4.0}
    assert value(metrics, "zhinao_store_age_seconds", table="detector/3") == 4.0
    assert value(metrics, "zhinao_state_bytes", table="detector/3") == 5000
    assert value(metrics, "zhinao_state_entries", table="detector/3") == 12
    now[0] = 130.0
    metrics.current("detector/3")
    assert metrics.store_age_s() == {"detector/3": 0.0}
    metrics.closed("detector/3")
    metrics.closed("detector/3")
    assert value(metrics, "zhinao_store_age_seconds", table="detector/3") is None
    assert value(metrics, "zhinao_state_bytes", table="detector/3") is None


def test_the_greatest_stall_is_that_of_the_last_minute() -> None:
    metrics = Metrics()
    metrics.beat(0.7)
    for _ in range(130):
        metrics.beat(0.001)
    assert value(metrics, "zhinao_loop_stall_max_seconds") == 0.7
    for _ in range(240):
        metrics.beat(0.001)
    assert value(metrics, "zhinao_loop_stall_max_seconds") == 0.001


def test_a_buffer_shows_its_limit_its_entries_and_what_it_let_go() -> None:
    metrics, entries = Metrics(), [1, 2, 3]
    metrics.buffer("steps", 16, lambda: len(entries))
    assert value(metrics, "zhinao_buffer_dropped_total", buffer="steps") == 0
    metrics.dropped("steps", 5)
    entries.append(4)
    assert value(metrics, "zhinao_buffer_limit", buffer="steps") == 16
    assert value(metrics, "zhinao_buffer_entries", buffer="steps") == 4
    assert value(metrics, "zhinao_buffer_dropped_total", buffer="steps") == 5


def test_a_value_that_cannot_be_read_takes_no_other_with_it_and_is_counted() -> None:
    metrics = Metrics()

    def fails() -> dict[tuple[str, ...], float]:
        raise RuntimeError("the dict changed")

    metrics.reads("zhinao_memory_bytes", fails)
    assert value(metrics, "zhinao_loop_stall_max_seconds") == 0
    assert value(metrics, "zhinao_scrape_failures_total") == 1
    with pytest.raises(KeyError):
        metrics.reads("zhinao_records_total", fails)


def test_the_watchdogs_facts_are_metrics() -> None:
    metrics, watchdog = Metrics(prefix="my.city"), Watchdog(Flow())
    metrics.watch(watchdog)
    tp = TP("my.city.camera.tracks.v1", 3)
    watchdog.facts = Facts(at_s=0, sights={tp: Sight(5, 12, paused=True)}, idle_s={tp: 9.5}, generation=4, waiting_s=7)
    assert value(metrics, "zhinao_lag_records", topic="camera.tracks", partition="3") == 12
    assert value(metrics, "zhinao_idle_seconds", topic="camera.tracks", partition="3") == 9.5
    assert value(metrics, "zhinao_letters_waiting") == 1
    assert value(metrics, "zhinao_letters_waiting_seconds") == 7
    assert value(metrics, "zhinao_group_generation") == 4


# ---------------------------------------------------------------------------------------------------------------- names


def described(spec: Spec) -> str:
    """A metric as its line in docs/operations.md."""
    kind = spec.kind.removeprefix("read ")
    labels = ", ".join(f"`{label}`" for label in spec.labels) or "–"
    return f"| `{spec.name}` | {kind} | {labels} | {spec.zh} / {spec.en} |"


def test_the_docs_list_every_metric_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `zhinao_")]
    assert lines == [described(spec) for spec in CATALOGUE.values()]


def test_a_scrape_holds_every_metric_of_the_catalogue_and_no_other() -> None:
    families = {family.name for family in text_string_to_metric_families(Metrics().text().decode())}
    assert families == {name.removesuffix("_total") for name in CATALOGUE}


def test_names_say_whose_they_are_and_their_units() -> None:
    for spec in CATALOGUE.values():
        assert re.fullmatch(r"zhinao_[a-z_]+", spec.name)
        assert spec.name.endswith("_total") == spec.kind.endswith("counter"), spec.name
        assert not {"id", "incident", "plate", "caller", "sensor", "unit", "key", "actor"} & set(spec.labels)


def test_labels_are_bounded_by_the_city(monkeypatch: pytest.MonkeyPatch) -> None:
    city = build_city(Settings.read())
    metrics = Metrics.of(city, "zhinao")
    detection = sample("detections", Detection)
    metrics.detected([msgspec.structs.replace(detection, rule=rule.id) for rule in city.bundle.rules])
    metrics.detected([msgspec.structs.replace(detection, rule=f"r{n}") for n in range(1000)])
    rules = {dict(labels)["rule"] for (name, labels) in samples(metrics) if name == "zhinao_detections_total"}
    assert rules == {*(rule.id for rule in city.bundle.rules), "other"}
