"""`dwell` as time tables. A car stands in a 40 m zone, seen once a second, unless a test says otherwise."""

from __future__ import annotations

from tests.rules.detection.stage import Stage, car, frame, seconds, square, tick

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
    zones: {in: ["no-parking/*"], not_in: ["permit/*"], edge_buffer: 1m}
    by: [sensor_id, track_id, zone]
    detect:
      dwell: {for: 2m, max_move: 3m, max_gap: 20s, min_points: 5}
    stages:
      - {at: 2m, do: remind_owner}
      - {at: 7m, do: open_case}
    close: {absent_for: 60s, min_coverage: 80%}
    message: {zh: "{zone.name} 违停", en: "Parked in {zone.name}"}
"""


ZONES = [square("a"), square("bay", "permit", east_m=15, side_m=6)]


def stage() -> Stage:
    return Stage(RULE, ZONES)


def test_it_is_raised_at_the_exact_crossing_and_told_when_the_watermark_passes_it():
    s = stage()
    for t in range(122):
        s.feed(frame(t + 0.25, car()))
        assert s.table() == []
    s.feed(frame(122.25, car()))
    assert s.table() == [(120.25, "raised", "remind_owner")]


def test_a_frame_interval_that_misses_the_crossing_still_gives_the_crossing():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(0, 140, 7)))
    assert s.table() == [(120.0, "raised", "remind_owner")]


def test_it_is_not_raised_when_it_leaves_just_before():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(120)), *(frame(t) for t in range(120, 400)))
    assert s.table() == []


def test_further_stages_and_clearing_with_their_own_moments():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(431)), *(frame(t) for t in range(431, 600)))
    assert s.table() == [(120.0, "raised", "remind_owner"), (420.0, "stage", "open_case"), (490.0, "cleared", None)]
    stills = [d for d in s.told if d.kind == "still"]
    assert len(stills) == 11
    assert all(d.coverage == 1.0 for d in stills)
    assert len({d.detection_id for d in s.told}) == 1


def test_a_gap_of_max_gap_is_bridged_and_a_longer_one_begins_anew():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(100)), *(frame(t, car()) for t in range(119, 140)))
    assert s.table() == [(120.0, "raised", "remind_owner")]
    s = stage()
    s.feed(*(frame(t, car()) for t in range(100)), *(frame(t, car()) for t in range(120, 245)))
    assert s.table() == [(240.0, "raised", "remind_owner")]


def test_moving_on_within_the_zone_begins_anew():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(100)), *(frame(t, car(east_m=4)) for t in range(100, 230)))
    assert s.table() == [(220.0, "raised", "remind_owner")]


def test_jitter_within_max_move_does_not():
    s = stage()
    s.feed(*(frame(t, car(east_m=2.9 * (t % 2))) for t in range(130)))
    assert s.table() == [(120.0, "raised", "remind_owner")]


def test_what_does_not_move_at_all_has_not_moved_too_far():
    s = Stage(RULE.replace("max_move: 3m", "max_move: 0m"), ZONES)
    s.feed(*(frame(t, car()) for t in range(130)))
    assert s.table() == [(120.0, "raised", "remind_owner")]


def test_too_few_points_wait_for_the_last_one_needed():
    s = stage()
    s.feed(*(frame(t, car()) for t in (0, 19, 38)), *(frame(t) for t in range(40, 50)))
    assert s.table() == []
    s = Stage(RULE.replace("min_points: 5", "min_points: 9"), ZONES)
    s.feed(*(frame(t, car()) for t in range(0, 200, 18)))
    assert s.table()[0] == (144.0, "raised", "remind_owner")


def test_outside_in_a_permit_bay_or_driving_nothing_is_raised():
    for seen in (car(east_m=30), car(east_m=15), car(speed=3.0), car(speed=None), {**car(), "class": "person"}):
        s = stage()
        s.feed(*(frame(t, seen) for t in range(300)))
        assert s.table() == []


def test_the_edge_counts_as_inside_and_leaving_only_beyond_the_buffer():
    s = stage()
    s.feed(*(frame(t, car(east_m=19.9 if t < 60 else 20.9)) for t in range(130)))
    assert s.table() == [(120.0, "raised", "remind_owner")]
    s = stage()
    s.feed(*(frame(t, car(east_m=20.9)) for t in range(130)))
    assert s.table() == []


def test_a_silent_camera_makes_it_unknown_never_cleared():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(130)), *(tick(t) for t in range(131, 900)))
    assert s.table() == [(120.0, "raised", "remind_owner"), (139.0, "unknown", None)]
    told = s.feed(*(frame(t, car()) for t in range(900, 960)))
    assert [(seconds(d), d.kind) for d in told] == [(900.0, "still"), (420.0, "stage"), (930.0, "still")]


def test_absence_counts_only_while_the_camera_watches():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(130)), *(frame(t) for t in range(300, 400)))
    assert s.table()[-1] == (338.0, "cleared", None)


def test_two_cars_and_two_cameras_are_four_conditions():
    s = stage()
    for t in range(125):
        s.feed(*(frame(t, car("1"), car("2", east_m=5), sensor=cam) for cam in ("cam-1", "cam-2")))
    assert len({d.detection_id for d in s.told}) == 4


# what went wrong once


def test_it_began_nowhere_when_it_stood_inside_one_zone_and_beside_another():
    rule = RULE.replace("by: [sensor_id, track_id, zone]", "by: [sensor_id, track_id]")
    s = Stage(rule, [square("a"), square("b", east_m=40), square("bay", "permit", east_m=15, side_m=6)])
    s.feed(*(frame(t, car(east_m=20.5)) for t in range(130)))
    assert s.table() == [(120.0, "raised", "remind_owner")]
    assert s.told[0].zone == "no-parking/b"


def test_it_was_raised_before_its_first_stage():
    s = Stage(RULE.replace("{at: 2m, do: remind_owner}", "{at: 3m, do: remind_owner}"), ZONES)
    s.feed(*(frame(t, car()) for t in range(430)))
    assert s.table() == [(180.0, "raised", "remind_owner"), (420.0, "stage", "open_case")]


def test_without_a_position_it_always_began_anew():
    rule = RULE.replace("dwell: {for: 2m, max_move: 3m,", "dwell: {for: 2m,").replace(
        '    zones: {in: ["no-parking/*"], not_in: ["permit/*"], edge_buffer: 1m}\n', ""
    )
    s = Stage(rule.replace("track_id, zone]", "track_id]").replace("{zone.name}", "").replace("in  ", ""))
    s.feed(*(frame(t, {**car(), "lon": None, "lat": None}) for t in range(130)))
    assert s.table() == [(120.0, "raised", "remind_owner")]


def test_seen_again_for_a_moment_it_was_unknown_only_from_the_next_still_on():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(130)), *(frame(t, car()) for t in range(182, 184)), tick(300))
    assert [(seconds(d), d.kind) for d in s.told] == [
        (120.0, "raised"),
        (139.0, "unknown"),
        (182.0, "still"),
        (193.0, "unknown"),
    ]


def test_unknown_was_told_again_when_the_camera_came_and_went_without_it():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(130)), *(frame(t) for t in range(205, 233)), tick(400))
    assert s.table() == [(120.0, "raised", "remind_owner"), (139.0, "unknown", None)]


def test_a_still_at_its_own_moment_was_told_twice_when_it_came_back_just_then():
    s = stage()
    s.feed(*(frame(t, car()) for t in range(130)), *(frame(t, car()) for t in range(180, 200)))
    assert [seconds(d) for d in s.told if d.kind == "still"] == [180.0]


def test_stages_and_stills_went_on_after_the_time_out():
    rule = RULE.replace("min_coverage: 80%}", "min_coverage: 80%, timeout: 10s}")
    s = Stage(rule.replace("max_gap: 20s", "max_gap: 10m").replace("{at: 7m", "{at: 3m"), ZONES)
    s.feed(*(frame(t, car()) for t in range(5)), frame(300, car()), tick(303))
    assert s.table() == [(120.0, "raised", "remind_owner"), (130.0, "cleared", None)]


def test_raised_by_a_match_after_a_gap_it_was_unknown_since_the_middle_of_the_gap():
    s = Stage(RULE.replace("max_gap: 20s", "max_gap: 10m").replace("{at: 7m", "{at: 3m"), ZONES)
    s.feed(*(frame(t, car()) for t in range(5)), frame(300, car()), tick(303))
    assert s.table() == [(120.0, "raised", "remind_owner"), (180.0, "stage", "open_case")]
    s.feed(tick(320))
    assert s.table()[2:] == [(310.0, "unknown", None)]


def test_a_camera_that_fell_silent_was_taken_for_absence_where_the_rule_states_no_share():
    s = Stage(RULE.replace("    close: {absent_for: 60s, min_coverage: 80%}\n", ""), ZONES)
    s.feed(*(frame(t, car()) for t in range(130)), tick(900))
    assert s.table() == [(120.0, "raised", "remind_owner"), (139.0, "unknown", None)]


def test_followed_from_camera_to_camera_it_was_unknown_when_the_first_one_stopped():
    s = Stage(RULE.replace("by: [sensor_id, track_id, zone]", "by: [track_id, zone]"), ZONES)
    s.feed(*(frame(t, car(), sensor="cam-1" if t < 125 else "cam-2") for t in range(200)))
    assert s.table() == [(120.0, "raised", "remind_owner")]
    s.feed(*(frame(t, sensor="cam-2") for t in range(200, 270)))
    assert s.table()[1:] == [(259.0, "cleared", None)]


def test_a_longer_gap_allowed_by_an_override_did_not_count_once_the_shorter_one_had_passed():
    rule = RULE.replace("    detect:\n      dwell: {for: 2m, max_move: 3m, max_gap: 20s", (
        "    params: {gap: 5s}\n    overrides: [{where: confidence > 0.95, set: {gap: 60s}, reason: sure}]\n"
        "    detect:\n      dwell: {for: 2m, max_move: 3m, max_gap: $gap"
    ))  # fmt: skip
    s = Stage(rule, ZONES)
    s.feed(*(frame(t, car()) for t in range(100)), *(frame(t, car(confidence=0.97)) for t in range(120, 130)))
    assert s.table() == [(120.0, "raised", "remind_owner")]
