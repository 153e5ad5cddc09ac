"""`neighbours` as time tables: what else is in the frame, where the view ends, where stopping is usual.

Cars look east (90°) unless a test says otherwise, seen once a second:

    [4]   [3]   [2]   [1]>        each 6 m behind the one before it; [1] is the front
"""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, radians, sin
from typing import Any

import pytest

from tests.rules.detection.stage import Sent, Stage, car, frame, seconds, square

RULE = """
version: 1
rules:
  - id: parked
    revision: 1
    name: {zh: 违停, en: Parked}
    owner: {department: traffic-police, contact: desk}
    status: active
    type: {code: "0505", severity: minor}
    from: [camera.tracks]
    where: class == "car" and speed_mps < 0.5
    zones: {in: ["no-parking/*"]}
    by: [sensor_id, track_id, zone]
    neighbours:
      NEIGHBOURS
    detect:
      dwell: {for: 60s, max_move: 3m, max_gap: 20s}
    close: {absent_for: 20s, min_coverage: 80%}
    message: {zh: "{zone.name} 违停", en: "Parked in {zone.name}"}
"""
QUEUE = "none: {where: speed_mps < 0.5, ahead: 12m, abeam: 2m}"
PASSING = "some: {where: speed_mps > 2, ahead: 8m, behind: 8m, abeam: 6m, at_least: 5%}"
ZONES = [square("a", side_m=400)]


def rule(*asked: str, **clauses: str) -> str:
    """The rule with these neighbours; `clauses` stand before its message."""
    text = RULE.replace("NEIGHBOURS", "\n      ".join(f"- {one}" for one in asked))
    more = "".join(f"    {name}: {clause}\n" for name, clause in clauses.items())
    return text.replace("    message:", more + "    message:")


def stage(*asked: str, **clauses: str) -> Stage:
    return Stage(rule(*asked, **clauses), ZONES)


def seen(track: str, east_m: float = 0, north_m: float = 0, speed: float = 0.0, **more: Any) -> Any:
    return car(track, east_m, north_m, speed, **{"heading_deg": 90.0, **more})


def van(east_m: float, north_m: float = 0) -> Any:
    """It stands, and the rule is not about it."""
    return {**car("van", east_m, north_m), "class": "van"}


def raised(s: Stage) -> list[tuple[str, float]]:
    return [(d.key["track_id"], seconds(d)) for d in s.told if d.kind == "raised"]


def every_second(upto: int, *objects: Any, since: int = 0, sensor: str = "cam-1") -> Iterable[Sent]:
    return (frame(t, *objects, sensor=sensor) for t in range(since, upto))


# boxes


def test_in_a_queue_the_front_is_told_and_the_rear_never():
    s = stage(QUEUE)
    s.feed(*every_second(300, seen("1"), seen("2", -6), seen("3", -12)))
    assert raised(s) == [("1", 60.0)]


def test_when_the_front_leaves_the_next_is_told_once_half_of_its_time_was_free():
    s = stage(QUEUE)
    s.feed(*every_second(50, seen("1"), seen("2", -6)), *every_second(200, seen("2", -6), since=50))
    assert raised(s) == [("2", 99.0)]


def test_who_comes_up_behind_changes_nothing():
    s = stage(QUEUE)
    s.feed(*every_second(30, seen("1")), *every_second(200, seen("1"), seen("2", -6), since=30))
    assert raised(s) == [("1", 60.0)]


def test_the_share_is_reached_exactly():
    for occupied, told in ((30, 60.0), (31, 61.0)):  # 31 of 61, 31 of 62
        s = stage(QUEUE)
        s.feed(*every_second(occupied, seen("1"), seen("2", -6)), *every_second(70, seen("2", -6), since=occupied))
        assert raised(s) == [("2", told)]


