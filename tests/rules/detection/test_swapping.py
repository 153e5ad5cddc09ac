"""Other rules or zones under a Detector that goes on: what is the same keeps its windows and timers exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from models.detections import Detection
from tests.rules.detection import stage
from tests.rules.detection.stage import Sent, Stage, car, frame, plain, reading, seconds, square

PARKING = """
  - id: parking
    revision: 1
    name: {zh: 违停, en: Parking}
    status: active
    type: {code: "0505", severity: minor}
    from: [camera.tracks]
    where: class == "car" and speed_mps < 0.5
    zones: {in: ["no-parking/*"]}
    by: [sensor_id, track_id, zone]
    detect:
      dwell: {for: 10m, max_move: 3m, max_gap: 30s, min_points: 5}
    close: {absent_for: 60s}
    message: {zh: "违停", en: "parked"}
"""
LEVEL = """
  - id: ponding
    revision: 1
    name: {zh: 积水, en: Ponding}
    status: active
    type: {code: "0406", severity: major}
    from: [sensor.readings]
    where: metric == "water_level"
    by: [device_id]
    detect:
      hold: {value: value, open_when: value >= 15, close_when: value < 8, for: 2m, close_for: 1m}
    message: {zh: "积水", en: "water"}
"""
HEAD = """
version: 1
defaults: {timezone: Asia/Shanghai, owner: {department: urban-management, contact: desk}}
rules:
"""
BOTH = HEAD + PARKING + LEVEL
MINUTE = 60


@pytest.fixture(params=[True, False], ids=["compiled", "plain"], autouse=True)
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "COMPILED", request.param)


def world(first: float, last: float) -> list[Sent]:
    """A car stands from the start, and water is high from the first minute on."""
    sent: list[Sent] = []
    for second in range(round(first), round(last), 10):
        sent += [frame(second, car()), reading(second, 20.0 if second >= MINUTE else 3.0)]
    return sent


def swapped(on: Stage, rules: str, zones: Sequence[Any]) -> list[Detection]:
    """The stage goes on under other rules and zones; what is told of that."""
    other = Stage(rules, zones)
    told = other.detector.take_over(on.detector)
    on.bundle, on.atlas, on.detector = other.bundle, other.atlas, other.detector
    on.told += told
    return told


ZONES = [square("a"), square("b", east_m=500)]


def run(changes: dict[int, Callable[[Stage], object]], until: float = 14 * MINUTE) -> Stage:
    """The world up to `until`, with changes at these seconds."""
    on, before = Stage(BOTH, ZONES), 0
    for at, change in sorted(changes.items()):
        on.feed(*world(before, at))
        change(on)
        before = at
    on.feed(*world(before, until))
    return on


def of(told: Sequence[Detection], rule: str) -> list[tuple[float, str]]:
    return [(seconds(d), d.kind) for d in told if d.rule == rule and d.kind != "still"]


def test_an_edit_of_another_rule_leaves_a_dwell_of_nine_minutes_alone() -> None:
    edited = BOTH.replace("value >= 15", "value >= 16").replace("revision: 1", "revision: 2", 2)
    assert edited != BOTH
    on = run({9 * MINUTE: lambda on: swapped(on, edited, ZONES)})
    assert of(on.told, "parking") == [(600, "raised")]


@pytest.mark.parametrize("every", [10, 50, 130])
def test_the_same_rules_swapped_again_and_again_change_nothing(every: int) -> None:
    plainly = run({})
    often = run({at: lambda on: swapped(on, BOTH, ZONES) for at in range(every, 14 * MINUTE, every)})
    assert plain(often.told) == plain(plainly.told)
    assert {d.rule for d in plainly.told} == {"parking", "ponding"}


def test_a_rule_that_comes_and_goes_moves_no_other() -> None:
    more = BOTH + PARKING.replace("id: parking", "id: loading").replace("10m", "4m")
    on = run(
        {
            130: lambda on: swapped(on, more, ZONES),
            300: lambda on: swapped(on, BOTH, ZONES),
            420: lambda on: swapped(on, more, ZONES),
        }
    )
    assert [d for d in plain(on.told) if b'"loading"' not in d] == plain(run({}).told)


def test_a_longer_limit_counts_from_where_the_condition_began() -> None:
    on = run({9 * MINUTE: lambda on: swapped(on, BOTH.replace("for: 10m", "for: 12m"), ZONES)})
    assert of(on.told, "parking") == [(720, "raised")]


def test_a_shorter_limit_is_reached_at_once_and_told_with_its_own_time() -> None:
    on = run({9 * MINUTE: lambda on: swapped(on, BOTH.replace("for: 10m", "for: 7m"), ZONES)})
    assert of(on.told, "parking") == [(420, "raised")]


def test_what_is_raised_by_a_rule_that_goes_is_told_unknown_and_no_more() -> None:
    on = run({12 * MINUTE: lambda on: swapped(on, HEAD + LEVEL, ZONES)})
    (raised, last) = [d for d in on.told if d.rule == "parking" and d.kind != "still"]
    assert (raised.kind, last.kind, raised.detection_id == last.detection_id) == ("raised", "unknown", True)
    assert all(seconds(d) <= seconds(last) for d in on.told if d.rule == "parking")
    assert of(on.told, "ponding") == of(run({}).told, "ponding")


def test_another_shape_begins_anew_and_the_old_one_is_told_unknown() -> None:
    faster = BOTH.replace("speed_mps < 0.5", "speed_mps < 0.6")
    on = run({12 * MINUTE: lambda on: swapped(on, faster, ZONES)}, until=24 * MINUTE)
    assert of(on.told, "parking") == [(600, "raised"), (708, "unknown"), (1320, "raised")]


def test_a_closing_limit_that_was_shortened_counts_for_what_is_open() -> None:
    on = Stage(BOTH, ZONES)
    on.feed(*world(0, 11 * MINUTE))
    swapped(on, BOTH.replace("absent_for: 60s", "absent_for: 30s"), ZONES)
    on.feed(*(frame(second, car(east_m=200)) for second in range(11 * MINUTE, 13 * MINUTE, 10)))
    assert of(on.told, "parking") == [(600, "raised"), (650 + 30, "cleared")]


def test_a_zone_that_was_edited_keeps_what_stands_in_it_still_and_others_feel_nothing() -> None:
    on = Stage(BOTH, ZONES)
    two = [frame(s, car("1"), car("2", east_m=18), car("3", east_m=500)) for s in range(0, 14 * MINUTE, 10)]
    on.feed(*two[:54])
    swapped(on, BOTH, [square("a", side_m=30), square("b", east_m=500)])
    on.feed(*two[54:])
    raised = {d.key["track_id"]: seconds(d) for d in on.told if d.kind == "raised"}
    assert raised == {"1": 600, "3": 600}  # the second stands outside now


def test_a_zone_that_grew_counts_from_the_first_sight_inside_it() -> None:
    on = Stage(BOTH, [square("a", side_m=30)])
    two = [frame(s, car("2", east_m=18)) for s in range(0, 22 * MINUTE, 10)]
    on.feed(*two[:54])
    swapped(on, BOTH, ZONES)
    on.feed(*two[54:])
    assert of(on.told, "parking") == [(540 + 600, "raised")]


def test_what_is_raised_in_a_zone_that_goes_is_told_unknown() -> None:
    on = run({12 * MINUTE: lambda on: swapped(on, BOTH, ZONES[1:])})
    assert of(on.told, "parking") == [(600, "raised"), (708, "unknown")]


def test_what_a_rule_on_trial_has_raised_is_raised_again_when_it_becomes_active() -> None:
    trial = BOTH.replace("status: active", "status: shadow", 1)
    on = Stage(trial, ZONES)
    on.feed(*world(0, 12 * MINUTE))
    told = swapped(on, BOTH, ZONES)
    assert [(seconds(d), d.kind, d.rule) for d in told] == [(600, "raised", "parking")]
    assert told[0].detection_id == next(d for d in on.told if d.rule == "parking").detection_id
