"""What a lane keeps, restores and forgets; and clock records among the others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson
import pytest

from rules.detection.detector import StateMismatch
from rules.detection.quiet import HELD_BYTES
from tests.rules.detection import test_dwell, test_event, test_hold
from tests.rules.detection.stage import (
    START_US,
    Fed,
    Sent,
    Stage,
    at_ms,
    car,
    event,
    frame,
    plain,
    reading,
    seconds,
    square,
    tick,
)

PARKED = test_dwell.RULE
ZONES = test_dwell.ZONES
OVERRIDES = """
    overrides:
      - {where: confidence > 0.99, severity: moderate, reason: never}
      - {where: confidence > 0.95, severity: critical, reason: sure}
"""


def with_overrides(rule: str, overrides: str) -> str:
    return rule.replace("    stages:", overrides.strip("\n") + "\n    stages:")


def restored(rules: str, before: Stage, zones: Sequence[object] = ZONES) -> Stage:
    """Another worker, with other rules, goes on from the snapshot."""
    after = Stage(rules, zones)
    after.offset = before.offset
    after.detector.restore(before.detector.snapshot())
    return after


# snapshots and rules that changed


def test_an_override_that_was_removed_left_conditions_without_their_variant():
    s = Stage(with_overrides(PARKED, OVERRIDES), ZONES)
    s.feed(*(frame(t, car(confidence=0.97)) for t in range(130)))
    after = restored(PARKED, s)
    after.feed(*(frame(t) for t in range(130, 200)))
    assert [(d.kind, d.severity) for d in after.told] == [("still", "minor"), ("cleared", "minor")]


def test_an_override_that_was_added_took_conditions_of_the_base():
    s = Stage(PARKED, ZONES)
    s.feed(*(frame(t, car()) for t in range(130)))
    after = restored(with_overrides(PARKED, OVERRIDES), s)
    after.feed(*(frame(t) for t in range(130, 200)))
    assert [(d.kind, d.severity) for d in after.told] == [("still", "minor"), ("cleared", "minor")]


def test_a_match_that_waited_under_a_removed_override_is_decided_as_the_base():
    s = Stage(with_overrides(PARKED, OVERRIDES), ZONES)
    s.feed(*(frame(t, car()) for t in range(119)), *(frame(t, car(confidence=0.97)) for t in (119, 120)))
    after = restored(PARKED, s)
    after.feed(tick(130))
    assert [(d.kind, d.severity) for d in after.told] == [("raised", "minor")]


def test_a_rule_that_is_gone_or_has_another_shape_leaves_its_conditions_behind():
    for rule in (PARKED.replace("id: parked", "id: other"), PARKED.replace("speed_mps < 0.5", "speed_mps < 0.6")):
        s = Stage(PARKED, ZONES)
        s.feed(*(frame(t, car()) for t in range(130)))
        after = restored(rule, s)
        after.feed(*(frame(t) for t in range(130, 200)))
        assert after.told == []
        after.feed(*(frame(t, car()) for t in range(200, 330)))
        assert [d.kind for d in after.told] == ["raised"]


def test_the_watermark_of_before_stands_after_a_restore():
    s = Stage(PARKED, ZONES)
    s.feed(frame(100, car()))
    after = restored(PARKED, s, ZONES)
    assert after.detector.watermark_us("camera.tracks") == START_US + 98_000_000
    after.feed(frame(97, car(), delay=4))
    assert after.bins["late"] == 1


def test_what_comes_at_once_among_rules_that_wait_is_told_at_once_and_once_over_a_restart():
    rules = test_event.SOS + test_hold.RULE[test_hold.RULE.index("  - id: ponding") :]
    s = Stage(rules)
    s.feed(*(reading(t, 20) for t in range(100)), reading(99.5, True, "sos"))
    assert [(seconds(d), d.kind) for d in s.told] == [(99.5, "raised"), (60.0, "raised"), (90.0, "still")]
    after = restored(rules, s, ())
    after.feed(reading(99.5, True, "sos"), tick(130, "sensor.readings"))
    assert after.bins["duplicate"] == 1
    assert [(seconds(d), d.kind) for d in after.told] == [(120.0, "still")]


# order and batches


def several(second: float, *readings: tuple[float, float], delay: float = 0.2) -> Sent:
    """(second, level) in one record."""
    said = [{"metric": "water_level", "value": value, "reading_time": at_ms(at)} for at, value in readings]
    body = {"device_id": "w-1", "readings": said, "lon": 121.02, "lat": 30.7}
    return Sent("sensor.readings", second + delay, orjson.dumps(body))


def test_a_reading_too_old_within_a_record_that_is_not_vouched_for_time_already_decided():
    devices = [
        {
            "type": "Feature",
            "id": "w-1",
            "properties": {"kind": "gauge", "area": "danghu", "expected_every_s": 10},
            "geometry": {"type": "Point", "coordinates": [121.02, 30.7]},
        }
    ]
    sent = [*(reading(10 * n, 20) for n in range(10)), tick(200, "sensor.readings"),
            several(210, (125, 20), (205, 20)), tick(260, "sensor.readings")]  # fmt: skip
    single, batched = Stage(test_hold.RULE, (), devices), Stage(test_hold.RULE, (), devices)
    for one in sent:
        single.feed(one)
    batched.feed(*sent)
    assert plain(single.told) == plain(batched.told)
    assert [(seconds(d), d.kind, d.coverage) for d in single.told[-3:]] == [
        (205.0, "still", 0.585),
        (210.0, "still", 0.595),
        (235.0, "unknown", 0.638),
    ]


def test_two_lanes_of_one_segment_at_the_same_time_count_in_any_order():
    rule = PARKED.split("    from:")[0] + (
        "    from: [traffic.measurements]\n    by: [segment_id]\n    detect:\n"
        "      hold: {value: speed_kmh, open_when: value < 10kmh, close_when: value > 30kmh}\n"
        '    message: {zh: "堵", en: "jam"}\n'
    )

    def lane(number: int, speed: float) -> Sent:
        said = {"segment_id": "x", "source": "loop", "lane": number, "end_time": at_ms(60), "speed_kmh": speed}
        return Sent("traffic.measurements", 60 + number / 10, orjson.dumps(said))

    found = []
    for lanes in ([(1, 5.0), (2, 50.0)], [(2, 50.0), (1, 5.0)]):
        s = Stage(rule)
        s.feed(*(lane(*one) for one in lanes), tick(70, "traffic.measurements"))
        found.append(plain(s.told))
    assert found[0] == found[1]
    assert len(found[0]) in (1, 2)


def test_clock_records_count_where_they_stand_in_a_batch():
    s = Stage(PARKED, ZONES)
    s.feed(frame(10, car()), tick(20), frame(15, car(), delay=6), frame(19, car()), tick(30))
    assert s.bins["late"] == 1
    assert s.bins["used"] == 2


@pytest.mark.parametrize("stamp", [b"soon", b"", b"-5", b"9999999999999999", b"9" * 5000])
def test_a_badly_stamped_clock_record_stopped_the_worker(stamp: bytes):
    s = Stage(PARKED, ZONES)
    outcome = s.detector.feed("camera.tracks", [Fed(0, at_ms(2), b"danghu", None, (("zhinao_tick", stamp),))])
    assert [f.reason for f in outcome.dead] == ["tombstone"]


def test_a_source_unseen_for_a_day_was_forgotten_though_its_condition_was_open():
    sent = [*(frame(t, car()) for t in range(130)), tick(90_000), *(frame(t) for t in range(90_000, 90_060))]
    single, batched = Stage(PARKED, ZONES), Stage(PARKED, ZONES)
    for one in sent:
        single.feed(one)
    batched.feed(*sent)
    assert single.table()[-1] == (90_038.0, "cleared", None)
    assert plain(single.told) == plain(batched.told)


def test_text_keys_may_hold_any_printable_character():
    names = ["17", "1|7", "甲,乙", 'a"b', "'", "\\n", "x" * 128, "é", "e\u0301"]
    s = Stage(PARKED, ZONES)
    for t in range(125):
        s.feed(frame(t, *(car(name) for name in names)))
    assert [d.key["track_id"] for d in s.told] == sorted(names)
    assert len({d.detection_id for d in s.told}) == len(names)
    again = restored(PARKED, s)
    again.feed(*(frame(t) for t in range(125, 200)))
    assert {d.detection_id for d in again.told} == {d.detection_id for d in s.told}


# memory


def test_what_passes_by_is_forgotten():
    s = Stage(PARKED + test_event.FIRE[test_event.FIRE.index("  - id: r") :], ZONES)
    for t in range(0, 4000, 5):
        s.feed(frame(t, *(car(f"{t}-{n}") for n in range(5))), event(t, "fire"))
    tracks, events = (s.detector.lanes[topic] for topic in ("camera.tracks", "camera.events"))
    assert sum(len(watch.open) for watch in tracks.watches) <= 5 * 6
    assert len(tracks.timers) <= 5 * 6
    assert len(tracks.waiting) <= 5
    assert len(tracks.seen) <= 60
    assert len(tracks.batches) <= 6
    assert sum(len(watch.open) for watch in events.watches) <= 1
    assert len(events.timers) <= 4


def test_large_batches_were_kept_by_the_hundred_for_one_open_condition():
    s = Stage(PARKED, ZONES)
    for t in range(400):
        s.feed(frame(t, car(), *(car(f"{t}-{n}", speed=9.0) for n in range(100))))
    assert {d.kind for d in s.told} == {"raised", "still"}
    kept = [batch.nbytes for batch in s.detector.lanes["camera.tracks"].batches.values()]
    assert max(kept) > 10_000
    assert sum(kept) <= HELD_BYTES + max(kept)


def test_a_condition_seen_every_second_for_an_hour_has_few_timers():
    s = Stage(PARKED, ZONES)
    s.feed(*(frame(t, car()) for t in range(3600)))
    lane = s.detector.lanes["camera.tracks"]
    assert len(lane.timers) <= 3
    assert len(lane.coverage.spans(0)[0]) == 1


def test_a_condition_lost_and_found_many_times_has_few_timers_too():
    s = Stage(PARKED, ZONES)
    s.feed(*(frame(t, car()) for t in range(130)))
    for t in range(130, 4000, 20):
        s.feed(*(frame(t + n, car()) for n in range(3)))
    assert sum(d.kind == "unknown" for d in s.told) > 100
    assert len(s.detector.lanes["camera.tracks"].timers) <= 3


def test_a_jump_of_the_clock_looked_at_every_half_minute_of_it():
    s = Stage(PARKED, ZONES)
    s.feed(*(frame(t, car()) for t in range(130)))
    lane, looks = s.detector.lanes["camera.tracks"], list[int]()
    awake = lane.watches[0].awake
    lane.watches[0].awake = lambda condition, now_us: (looks.append(now_us), awake(condition, now_us))[1]  # type: ignore[method-assign,func-returns-value]
    s.advance(10 * 365 * 86_400)
    assert s.table() == [(120.0, "raised", "remind_owner"), (139.0, "unknown", None)]
    assert len(looks) < 10


def test_one_id_for_each_opening_even_after_a_time_out():
    rule = PARKED.replace("min_coverage: 80%}", "min_coverage: 80%, timeout: 1m}")
    s = Stage(rule, ZONES)
    s.feed(*(frame(t, car()) for t in range(600)))
    raised = [d.detection_id for d in s.told if d.kind == "raised"]
    assert len(raised) == len(set(raised)) == 3


def test_a_zone_that_overlaps_another_makes_two_conditions_of_one_track():
    s = Stage(PARKED, [*ZONES, square("b", east_m=10)])
    s.feed(*(frame(t, car(east_m=5)) for t in range(125)), *(frame(t, car(east_m=29)) for t in range(125, 200)))
    told = {(d.kind, d.zone, d.detection_id) for d in s.told if d.kind != "still"}
    assert len(told) == 4
    assert len({identity for _, _, identity in told}) == 2


def test_hours_of_silence_then_go_on():
    s = Stage(PARKED, ZONES)
    s.feed(*(frame(t, car()) for t in range(130)))
    for hour in range(1, 8):
        s.advance(3600 * hour)
    s.feed(*(frame(t, car()) for t in range(25_300, 25_310)))
    assert s.table() == [(120.0, "raised", "remind_owner"), (139.0, "unknown", None), (420.0, "stage", "open_case")]
    assert s.told[-2].kind == "still"


def test_a_snapshot_of_another_version_is_refused_whatever_its_shape():
    s = Stage(PARKED, ZONES)
    with pytest.raises(StateMismatch, match="snapshot version 1, this is 5"):
        s.detector.restore(msgspec.msgpack.encode({"version": 1, "lanes": {"camera.tracks": ["another", "shape"]}}))
