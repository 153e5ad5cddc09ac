"""What a rule says beside its pattern: who silences it, how grave it is, what it joins, when nobody watches it more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from models.times import HOUR_US, MINUTE_US
from rules.incidents.desk import Desk
from rules.incidents.severity import higher
from rules.language.model import (
    Close,
    Detect,
    DispatchClause,
    Escalation,
    Event,
    EvidenceClause,
    Merge,
    Rule,
    Suppression,
    Variant,
)
from tests.rules.incidents.city import (
    HOLD,
    STREET,
    Always,
    Said,
    Told,
    command,
    desk,
    detection,
    detection_id,
    rule,
)
from tests.rules.incidents.joined import CITY, PONDING, QUEUE, SILENT, Gauge, says
from tests.rules.incidents.test_joins import newest, standing

FLOOD = rule("flood", type_code="0406", detect=HOLD)


def under_flood(detect: Detect = HOLD, *, equal: tuple[str, ...] = ("area",), **more: Any) -> Rule:
    return replace(
        rule("jam-here", type_code="X2101", detect=detect, **more), suppressed_by=(Suppression("flood", equal),)
    )


def told(*rules: Rule) -> Told:
    return Told(desk(*rules, sites=CITY))


def states_of(city: Told, rule_id: str) -> list[str]:
    return [one.state.value for one in newest(city).values() if one.rule == rule_id]


# ---------------------------------------------------------------------------------------------------- suppressed_by


def test_a_silenced_raise_opens_nothing_and_the_silencing_incident_says_how_many():
    jam = under_flood()
    city = told(FLOOD, jam)
    city.tell(detection(100, "raised", of=FLOOD, opened=100))
    city.tell(*(detection(110, "raised", of=jam, opened=110, track=str(n)) for n in range(5)))
    assert states_of(city, "jam-here") == []
    assert city.counts["suppressed"] == 5
    assert [one.attributes["suppressed"] for one in city.of("incidents") if one.reason == "suppressing"] == [
        {"jam-here": 1},
        {"jam-here": 2},
        {"jam-here": 4},
    ]


def test_what_is_still_there_when_the_silence_ends_opens_then():
    jam = under_flood()
    city = told(FLOOD, jam)
    city.tell(detection(100, "raised", of=FLOOD, opened=100))
    flood = city.last.incident_id
    city.tell(detection(110, "raised", of=jam, opened=110, track="1"))
    city.tell(detection(110, "raised", of=jam, opened=110, track="2"))
    city.tell(detection(200, "cleared", of=jam, opened=110, track="2"))
    city.tell(command(300, flood, "false_alarm"))
    assert [one.detections for one in newest(city).values() if one.rule == "jam-here"] == [[raise_id(jam, "1")]]


def raise_id(of: Rule, track: str) -> str:
    return detection_id(of, {"sensor_id": "cam-1", "track_id": track}, STREET, 110)


def test_the_wait_for_the_end_of_a_silence_outlasts_a_restart():
    jam = under_flood()
    city = told(FLOOD, jam)
    city.tell(detection(100, "raised", of=FLOOD, opened=100))
    flood = city.last.incident_id
    city.tell(detection(110, "raised", of=jam, opened=110))
    city.desk, before = desk(FLOOD, jam, sites=CITY), city.desk.snapshot()
    city.desk.restore(before)
    city.until(200)
    assert city.counts["suppressed"] == 1
    city.tell(command(300, flood, "false_alarm"))
    assert states_of(city, "jam-here") == ["dispatched"]


def test_an_event_that_was_silenced_is_dropped_for_good():
    jam = under_flood(Event())
    city = told(FLOOD, jam)
    city.tell(detection(100, "raised", of=FLOOD, opened=100))
    flood = city.last.incident_id
    one = detection(110, "raised", of=jam, opened=110)
    city.tell(one, command(300, flood, "false_alarm"), one)
    assert states_of(city, "jam-here") == []


@pytest.mark.parametrize(
    ("more", "heard"),
    [
        ({"life_safety": True}, {}),
        ({"dispatch": DispatchClause(never_suppress=True)}, {}),
        ({"equal": ("zone",)}, {"zone": "no-parking/other"}),
        ({"equal": ("zone",)}, {"zone": None}),
        ({"equal": ("track_id",)}, {"track": "another"}),
        ({"equal": ("segment_id",)}, {}),
    ],
    ids=["life-safety", "never_suppress", "another zone", "no zone", "another key", "a key that neither has"],
)
def test_what_is_not_silenced(more, heard):
    jam = under_flood(**more)
    city = told(FLOOD, jam)
    city.tell(detection(100, "raised", of=FLOOD, opened=100), detection(110, "raised", of=jam, opened=110, **heard))
    assert len(states_of(city, "jam-here")) == 1


# ---------------------------------------------------------------------------------------------------- severity


def graded(*escalate: Escalation, **more: Any) -> Rule:
    return rule("graded", type_code="X2101", detect=HOLD, severity="minor", escalate=escalate, **more)


UP_AND_DOWN = Escalation("critical", when=Always(27), down_after_us=10 * MINUTE_US)


def still(of: Rule, seconds: float, value: Any, **more: Any) -> Said:
    return detection(seconds, "still", of=of, value=value, **({"opened": 100.0} | more))


def test_severity_goes_back_once_what_raised_it_has_not_held_for_long_enough():
    of = graded(UP_AND_DOWN)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100, value=20), still(of, 130, 30), still(of, 160, 20))
    city.tell(still(of, 300, 28), still(of, 330, 20))
    city.until(330 + 599)
    assert city.last.severity == "critical"
    city.until(330 + 600)
    assert (city.last.severity, city.last.reason) == ("minor", "severity_lowered")


def test_loss_of_the_value_takes_nothing_back():
    of = graded(UP_AND_DOWN)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100, value=30), detection(130, "unknown", of=of, opened=100))
    city.until(7200)
    assert city.last.severity == "critical"


@pytest.mark.parametrize(
    ("other", "left"),
    [
        (Escalation("major", when=Always(20)), "major"),
        (Escalation("moderate", after_us=MINUTE_US), "moderate"),
        (Escalation("major", when=Always(10), down_after_us=MINUTE_US), "major"),
    ],
    ids=["one for good", "one by time", "one that still holds"],
)
def test_severity_falls_no_lower_than_what_others_say(other, left):
    of = graded(UP_AND_DOWN, other)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100, value=30), still(of, 130, 20))
    city.until(3600)
    assert city.last.severity == left


def test_what_a_person_has_raised_stays():
    of = graded(UP_AND_DOWN)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100, value=10))
    city.tell(command(110, city.last.incident_id, "escalate", args={"severity": higher("minor")}))
    city.tell(still(of, 120, 30), still(of, 130, 20))
    city.until(3600)
    assert city.last.severity == "moderate"


def test_an_escalation_may_name_the_source_whose_value_it_is():
    of = replace(PONDING, escalate=(Escalation("critical", when=Gauge(27)),))
    city = told(of)
    city.tell(says(of, "camera", 100, value=50, who="cam-1"))
    assert city.last.severity == "major"
    city.tell(says(of, "gauge", 110, value=30))
    assert city.last.severity == "critical"


# ---------------------------------------------------------------------------------------------------- merge


def segment(name: str, seconds: float = 100.0, kind: str = "raised") -> Said:
    return detection(seconds, kind, of=QUEUE, opened=seconds, key={"segment_id": name}, lon=None, lat=None, zone=None)


@pytest.mark.parametrize(("other", "incidents"), [("s2", 1), ("s3", 1), ("s0", 2), ("s9", 2)])
def test_a_raise_joins_an_incident_a_few_segments_downstream(other, incidents):
    city = told(QUEUE)
    city.tell(segment("s1"), segment(other, 200))
    assert len(standing(city)) == incidents


def test_too_many_segments_upstream_is_another_incident():
    city = told(QUEUE)
    city.tell(segment("s0"), segment("s3", 200))
    assert len(standing(city)) == 2


# ---------------------------------------------------------------------------------------------------- the parent


def silent(name: str, seconds: float = 100.0, kind: str = "raised") -> Said:
    key = {"gateway": name} if name.startswith("gw") else {"device_id": name}
    lon = 121.0 if name.startswith("gw") else 121.02 + int(name.partition("-")[2].replace("x", "700")) * 0.002
    return detection(seconds, kind, of=SILENT, opened=100.0, key=key, lon=lon, suspected=True, zone=None)


def one_by_one(names: Sequence[str]) -> list[Said]:
    return [silent(name) for name in names]


CHILDREN = [f"tilt-{n}" for n in range(40)]


@pytest.mark.parametrize(
    "names",
    [["gw-1", *CHILDREN], [*CHILDREN, "gw-1"], [*CHILDREN[:20], "gw-1", *CHILDREN[20:]]],
    ids=["the gateway first", "the gateway last", "the gateway in between"],
)
def test_a_gateway_and_its_silent_devices_are_one_incident(names):
    city = told(SILENT)
    city.tell(*one_by_one(names), silent("tilt-x"))
    grouped, other = sorted(standing(city), key=lambda one: -one.count)
    assert (grouped.count, other.count) == (len(CHILDREN) + 1, 1)
    assert grouped.state == "suspected"
    assert len({one.incident_id for one in standing(city)}) == 2


def test_the_incident_of_a_gateway_ends_when_all_are_heard_again():
    city = told(SILENT)
    city.tell(*one_by_one(["tilt-1", "gw-1"]), silent("gw-1", 300, "cleared"))
    assert [one.state for one in standing(city)] == ["suspected"]
    city.tell(silent("tilt-1", 310, "cleared"))
    assert [one.state for one in standing(city)] == ["withdrawn"]


def test_five_hundred_devices_that_fall_silent_with_their_gateway_are_one_incident():
    city = told(SILENT)
    city.tell(*one_by_one([f"tilt-{n}" for n in range(250)]), silent("gw-1"))
    city.tell(*one_by_one([f"tilt-{n}" for n in range(250, 500)]))
    assert [(one.state, one.count) for one in standing(city)] == [("suspected", 501)]


# ---------------------------------------------------------------------------------------------------- told with it


def test_the_reason_of_an_override_is_named():
    base = rule("school", detect=HOLD)
    gate = Variant(None, "school-gate order", "major", HOLD, (), base.base.close)
    city = told(replace(base, variants=(gate, base.base)))
    city.tell(detection(100, "raised", of=base, opened=100))
    assert city.last.attributes == {"override_reason": "school-gate order"}


def test_pictures_are_asked_for_when_it_is_a_case():
    clause = EvidenceClause(3, 20_000_000, ("face", "plate"), None)
    of = replace(rule("seen", detect=HOLD), evidence=clause)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100))
    (request,) = city.of("recognition.requests")
    assert (request.want, request.sensor_id) == ("evidence", "cam-1")
    assert city.last.attributes["pictures"] == {
        "frames": 3,
        "span_s": 20.0,
        "mask": ["face", "plate"],
        "retain_s": None,
    }


# ---------------------------------------------------------------------------------------------------- no data


@pytest.mark.parametrize(("coverage", "ended"), [(0.9, True), (0.1, False)])
def test_a_time_out_under_a_silent_source_verifies_nothing(coverage, ended):
    of = rule("timed", type_code="X2101", detect=HOLD, close=Close(timeout_us=HOUR_US))
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100))
    city.feedback(200, "accepted", "arrived", "handled")
    city.tell(detection(3700, "cleared", of=of, opened=100, coverage=coverage))
    city.until(5000)
    assert (city.last.state == "closed") is ended
    assert [one.verdict for one in city.of("verification.results")][-1] == ("passed" if ended else "inconclusive")


def restarted_with(city: Told, *rules: Rule) -> Desk:
    made = desk(*rules, sites=CITY)
    made.restore(city.desk.snapshot())
    return made


@pytest.mark.parametrize("gone", [True, False], ids=["removed", "changed"])
def test_what_no_rule_watches_any_more_ends_after_a_day(gone):
    of = rule("old", type_code="X2101", detect=HOLD)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100))
    city.desk = restarted_with(city, *((FLOOD,) if gone else (replace(of, fingerprint="another"),)))
    city.until(100 + 24 * 3600 - 1)
    assert city.last.state == "dispatched"
    city.until(100 + 24 * 3600)
    assert city.states[-1] == ("closed", "inherited")


def test_an_incident_whose_rule_is_the_same_is_not_inherited():
    of = rule("old", type_code="X2101", detect=HOLD)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100))
    city.desk = restarted_with(city, replace(of, revision=2, severity="major"))
    city.until(3 * 24 * 3600)
    assert city.last.state == "dispatched"


def test_a_danger_to_life_that_no_rule_watches_any_more_is_left_to_a_person():
    of = rule("old", type_code="X2104", detect=HOLD, life_safety=True)
    city = told(of)
    city.tell(detection(100, "raised", of=of, opened=100))
    city.desk = restarted_with(city, FLOOD)
    city.until(2 * 24 * 3600)
    assert (city.last.state, city.last.reason) == ("dispatched", "person_must_close")


def test_branches_of_one_rule_are_one_incident_by_its_merge():
    of = replace(PONDING, merge=Merge(False, 300.0, HOUR_US))
    city = told(of)
    city.tell(says(of, "gauge", 100), says(of, "camera", 5000, who="cam-1", metres=290))
    assert len(standing(city)) == 2
    near = told(of)
    near.tell(says(of, "gauge", 100), says(of, "camera", 3000, who="cam-1", metres=290))
    assert len(standing(near)) == 1
