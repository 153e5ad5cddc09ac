"""What a rule over several conditions becomes: parts for the Detectors, joins for the Desk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from models.times import HOUR_US, MINUTE_US, SECOND_US
from rules.language.load import Context
from rules.language.model import (
    Absent,
    Aggregate,
    AllOf,
    Change,
    Correlate,
    Count,
    Dwell,
    Event,
    Hold,
    InOrder,
    InSequence,
    Near,
    NearBy,
    Rule,
    Transition,
)
from tests.rules.language.world import CONTEXT, HEAD, codes, load, loaded, one_rule, rule_text

READINGS = {"from_": "[sensor.readings]", "by": "[device_id]"}
OWN = {"from_": "", "by": ""}
PONDING = """{correlate: {radius: 200m, within: 15m, need: 2, sources: [
        {as: gauge, from: sensor.readings, where: 'metric == "water_level" and value >= 15cm', reliability: 0.9},
        {as: call, from: hotline.tickets, where: 'contains(text, "积水")', distinct: caller},
        {as: camera, from: camera.events, where: label == "ponding"}]}}"""


def correlated(**more: str) -> Rule:
    return one_rule(**{**OWN, "detect": PONDING, **more})


# -- one stream --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("{transition: {change: exit, settle: 5s}}", Transition("exit", 5 * SECOND_US)),
        (
            "{count: {distinct: device_id, window: 10m, at_least: 2, each_present: 3m}}",
            Count(("device_id",), 10 * MINUTE_US, MINUTE_US, 2, 3 * MINUTE_US),
        ),
        (
            "{absent: {for: 72h, expect_every: 24h, then: suspect, parent: gateway, listed: true}}",
            Absent(72 * HOUR_US, 24 * HOUR_US, True, "gateway", True),
        ),
        ("{change: {field: value, over: 60s, at_least: 15}}", Change("value", MINUTE_US, 15.0)),
        (
            "{change: {field: battery_pct, over: 1h, at_least: 20%, direction: down}}",
            Change("battery_pct", HOUR_US, 0.2, True, "down"),
        ),
    ],
    ids=["transition", "count", "absent", "change", "change-relative"],
)
def test_a_primitive_of_one_stream_is_a_rule_without_parts(written: str, read: object) -> None:
    rule = one_rule(**READINGS, detect=written, cooldown="5m")
    assert rule.base.detect == read
    assert (rule.parts, rule.joins, rule.part, rule.suspects) == ((), (), "", False)
    assert rule.topic == "sensor.readings"


def test_a_change_is_written_in_any_unit_of_its_field() -> None:
    rule = one_rule(detect="{change: {field: speed_mps, over: 2s, at_least: 36km/h}}")
    assert rule.base.detect == Change("speed_mps", 2 * SECOND_US, 10.0)


def test_a_hold_may_be_made_of_a_window() -> None:
    rule = one_rule(
        **READINGS,
        detect="{hold: {value: {fn: p85, field: value, window: 10m, slide: 30s, min_samples: 6}, "
        "open_when: value >= 60, close_when: value < 55}}",
    )
    hold = rule.base.detect
    assert isinstance(hold, Hold)
    assert hold.over == Aggregate("p85", 10 * MINUTE_US, 30 * SECOND_US, 6)
    assert hold.open_when.value({"value": 61.0}) is True
    assert rule.fingerprint != one_rule(**READINGS, detect="{hold: {value: value, open_when: value >= 60}}").fingerprint


def test_rows_may_be_counted_without_a_field() -> None:
    detect = "{hold: {value: {fn: count, window: 1m}, open_when: value >= 5, close_when: value < 2}}"
    hold = one_rule(**READINGS, detect=detect).base.detect
    assert isinstance(hold, Hold)
    assert hold.value_field == ""
    assert hold.open_when.value({"value": 5.0}) is True


def test_steps_and_pairs_of_one_stream_stay_with_the_detector() -> None:
    rule = one_rule(
        **READINGS,
        detect="{sequence: {within: 2m, near: 20m, steps: [{as: a, where: value > 1}, "
        "{as: b, not: true, where: value > 5}]}}",
    )
    sequence = rule.base.detect
    assert isinstance(sequence, InSequence)
    assert [(step.name, step.negated, step.part) for step in sequence.steps] == [("a", False, ""), ("b", True, "")]
    assert (sequence.near_m, rule.parts) == (20.0, ())
    pair = one_rule(detect='{near: {of: {where: class == "truck"}, within: 3m, for: 2s}}')
    assert isinstance(pair.base.detect, Near)
    assert pair.parts == ()


def test_a_rule_over_several_streams_has_a_part_for_each() -> None:
    rule = one_rule(from_="[camera.tracks, camera.events]", by="[sensor_id]", where="confidence > 0.5")
    assert [(part.part, part.topic, part.suspects) for part in rule.parts] == [
        ("camera.tracks", "camera.tracks", False),
        ("camera.events", "camera.events", False),
    ]
    assert rule.topic == ""


# -- joins -------------------------------------------------------------------------------------------------------------


def test_a_correlation_is_joined_of_suspected_parts_and_calls() -> None:
    rule = correlated()
    assert [(part.part, part.topic, part.by) for part in rule.parts] == [
        ("gauge", "sensor.readings", ("device_id", "metric")),
        ("camera", "camera.events", ("sensor_id",)),
    ]
    assert all(part.suspects and part.id == rule.id for part in rule.parts)
    assert all(part.base.detect == Event(1, 15 * MINUTE_US) for part in rule.parts)
    (join,) = rule.joins
    assert isinstance(join, Correlate)
    assert [(source.name, source.part, source.distinct) for source in join.sources] == [
        ("gauge", "gauge", None),
        ("call", "", "caller"),
        ("camera", "camera", None),
    ]
    assert loaded(HEAD + rule_text(**OWN, detect=PONDING)).of(["camera.events"])[0].part == "camera"


def test_the_source_that_closes_a_correlation_is_held() -> None:
    rule = correlated(
        close="{when: gauge.value < $low, for: 10m, timeout: 6h}",
        params="{low: 8cm}",
        overrides="[{calendar: school_gate, set: {low: 4cm}}]",
        message='{zh: "水位 {gauge.value|round}", en: "{camera.label}, {sources|count} sources"}',
        escalate="[{when: gauge.value >= 27cm, severity: critical, down_after: 5m}]",
    )
    gauge, camera = rule.parts
    night, hold = (variant.detect for variant in gauge.variants)
    assert isinstance(hold, Hold)
    assert isinstance(night, Hold)
    assert (hold.value_field, hold.close_for_us) == ("value", 10 * MINUTE_US)
    assert [hold.close_when.value({"value": v}) for v in (7.9, 8.0)] == [True, False]
    assert night.close_when.value({"value": 7.9}) is False
    assert [hold.open_when.value({"value": v}) for v in (14.9, 15.0)] == [False, True]
    assert gauge.where is not None
    assert gauge.where.text == 'metric == "water_level"'
    assert gauge.message.fields == {"value"}
    assert camera.message.fields == {"label"}
    assert rule.escalate[0].when is not None
    assert rule.escalate[0].when.value({"gauge.value": 30.0}) is True
    assert rule.base.close.timeout_us == 6 * HOUR_US


def test_branches_raise_by_themselves_and_a_correlation_among_them_is_joined() -> None:
    rule = one_rule(
        **OWN,
        detect=f"{{any_of: [{PONDING}, {{event: {{from: [camera.events], where: confidence > 0.9}}}}, "
        "{hold: {as: level, from: [sensor.readings], value: value, open_when: value > 5, close_when: value < 3}}]}",
    )
    assert [(part.part, part.suspects) for part in rule.parts] == [
        ("1.gauge", True),
        ("1.camera", True),
        ("2.event", False),
        ("level", False),
    ]
    assert [join.name for join in rule.joins] == ["1.correlate"]
    assert len({part.fingerprint for part in rule.parts}) == 4


def test_a_branch_has_the_streams_and_conditions_of_its_rule_beside_its_own() -> None:
    rule = one_rule(
        **READINGS,
        where='metric == "tilt"',
        detect="{any_of: [{event: {where: value > 30}}, {dwell: {for: 5m}}]}",
    )
    event, dwell = rule.parts
    assert event.where is not None
    assert dwell.where is not None
    assert event.where.value({"metric": "tilt", "value": 31.0}) is True
    assert event.where.value({"metric": "noise", "value": 31.0}) is False
    assert dwell.where.text == 'metric == "tilt"'
    assert (event.by, dwell.topic) == (("device_id",), "sensor.readings")


def test_conditions_at_the_same_time_are_joined() -> None:
    inner = "[{event: {as: a, where: value > 1}}, {event: {as: b, from: [camera.events], by: [sensor_id]}}]"
    plain = one_rule(**READINGS, detect=f"{{all_of: {inner}}}")
    assert plain.joins == (AllOf("all_of", ("a", "b"), 0, None),)
    assert all(part.suspects for part in plain.parts)
    near = one_rule(**READINGS, detect=f"{{all_of: {{of: {inner}, within: 2m, radius: 50m}}}}")
    assert near.joins == (AllOf("all_of", ("a", "b"), 2 * MINUTE_US, 50.0),)


def test_steps_of_several_streams_are_joined() -> None:
    rule = one_rule(
        **OWN,
        detect="{sequence: {within: 5m, max_gap: 20s, steps: [{as: tilt, from: sensor.readings, where: value > 25}, "
        "{as: seen, from: camera.events, where: confidence > 0.5, for: 30s}]}}",
    )
    (join,) = rule.joins
    assert isinstance(join, InOrder)
    assert [(step.name, step.part) for step in join.sequence.steps] == [("tilt", "tilt"), ("seen", "seen")]
    assert [part.base.detect for part in rule.parts] == [
        Event(1, 20 * SECOND_US),
        Dwell(30 * SECOND_US, math.inf, 20 * SECOND_US, 1),
    ]


def test_a_pair_of_several_streams_is_joined() -> None:
    rule = one_rule(
        detect="{near: {of: {from: [sensor.readings], where: value == true}, within: 30m, for: 10s}}",
        where='class == "truck"',
    )
    assert rule.joins == (NearBy("near", ("one", "other"), 30.0, 10 * SECOND_US),)
    assert [(part.topic, part.by) for part in rule.parts] == [
        ("camera.tracks", ("sensor_id", "track_id")),
        ("sensor.readings", ("device_id",)),
    ]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clauses", "code"),
    [
        ({"detect": "{any_of: [{any_of: []}, {event: {}}]}"}, "E111"),
        ({"detect": "{any_of: [{event: {}}]}"}, "E114"),
        ({"detect": "{any_of: [{event: {}, dwell: {for: 1m}}, {event: {}}]}"}, "E120"),
        ({"detect": "{all_of: [{event: {as: a}}, {event: {as: a}}]}"}, "E126"),
        ({"detect": PONDING}, "E127"),
        ({**OWN, "detect": PONDING, "close": "{when: call.category == 'x', for: 1m}"}, "E319"),
        ({**OWN, "detect": PONDING, "close": "{when: camera.confidence < 0.2, for: 1m}"}, "E319"),
        ({**OWN, "detect": PONDING.replace("need: 2", "need: 2, confidence: 0.8")}, "E112"),
        ({**OWN, "detect": PONDING, "message": '{zh: "{radar.value}", en: x}'}, "E202"),
        ({**OWN, "detect": PONDING.replace("200m", "20km")}, "E316"),
        ({"detect": "{hold: {value: speed_mps, open_when: value < 1}}", "close": "{when: is_null(role)}"}, "E319"),
        ({"detect": "{dwell: {for: 1m}}", "close": "{for: 1m}"}, "E319"),
        ({"detect": "{change: {field: class, over: 1m, at_least: 1}}"}, "E132"),
        ({"detect": "{change: {field: speed_mps, over: 1m, at_least: 5cm}}"}, "E133"),
        ({"detect": "{count: {distinct: [wheels], window: 1m, at_least: 2}}"}, "E202"),
        ({"detect": "{dwell: {for: 500ms}}"}, "E323"),
        ({"suppressed_by": "[{rule: r, equal: []}]"}, "E112"),
        ({"suppressed_by": "[{rule: r, equal: [colour]}]"}, "E202"),
        ({"escalate": "[{after: 5m, down_after: 1m, severity: major}]"}, "E112"),
        ({"evidence": "{frames: 3, mask: [hands]}"}, "E114"),
        ({"message": '{zh: "{sources|count}", en: x}'}, "E202"),
        ({**OWN, "detect": PONDING, "stages": "[{at: 0s, do: remind_owner}]"}, "E321"),
    ],
    ids=range(22),
)
def test_what_means_nothing_is_refused(clauses: dict[str, str], code: str) -> None:
    assert code in codes(HEAD + rule_text(**clauses))


def test_a_full_width_character_is_named() -> None:
    (problem,) = load(HEAD + rule_text(where="'speed_mps < 1 and （confidence > 0.5）'"))[1]
    assert (problem.code, problem.hint) == ("E130", "write (")
    assert "full-width" in problem.message


# -- clauses -----------------------------------------------------------------------------------------------------------


def test_silence_evidence_and_flapping_are_read() -> None:
    text = HEAD + rule_text(
        suppressed_by="[{rule: works, equal: [area, sensor_id]}]",
        evidence="{frames: 3, span: 30s, mask: [face], retain: 30d}",
        flap="{max_changes: 4, within: 10m}",
        merge="{upstream_segments: 3}",
    ) + rule_text(id="works")  # fmt: skip
    rule = loaded(text).rules[0]
    assert rule.suppressed_by[0].equal == ("area", "sensor_id")
    assert rule.evidence is not None
    assert rule.evidence.mask == ("face",)
    assert rule.flap is not None
    assert rule.flap.max_changes == 4
    assert (rule.merge, rule.upstream_segments) == (None, 3)


def test_a_waiver_accepts_its_warning_on_its_line_alone() -> None:
    plain = rule_text(name="{zh: A, en: A}")
    waived = plain.replace("{zh: A, en: A}", "{zh: A, en: A}  # lint: allow W702 until 2026-12-31 -- a trade name")
    assert codes(HEAD + plain) == ["W702"]
    assert codes(HEAD + waived) == []
    assert codes(HEAD + waived.replace("W702", "W401")) == ["W702"]
    assert codes(HEAD + waived.replace("W702", "E111")) == ["W702", "E128"]


FINGERPRINTS = {
    "cover-tilt": "61b231d705734b5d82fa556668bdb9ea",
    "illegal-parking": "f51b7e8e1ac9633e1bd1dbc911cbc8d1",
    "elder-sos": "bf9212533f1deefc37c8233adfb6ed78",
}


@pytest.mark.parametrize(
    ("pack", "rule_id"),
    [("covers", "cover-tilt"), ("parking", "illegal-parking"), ("safety", "elder-sos")],
)
def test_a_rule_without_parts_keeps_the_fingerprint_it_always_had(pack: str, rule_id: str) -> None:
    """What a worker has stored is found again by it."""
    root = Path(__file__).parents[3] / "rules"
    text = (root / "packs" / f"{pack}.yaml").read_text(encoding="utf-8")
    rules = {rule.id: rule for rule in loaded(text, Context(holidays=CONTEXT.holidays)).rules}
    assert rules[rule_id].fingerprint == FINGERPRINTS[rule_id]