def test_one_hit_below_the_share_waits_for_the_hit_that_reaches_it():
    s = stage(QUEUE.replace("abeam: 2m", "abeam: 2m, at_least: 100%"))
    s.feed(*every_second(1, seen("1"), seen("2", -6)), *every_second(500, seen("2", -6), since=1))
    assert raised(s) == []
    s = stage(QUEUE.replace("abeam: 2m", "abeam: 2m, at_least: 99%"))
    s.feed(*every_second(1, seen("1"), seen("2", -6)), *every_second(500, seen("2", -6), since=1))
    assert raised(s) == [("2", 99.0)]


def test_a_share_that_holds_all_along_gives_the_exact_crossing_between_frames():
    s = stage(QUEUE)
    s.feed(*(frame(t, seen("1")) for t in range(0, 200, 7)))
    assert raised(s) == [("1", 60.0)]


def test_a_share_reached_between_frames_is_told_at_the_frame_that_shows_it():
    s = stage(QUEUE)
    s.feed(*(frame(t, *([seen("1")] if t < 56 else []), seen("2", -6)) for t in range(0, 200, 7)))
    assert raised(s) == [("2", 105.0)]


@pytest.mark.parametrize(("percent", "hits"), [(7, 100), (14, 50), (28, 25), (55, 20), (57, 100)])
def test_a_share_that_no_real_number_meets_was_missed_by_a_hair(percent: int, hits: int):
    text = rule(QUEUE.replace("abeam: 2m", f"abeam: 2m, at_least: {percent}%"))
    s = Stage(text.replace("for: 60s", f"for: {hits - 1}s"), ZONES)
    free = percent * hits // 100
    s.feed(*every_second(free, seen("2", -6)), *every_second(hits + 20, seen("1"), seen("2", -6), since=free))
    assert ("2", hits - 1.0) in raised(s)


def test_some_asks_that_others_pass_by():
    s = stage(PASSING)
    s.feed(*every_second(300, seen("1")))
    assert raised(s) == []
    s = stage(PASSING)
    s.feed(*(frame(t, seen("1"), *([seen(f"p{t}", 0, 4, 8.0)] if t % 20 == 10 else [])) for t in range(100)))
    assert raised(s) == [("1", 70.0)]  # 4 of 71; at 60 it was 3 of 61


def test_two_boxes_must_both_hold():
    s = stage(QUEUE, PASSING)
    passes = [seen("p", 0, 4, 8.0)]
    s.feed(
        *every_second(120, seen("1"), seen("2", -6), *passes), *every_second(300, seen("1"), seen("2", -6), since=120)
    )
    assert raised(s) == [("1", 60.0)]


@pytest.mark.parametrize(
    ("box", "east_m", "north_m", "inside"),
    [
        ("ahead: 12m", 11.9, 0, True),
        ("ahead: 12m", 12.2, 0, False),
        ("ahead: 12m", -6, 0, False),
        ("ahead: 12m", 0.9, 1.5, False),  # level with it: beside, not ahead
        ("behind: 12m", -11.9, 0, True),
        ("behind: 12m", -12.2, 0, False),
        ("behind: 12m", 6, 0, False),
        ("ahead: 8m, behind: 8m", 0, 1.9, True),
        ("ahead: 12m", 6, 1.9, True),
        ("ahead: 12m", 6, -1.9, True),
        ("ahead: 12m", 6, 2.1, False),
        ("ahead: 12m, abeam: 5m", 6, -4.9, True),
        ("ahead: 12m, abeam: 5m", 6, 5.1, False),
    ],
)
def test_the_borders_of_a_box(box: str, east_m: float, north_m: float, inside: bool):
    s = stage(f"none: {{where: speed_mps < 0.5, {box}}}")
    s.feed(*every_second(70, seen("1"), van(east_m, north_m)))
    assert raised(s) == ([] if inside else [("1", 60.0)])


@pytest.mark.parametrize("heading_deg", [0.0, 45.0, 180.0, 270.0, 359.0])
def test_the_box_turns_with_the_heading(heading_deg: float):
    for far_m, inside in ((10, True), (-10, False)):
        s = stage(QUEUE)
        to = radians(heading_deg)
        other = van(far_m * sin(to), far_m * cos(to))
        s.feed(*every_second(70, seen("1", heading_deg=heading_deg), other))
        assert raised(s) == ([] if inside else [("1", 60.0)])


