"""Rule files → rules: what each clause becomes, what overrides do, what two files share, what the fingerprint keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from models.detections import Text
from models.times import HOUR_US, MINUTE_US, SECOND_US, instant_us
from rules.language.expressions import ALWAYS
from rules.language.load import Context, SourceFile, load_rules, read_sources
from rules.language.model import (
    Box,
    Close,
    DispatchClause,
    Dwell,
    Escalation,
    Event,
    Hold,
    Merge,
    Neighbours,
    Stage,
    ZoneSelector,
)
from rules.language.zones import selected, zone_matches
from tests.rules.language.world import CONTEXT, HEAD, HERE, codes, load, loaded, one_rule, rule_text
from tests.support import batch_of

WORKED = (HERE / "worked_examples.yaml").read_text(encoding="utf-8")
PARKING = "{dwell: {for: 2m, max_move: 3m, max_gap: 20s, min_points: 5}}"
CONTEXT_FOR_EXAMPLES = Context(holidays=CONTEXT.holidays)


# -- the worked examples -----------------------------------------------------------------------------------------------


def test_the_worked_examples_load_and_lack_a_feed_alone() -> None:
    bundle, problems = load(WORKED, CONTEXT_FOR_EXAMPLES)
    assert problems == []
    assert bundle is not None
    assert [(rule.id, [part.part for part in rule.parts]) for rule in bundle.rules] == [
        ("illegal-parking", []),
        ("congestion", []),
        ("ponding", ["gauge", "camera"]),
        ("cover-missing", ["1.hold", "2.event", "3.absent"]),
        ("street-vendor", []),
        ("fire", ["1.smoke", "1.camera", "2.change", "3.event"]),
        ("elder-sos", []),
    ]


def test_illegal_parking_becomes_a_rule_with_its_school_gate_variant() -> None:
    text = WORKED[: WORKED.index("  - id: congestion")]
    (rule,) = loaded(text, CONTEXT_FOR_EXAMPLES).rules
    assert rule.name == Text(zh="机动车违停", en="Illegal parking")
    assert (rule.owner, rule.status, rule.type, rule.severity) == ("urban-management", "active", "0505", "minor")
    assert rule.zones == ZoneSelector(("no-parking/*",), ("permit/*",), 1.0)
    assert rule.by == ("sensor_id", "track_id", "zone")
    queue = Box("none", one_rule(where="macros.standing").where or ALWAYS, 12.0, 0.0, 2.0, 0.5)
    assert rule.neighbours == Neighbours((queue,), None, None)
    dwell = Dwell(2 * MINUTE_US, 3.0, 20 * SECOND_US, 5)
    school, base = rule.variants
    assert base is rule.base
    assert (base.severity, base.detect, base.applies) == ("minor", dwell, None)
    assert [stage.at_us // MINUTE_US for stage in base.stages] == [2, 7, 7]
    assert [stage.at_us // MINUTE_US for stage in school.stages] == [2, 2, 2]
    assert (school.severity, school.reason) == ("major", "school-gate order")
    assert school.applies is not None
    assert school.applies.zones == ("no-parking/school-*",)
    assert school.applies.calendar is not None
    assert school.applies.calendar.name == "school_gate"
    assert base.close == Close(60 * SECOND_US, 0.8, None)
    assert rule.merge == Merge(True, 5.0, 30 * MINUTE_US)
    assert rule.dispatch == DispatchClause(accept_within_us=5 * MINUTE_US, clear_for_us=3 * MINUTE_US)
    assert rule.message.zh[:2] == (("zone.name", ()), " 违停 ")
    assert rule.message.en[0] == ("plate", ("mask",))
    assert rule.message.fields == {"zone", "plate", "held"}
    assert rule.exempt[0].where.value({"role": "police"}) is True
    assert loaded(text, CONTEXT_FOR_EXAMPLES).lateness_us == {"camera.tracks": 2 * SECOND_US}


def test_the_sos_rule_loads_as_it_stands() -> None:
    head = WORKED[: WORKED.index("  - id: illegal-parking")]
    (rule,) = loaded(head + WORKED[WORKED.index("  - id: elder-sos") :], CONTEXT_FOR_EXAMPLES).rules
    assert rule.base.detect == Event(1, 0)
    assert rule.life_safety
    assert rule.dispatch == DispatchClause(plan="sos-call-back", accept_within_us=MINUTE_US, never_suppress=True)
    assert rule.where is not None
    assert rule.where.mask(batch_of("sensor.readings", [{"metric": "sos", "value": True}])).tolist() == [True]


# -- clauses -----------------------------------------------------------------------------------------------------------


def test_a_dwell_has_defaults_for_all_but_its_time() -> None:
    assert one_rule(detect="{dwell: {for: 90s}}").base.detect == Dwell(90 * SECOND_US, math.inf, 30 * SECOND_US, 2)


def test_an_event_can_ask_for_repetition() -> None:
    assert one_rule(detect="{event: {repeat: {times: 3, within: 10s}}}").base.detect == Event(3, 10 * SECOND_US)


def hold(inside: str, **more: str) -> Hold:
    from_, by = "[traffic.measurements]", "[segment_id]"
    detect = one_rule(from_=from_, by=by, detect=f"{{hold: {{value: speed_kmh, {inside}}}}}", **more).base.detect
    assert isinstance(detect, Hold)
    return detect


def test_both_conditions_of_hold_see_the_field_as_value() -> None:
    found = hold("open_when: value < 5m/s, close_when: value >= 30km/h, for: 3m, close_for: 5m")
    assert (found.value_field, found.for_us, found.close_for_us) == ("speed_kmh", 3 * MINUTE_US, 5 * MINUTE_US)
    rows = batch_of("traffic.measurements", [{"speed_kmh": v} for v in (17.9, 18.0, 30.0, None)])
    assert found.open_when.mask(rows).tolist() == [True, False, False, False]
    assert found.close_when.mask(rows).tolist() == [False, False, True, False]
    assert found.open_when.fields == {"speed_kmh"}
    assert found.open_when.value({"speed_kmh": 17.0}) is True
    assert found.open_when.value({"value": 17.0}) is True


def test_hold_closes_by_default_where_it_no_longer_opens() -> None:
    found = hold("open_when: value < 20")
    rows = batch_of("traffic.measurements", [{"speed_kmh": v} for v in (19.0, 20.0, None)])
    assert found.close_when.mask(rows).tolist() == [False, True, False]


def test_params_stand_in_the_conditions_of_hold() -> None:
    found = hold("open_when: value < $enter, close_when: value > $leave", params="{enter: 20, leave: 30km/h}")
    assert found.open_when.value({"speed_kmh": 19.0}) is True
    assert found.close_when.value({"speed_kmh": 31.0}) is True


def test_an_override_types_everything_anew() -> None:
    rule = one_rule(
        from_="[traffic.measurements]",
        by="[segment_id]",
        params="{enter: 30, leave: 40, long: 3m}",
        detect="{hold: {value: speed_kmh, open_when: value < $enter, close_when: value > $leave, for: $long}}",
        overrides='[{where: lane == 1, set: {enter: 10, long: 5m}}, {zones: ["core/*"], severity: critical}]',
    )
    first, second, base = rule.variants
    assert [v.severity for v in rule.variants] == ["minor", "critical", "minor"]
    assert isinstance(first.detect, Hold)
    assert first.detect.open_when.value({"speed_kmh": 20.0}) is False
    assert first.detect.for_us == 5 * MINUTE_US
    assert isinstance(base.detect, Hold)
    assert base.detect.open_when.value({"speed_kmh": 20.0}) is True
    assert second.detect == base.detect
    assert first.applies is not None
    assert first.applies.where is not None
    assert first.applies.where.value({"lane": 1}) is True


def test_a_param_that_does_not_fit_is_shown_where_it_is_set() -> None:
    text = HEAD + rule_text(
        detect=PARKING, params="{case: 7m}", stages="[{at: $case, do: open_case}]",
        overrides='[{zones: ["core/*"], set: {case: 7kg}}]',
    )  # fmt: skip
    (problem,) = load(text)[1]
    assert problem.code == "E115"
    assert problem.path == ('rule "r"', "overrides #1", "set", "case")
    assert '"7kg"' in problem.message


def test_stages_follow_the_condition() -> None:
    rule = one_rule(detect=PARKING, stages="[{at: 2m, do: remind_owner}, {at: 7m, do: open_case}]")
    assert rule.base.stages == (Stage(2 * MINUTE_US, "remind_owner"), Stage(7 * MINUTE_US, "open_case"))
    assert one_rule(detect=PARKING).base.stages == ()


def test_escalation_sees_the_fields_and_the_value_of_the_detection() -> None:
    rule = one_rule(
        from_="[traffic.measurements]", by="[segment_id]",
        detect="{hold: {value: speed_kmh, open_when: value < 20, close_when: value > 25}}",
        escalate="[{after: 20m, severity: major}, {when: value < 10 and sample_size > 3, severity: critical}]",
    )  # fmt: skip
    late, low = rule.escalate
    assert late == Escalation("major", after_us=20 * MINUTE_US)
    assert low.when is not None
    assert low.when.value({"value": 5.0, "sample_size": 4}) is True
    assert one_rule(detect=PARKING, escalate="[{when: value >= 20m, severity: major}]").escalate[0].when is not None


def test_an_exemption_ends_with_its_day() -> None:
    (exemption,) = one_rule(exempt='[{where: role == "police", reason: drill, until: 2026-12-31}]').exempt
    midnight = datetime(2027, 1, 1, tzinfo=timezone(timedelta(hours=8)))
    assert exemption.until_us == instant_us(midnight)


def test_the_rest_of_a_rule() -> None:
    rule = one_rule(
        status="shadow", revision="7", no_data="hold", cooldown="20m", owner="{department: traffic-police}",
        active="school_gate", close="{timeout: 6h}", zones='{in: ["no-parking/*", "core/a"]}', by="[track_id, zone]",
        dispatch="{department: traffic-police, plan: tow, resolve_within: 1h, verify: {else: person}}",
        merge="{radius: 50cm, window: 1h}",
    )  # fmt: skip
    assert (rule.status, rule.revision, rule.no_data, rule.owner) == ("shadow", 7, "hold", "traffic-police")
    assert rule.cooldown_us == 20 * MINUTE_US
    assert rule.active is not None
    assert rule.base.close.timeout_us == 6 * HOUR_US
    assert rule.dispatch.department == "traffic-police"
    assert rule.merge == Merge(False, 0.5, HOUR_US)


def test_a_listed_plate_is_compared_by_its_token() -> None:
    rule = one_rule(where="plate in lists.wanted")
    assert rule.where is not None
    rows = batch_of("camera.tracks", [{"plate": "plate-token-of-浙F12345"}, {"plate": "浙F12345"}])
    assert rule.where.mask(rows).tolist() == [True, False]


def test_a_macro_is_typed_against_the_stream_of_its_rule() -> None:
    assert one_rule(where="macros.standing").where is not None
    _, problems = load(HEAD + rule_text(from_="[sensor.readings]", by="[device_id]", where="macros.standing"))
    assert [(p.code, p.message) for p in problems] == [
        ("E202", 'in macro "standing": sensor.readings has no field "confidence"'),
        ("E202", 'in macro "standing": sensor.readings has no field "speed_mps"'),
    ]


def test_a_macro_that_is_wrong_is_reported_once_at_its_place() -> None:
    text = HEAD.replace("speed_mps < 0.5", "speed_mps << 0.5") + rule_text(where="macros.standing")
    (problem,) = load(text)[1]
    assert problem.path == ("macros", "standing")
    assert problem.place.line == 8


def test_nothing_is_checked_against_what_is_not_given() -> None:
    text = rule_text(zones='{in: ["nowhere/*"]}', type='{code: "9999", severity: minor}', dispatch="{department: x}")
    assert loaded(HEAD + text, Context(holidays=CONTEXT.holidays)).rules
    assert codes(HEAD + text) == ["E208", "E207", "E209"]


@pytest.mark.parametrize(
    ("clauses", "code"),
    [
        ({"by": "[confidence]"}, "E132"),
        ({"from_": "[hotline.tickets]", "by": "[ticket_id]"}, "E201"),
        ({"from_": "[commands]"}, "E201"),
        ({"detect": "{hold: {value: {of: speed_kmh, fn: mean, window: 1m}, open_when: value < 1}}"}, "E111"),
        ({"detect": "{hold: {value: plate, open_when: is_null(value)}}"}, "E308"),
        ({"detect": "{hold: {value: speed_mps, open_when: confidence < 1}}"}, "E202"),
        ({"params": "{a: 1}", "overrides": "[{where: is_null(role), set: {b: 2}}]"}, "E206"),
        ({"overrides": "[{severity: major}]"}, "E112"),
        ({"params": "{a: [1]}"}, "E113"),
        ({"params": "{a: $a}"}, "E113"),
        ({"escalate": "[{severity: major}]"}, "E112"),
        ({"escalate": "[{after: 1m, when: is_null(role), severity: major}]"}, "E112"),
        ({"merge": "{window: 30m}"}, "E112"),
        ({"merge": "{same_zone: true}"}, "E112"),
        ({"type": '{code: "0505", severity: minor, life_safety: yes}'}, "E113"),
        ({"dispatch": "{verify: {else: robot}}"}, "E114"),
        ({"where": "true", "cooldown": "$x"}, "E206"),
        ({"message": '{zh: "{class|minutes}", en: x}'}, "E132"),
        ({"message": '{zh: "{confidence|seconds}", en: x}'}, "E133"),
        ({"message": '{zh: "{segment.name}", en: x}'}, "E202"),
        ({"where": "[a]"}, "E113"),
        ({"zones": '{in: ["a/b"], not_in: "c/d"}'}, "E113"),
    ],
)
def test_what_else_is_refused(clauses: dict[str, str], code: str) -> None:
    assert code in codes(HEAD + rule_text(**clauses), replace(CONTEXT, zone_paths=None))


def test_a_comma_that_ends_an_expression_too_early_is_explained() -> None:
    _, problems = load(HEAD + rule_text(escalate="[{when: contains(class, role), severity: major}]"))
    assert {p.code for p in problems} == {"E130", "E111"}
    assert {p.hint for p in problems} == {"quote this expression with '…'"}


# -- files -------------------------------------------------------------------------------------------------------------


def test_rules_keep_the_order_of_files_and_places() -> None:
    texts = {name: HEAD + rule_text(id=name) + rule_text(id=f"{name}2") for name in "ba"}
    files = [SourceFile(f"{name}.yaml", text.encode()) for name, text in texts.items()]
    bundle, problems = load_rules(files, CONTEXT)
    assert bundle is not None, problems
    assert [rule.id for rule in bundle.rules] == ["a", "a2", "b", "b2"]
    assert bundle.digest == load_rules(files[::-1], CONTEXT)[0].digest  # type: ignore[union-attr]
    assert bundle.digest != loaded(HEAD + rule_text()).digest


def test_an_id_used_in_two_files_is_found() -> None:
    text = (HEAD + rule_text()).encode()
    _, problems = load_rules([SourceFile("a.yaml", text), SourceFile("b.yaml", text)], CONTEXT)
    (problem,) = problems
    assert (problem.code, problem.place.file) == ("E303", "b.yaml")
    assert "a.yaml:12" in problem.message


def test_drafts_are_checked_and_not_run() -> None:
    bundle = loaded(HEAD + rule_text(status="draft") + rule_text(id="s", status="shadow"))
    assert [rule.id for rule in bundle.of(["camera.tracks"])] == ["s"]
    assert codes(HEAD + rule_text(status="draft", where="x > 1")) == ["E202"]


def test_a_file_may_hold_no_rules() -> None:
    assert loaded("version: 1\n").rules == ()
    assert codes("") == ["E112"]
    assert codes("# nothing\n") == ["E112"]
    assert codes("- 1\n") == ["E113"]
    assert load_rules([], CONTEXT)[0] is not None


def test_sources_are_read_from_folders_without_the_tests(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("z.yaml", "b/a.yml", "b/a_test.yaml", "notes.txt"):
        (tmp_path / name).write_text("version: 1\n")
    found = [Path(s.name).relative_to(tmp_path).as_posix() for s in read_sources([tmp_path, tmp_path / "z.yaml"])]
    assert found == ["b/a.yml", "z.yaml"]
    missing = read_sources([tmp_path / "gone.yaml"])
    assert [p.code for p in load_rules(missing, CONTEXT)[1]] == ["E101"]


# -- fingerprint -------------------------------------------------------------------------------------------------------


def fingerprint(**clauses: str) -> str:
    plain = {"detect": PARKING, "where": "class in lists.motor_vehicles", "zones": '{in: ["core/*"]}'}
    return one_rule(**{**plain, **clauses}).fingerprint


def test_a_fingerprint_stays_while_thresholds_and_texts_change() -> None:
    first = fingerprint()
    for clauses in (
        {"detect": "{dwell: {for: 9m}}"},
        {"message": "{zh: 别的, en: Other}"},
        {"type": '{code: "0505", severity: major}'},
        {"close": "{absent_for: 1m}"},
        {"where": "\"class in ('bus', 'truck', 'van', 'car')\""},
        {"zones": '{in: ["core/*"], edge_buffer: 5m}'},
        {"exempt": "[{where: is_null(role), reason: x, until: never}]"},
    ):
        assert fingerprint(**clauses) == first, clauses


def test_a_fingerprint_changes_with_what_shapes_the_state() -> None:
    found = {
        fingerprint(),
        fingerprint(where="class in lists.motor_vehicles and confidence > 0.5"),
        fingerprint(by="[sensor_id]"),
        fingerprint(zones='{in: ["no-parking/*"]}'),
        fingerprint(zones='{in: ["core/*"], not_in: ["permit/*"]}'),
        fingerprint(detect="{event: {}}"),
        fingerprint(detect="{hold: {value: speed_mps, open_when: value < 1, close_when: value > 2}}"),
        fingerprint(detect="{hold: {value: confidence, open_when: value < 1, close_when: value > 2}}"),
    }
    assert len(found) == 8


# -- zones -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("no-parking/*", "no-parking/a", True),
        ("no-parking/*", "permit/a", False),
        ("*/a", "permit/a", True),
        ("no-parking/school-*", "no-parking/school-1", True),
        ("no-parking/*-n", "no-parking/xinhua-road-n", True),
        ("k/a*b*c", "k/aXbYc", True),
        ("k/a*b*c", "k/aXcYb", False),
        ("k/ab*ba", "k/aba", False),
        ("k/a.c", "k/abc", False),
        ("k/a", "k/a", True),
    ],
)
def test_zone_patterns(pattern: str, path: str, fits: bool) -> None:
    assert zone_matches(pattern, path) is fits
    assert selected([pattern], [], path) is fits
    assert not selected([pattern], ["*/*"], path)
