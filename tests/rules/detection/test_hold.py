"""`hold` as time tables: a gauge every 10 s."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import orjson

from models.times import parse_time_us
from tests.rules.detection.stage import START_US, Sent, Stage, at_ms, reading, tick

RULE = """
version: 1
rules:
  - id: ponding
    revision: 1
    name: {zh: 积水, en: Ponding}
    owner: {department: municipal-works, contact: desk}
    status: active
    type: {code: "0406", severity: major}
    from: [sensor.readings]
    where: metric == "water_level"
    by: [device_id]
    detect:
      hold: {value: value, open_when: value >= 15cm, close_when: value < 8cm, for: 60s, close_for: 2m}
    message: {zh: "{place} 积水 {value|round} 厘米", en: "Ponding at {place}, {value|round} cm"}
"""


def told(values: Sequence[float | None], metric: str = "water_level") -> list[tuple[float, str, str | None]]:
    s = Stage(RULE)
    s.feed(*(reading(10 * n, value, metric) for n, value in enumerate(values) if value is not None))
    s.feed(tick(10 * len(values) + 5, "sensor.readings"))
    return s.table()


def test_raised_when_it_held_and_cleared_when_the_other_level_held():
    assert told([5, 15, 16, 17, 18, 19, 20, 21, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]) == [
        (70.0, "raised", None),
        (200.0, "cleared", None),
    ]


def test_a_dip_before_it_held_begins_anew():
    assert told([15, 15, 15, 15, 15, 15, 14, 15, 15, 15, 15, 15, 15, 15]) == [(130.0, "raised", None)]


def test_between_the_levels_nothing_changes_once_open():
    assert told([20] * 8 + [9] * 100) == [(60.0, "raised", None)]


def test_a_rise_while_closing_begins_the_closing_anew():
    assert told([20] * 8 + [5] * 10 + [9] + [5] * 13) == [(60.0, "raised", None), (310.0, "cleared", None)]


def test_another_metric_and_a_null_say_nothing():
    assert told([20] * 20, metric="rain") == []


def test_silence_is_unknown_not_cleared():
    s = Stage(RULE)
    s.feed(*(reading(10 * n, 20) for n in range(10)), *(tick(t, "sensor.readings") for t in range(100, 4000, 10)))
    assert s.table() == [(60.0, "raised", None), (90.0 + 15 * 60, "unknown", None)]


def test_the_value_and_its_unit_are_told():
    s = Stage(RULE)
    s.feed(*(reading(10 * n, 20 + n) for n in range(10)), tick(200, "sensor.readings"))
    assert s.told[0].value == 26.0
    assert s.told[0].attributes["value"] == 26.0


def test_a_stage_due_after_it_had_cleared_was_told():
    s = Stage(
        RULE.replace("    message:", "    stages: [{at: 60s, do: second_look}, {at: 4m, do: open_case}]\n    message:")
    )
    s.feed(*(reading(10 * n, 20) for n in range(8)), reading(80, 5), reading(300, 5), tick(310, "sensor.readings"))
    assert s.table() == [(60.0, "raised", "second_look"), (200.0, "cleared", None)]


def test_the_reading_that_clears_it_after_a_silence_was_told_as_still_there():
    s = Stage(RULE)
    s.feed(*(reading(10 * n, 20) for n in range(8)), reading(80, 5), reading(1200, 5), tick(1210, "sensor.readings"))
    assert s.table() == [(60.0, "raised", None), (980.0, "unknown", None), (200.0, "cleared", None)]
    assert [d.kind for d in s.told] == ["raised", "unknown", "cleared"]


def test_a_measurement_without_the_value_that_is_held_says_nothing():
    rule = RULE.split("    from:")[0] + (
        "    from: [traffic.measurements]\n    by: [segment_id]\n    detect:\n"
        "      hold: {value: speed_kmh, open_when: value < 10kmh, close_when: value > 30kmh, for: 2m}\n"
        '    message: {zh: "堵", en: "jam"}\n'
    )
    s = Stage(rule)
    for minute, said in enumerate([{"speed_kmh": 5}, {"flow_vph": 600}, {"speed_kmh": 6}]):
        body = {"segment_id": "x", "source": "loop", "end_time": at_ms(60 * minute), **said}
        s.feed(Sent("traffic.measurements", 60 * minute + 1, orjson.dumps(body)))
    s.feed(tick(130, "traffic.measurements"))
    assert s.table() == [(120.0, "raised", None)]


def test_a_hold_that_keeps_through_silence_does_not_say_it_is_still_there():
    s = Stage(RULE.replace("    message:", "    no_data: hold\n    message:"))
    s.feed(*(reading(10 * n, 20) for n in range(10)), *(tick(t, "sensor.readings") for t in range(100, 4000, 10)))
    assert s.table() == [(60.0, "raised", None)]
    stills = [(parse_time_us(d.event_time) - START_US) / 1e6 for d in s.told if d.kind == "still"]
    assert stills[-1] < 90 + 15 * 60


def test_a_silence_before_it_held_begins_anew():
    s = Stage(RULE)
    s.feed(reading(0, 20), *(reading(1200 + 10 * n, 20) for n in range(7)), tick(1270, "sensor.readings"))
    assert s.table() == [(1260.0, "raised", None)]


DAY_S = 86_400


def after_silence(silence_s: int, value: float) -> Stage:
    """Above the level, then nothing for so long, then two readings of `value` a minute apart."""
    s = Stage(RULE)
    s.feed(*(reading(10 * n, 20) for n in range(10)))
    s.advance(90 + silence_s)
    s.feed(reading(90 + silence_s, value), reading(150 + silence_s, value))
    s.advance(200 + silence_s)
    return s


def story(s: Stage) -> list[str]:
    return [kind for kind, _ in groupby(d.kind for d in s.told)]


def test_what_is_seen_again_within_a_day_goes_on():
    s = after_silence(DAY_S - 60, 20)
    assert story(s) == ["raised", "still", "unknown", "still"]
    assert len({d.detection_id for d in s.told}) == 1


def test_what_is_seen_after_a_day_of_silence_is_raised_anew_and_the_old_one_never_cleared():
    s = after_silence(DAY_S, 20)
    assert s.table() == [(60.0, "raised", None), (90.0 + 15 * 60, "unknown", None), (DAY_S + 150.0, "raised", None)]
    assert s.told[0].detection_id != s.told[-1].detection_id


def test_a_closing_level_after_a_day_of_silence_still_closes_the_old_one():
    s = after_silence(DAY_S, 5)
    s.feed(*(reading(DAY_S + 210 + 60 * n, 5) for n in range(3)), tick(DAY_S + 400, "sensor.readings"))
    assert story(s) == ["raised", "still", "unknown", "still", "cleared"]
    assert len({d.detection_id for d in s.told}) == 1


def test_a_source_that_has_gone_for_good_takes_no_more_looks():
    s = Stage(RULE)
    s.feed(*(reading(10 * n, 20) for n in range(10)))
    s.advance(2000)
    assert s.detector.next_us() is None