def test_without_a_heading_the_box_is_all_around():
    for east_m, north_m, inside in ((-11, 0, True), (0, 11, True), (9, 9, False)):
        s = stage(QUEUE)
        s.feed(*every_second(70, car("1"), van(east_m, north_m)))
        assert raised(s) == ([] if inside else [("1", 60.0)])


def test_a_heading_once_known_stays():
    s = stage(QUEUE)
    s.feed(frame(0, seen("1")), *every_second(70, car("1"), van(-6), since=1))
    assert raised(s) == [("1", 60.0)]


def test_another_frame_or_camera_is_no_neighbour():
    s = stage(QUEUE)
    for t in range(70):
        s.feed(frame(t, seen("1")), frame(t, seen("2", 6), sensor="cam-2"), frame(t + 0.5, seen("3", 6)))
    assert raised(s) == [("1", 60.0), ("2", 60.0), ("3", 60.5)]


def test_what_has_no_place_has_no_known_surroundings():
    text = RULE.replace("NEIGHBOURS", f"- {QUEUE}").replace('    zones: {in: ["no-parking/*"]}\n', "")
    s = Stage(text.replace(", zone]", "]").replace("max_move: 3m, ", "").replace("{zone.name}", "{place}"), ZONES)
    s.feed(*every_second(70, seen("1", lon=None, lat=None), seen("2")))
    assert raised(s) == [("2", 60.0)]


# the view


def street(s: Stage, many: int, sensor: str = "cam-1") -> int:
    """So many drive in from the west and vanish at the middle; gives the second after."""
    for n in range(many):
        for t in range(6):
            s.feed(frame(10 * n + t, seen(f"c{n}", -50 + 10 * t, 0, 10.0), sensor=sensor))
        s.feed(frame(10 * n + 6, sensor=sensor))
    return 10 * many


def told_at(s: Stage, since: int, east_m: float) -> list[tuple[str, float]]:
    s.feed(*every_second(since + 100, seen("stands", east_m), since=since))
    return [(track, at - since) for track, at in raised(s)]


VIEW = "in_view: {ahead: 12m}"


def test_at_the_end_of_the_view_nothing_is_told_and_in_its_middle_it_is():
    for east_m, told in ((0, []), (-30, [("stands", 60.0)])):
        s = stage(VIEW)
        assert told_at(s, street(s, 8), east_m) == told


def test_in_a_quiet_street_the_view_has_no_known_end():
    for many in (0, 2):
        s = stage(VIEW)
        assert told_at(s, street(s, many), 0) == [("stands", 60.0)]


def test_what_another_camera_has_learned_counts_not():
    s = stage(VIEW)
    assert told_at(s, street(s, 8, "cam-2"), 0) == [("stands", 60.0)]


def test_a_road_that_goes_on_is_in_view_after_a_while():
    s = stage(VIEW)
    since = street(s, 8)
    for n in range(6):
        s.feed(*(frame(since + 10 * n + t, seen(f"d{n}", -50 + 10 * t, 0, 10.0)) for t in range(10)))
    assert told_at(s, since + 60, 0) == [("stands", 60.0)]


def test_who_stands_there_is_seen_once_however_long():
    s = stage(VIEW)
    s.feed(*every_second(3600, seen("1")))
    assert raised(s) == [("1", 60.0)]


def test_a_view_is_forgotten_with_a_source_unseen_for_a_day():
    for hours, told in ((12, []), (25, [("stands", 60.0)])):
        s = stage(VIEW)
        street(s, 16)
        assert told_at(s, hours * 3600 + 160, 0) == told


# usual stops

STOP = "usual_stop: {wait: 150s}"


