"""`event`, single and repeated, as time tables."""

from __future__ import annotations

from tests.rules.detection.stage import Stage, event, reading, tick

HEAD = """
version: 1
rules:
  - id: r
    revision: 1
    name: {zh: 火情, en: Fire}
    owner: {department: fire-119, contact: desk}
    status: active
    type: {code: "X2104", severity: critical, life_safety: true}
"""
FIRE = (
    HEAD
    + """
    from: [camera.events]
    where: label == "fire" and confidence >= 0.92
    by: [sensor_id]
    detect:
      event: {repeat: {times: 3, within: 10s}}
    message: {zh: "{place} 火情", en: "Fire at {place}"}
"""
)
SOS = (
    HEAD
    + """
    from: [sensor.readings]
    where: metric == "sos" and value == true
    by: [device_id]
    detect:
      event: {}
    message: {zh: "求助", en: "SOS"}
"""
)


def fire(*seconds: float) -> list[tuple[float, str, str | None]]:
    s = Stage(FIRE)
    s.feed(*(event(t, "fire") for t in seconds), tick(max(seconds) + 60, "camera.events"))
    return s.table()


def test_three_within_ten_seconds_are_raised_at_the_third():
    assert fire(1, 5, 11) == [(11.0, "raised", None)]


def test_three_in_more_than_ten_seconds_are_not():
    assert fire(1, 5, 11.5) == []


def test_more_of_the_same_burst_stay_one_and_a_later_burst_is_another():
    assert fire(1, 2, 3, 4, 13, 22, 50, 51, 52) == [(3.0, "raised", None), (52.0, "raised", None)]


def test_a_weaker_one_does_not_count():
    s = Stage(FIRE)
    s.feed(event(1, "fire"), event(2, "fire", 0.9), event(3, "fire"), tick(60, "camera.events"))
    assert s.table() == []


def test_a_single_event_is_told_at_once_before_the_watermark():
    s = Stage(SOS)
    assert [d.kind for d in s.feed(reading(1, True, "sos"))] == ["raised"]


def test_a_single_event_is_told_even_when_it_comes_late():
    s = Stage(SOS)
    s.feed(reading(100, False, "sos"), reading(1, True, "sos", delay=99.5))
    assert s.table() == [(1.0, "raised", None)]
    assert s.bins["late"] == 0
    assert s.bins["used"] == 1


def test_the_same_press_sent_twice_is_one():
    s = Stage(SOS)
    s.feed(reading(1, True, "sos"), reading(1, True, "sos"))
    assert len(s.told) == 1
    assert s.bins["duplicate"] == 1