def stops(s: Stage, many: int, behind: int = 0) -> int:
    """So many stop in the middle for twenty seconds and go on, each with so many who queue behind it."""
    for n in range(many):
        at = 40 * n
        for t in range(24):
            gone_m, speed = (0.0, 0.0) if t < 20 else (8.0 * (t - 19), 8.0)
            s.feed(frame(at + t, *(seen(f"s{n}-{m}", gone_m - 6 * m, 0, speed) for m in range(1 + behind))))
        s.feed(frame(at + 24))
    return 40 * many


def test_where_three_stopped_and_went_on_the_fourth_is_told_after_the_wait():
    for many, told in ((2, 60.0), (3, 150.0)):
        s = stage(STOP)
        since = stops(s, many)
        s.feed(*every_second(since + 200, seen("stands"), since=since))
        assert raised(s) == [("stands", since + told)]


def test_a_stop_of_someone_who_queues_is_none():
    s = stage(STOP)
    since = stops(s, 4, behind=2)
    s.feed(*every_second(since + 200, seen("stands", -12), since=since))
    assert raised(s) == [("stands", since + 60.0)]


def test_a_usual_stop_is_forgotten_after_an_hour():
    s = stage(STOP)
    since = stops(s, 3)
    s.feed(*(frame(t) for t in range(since, 3600 + since, 5)))
    s.feed(*every_second(3600 + since + 200, seen("stands"), since=3600 + since))
    assert raised(s) == [("stands", 3600 + since + 60.0)]


def test_stages_after_the_wait_have_their_own_moments():
    stages = "[{at: 60s, do: remind_owner}, {at: 100s, do: second_look}, {at: 160s, do: open_case}]"
    s = stage(STOP, stages=stages)
    since = stops(s, 3)
    s.feed(*every_second(since + 200, seen("stands"), since=since))
    assert [(at - since, kind, do) for at, kind, do in s.table()] == [
        (150.0, "raised", "remind_owner"),
        (150.0, "stage", "second_look"),
        (160.0, "stage", "open_case"),
    ]


# with the other clauses


def test_an_override_with_another_length_keeps_what_was_met():
    text = rule(QUEUE, params="{long: 60s}", overrides='[{where: role == "taxi", set: {long: 30s}, reason: short}]')
    s = Stage(text.replace("for: 60s", "for: $long"), ZONES)
    s.feed(*(frame(t, *([seen("1")] if t < 15 else []), seen("2", -6, role="taxi")) for t in range(70)))
    assert raised(s) == [("2", 30.0)]
    s = Stage(text.replace("for: 60s", "for: $long"), ZONES)
    s.feed(*(frame(t, seen("1"), seen("2", -6, role="taxi" if t > 50 else None)) for t in range(70)))
    assert raised(s) == [("1", 60.0)]


def test_an_open_condition_goes_on_and_clears_whatever_stands_around():
    s = stage(QUEUE, stages="[{at: 60s, do: remind_owner}, {at: 90s, do: open_case}]")
    s.feed(
        *every_second(65, seen("1")),
        *every_second(120, seen("1"), seen("2", 6), since=65),
        *every_second(200, since=120),
    )
    assert [line for line in s.table() if line[0] != 125.0] == [
        (60.0, "raised", "remind_owner"),
        (90.0, "stage", "open_case"),
        (139.0, "cleared", None),
    ]


def test_after_a_gap_what_was_met_counts_no_more():
    s = stage(QUEUE)
    s.feed(*every_second(50, seen("1")), *every_second(200, seen("1"), seen("2", 6), since=80))
    assert raised(s) == [("2", 140.0)]


def test_a_queue_beyond_the_zone_counts_too():
    s = Stage(rule(QUEUE), [square("a", side_m=8)])
    s.feed(*every_second(70, seen("1"), seen("2", 6)))
    assert raised(s) == []


# what went wrong once


def test_a_first_record_that_could_not_be_read_stopped_the_worker():
    s = stage(QUEUE)
    s.feed(Sent("camera.tracks", 0, b"{"))
    s.feed(frame(1, seen("1")))
    assert (s.bins["dead"], s.bins["used"]) == (1, 1)
