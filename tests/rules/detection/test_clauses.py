"""Clauses that every primitive shares, as time tables: `flap`, `close.when`, parts and suspects."""

from __future__ import annotations

from models.times import SECOND_US
from rules.language.model import Close, Dwell, Flap, Hold
from tests.rules.detection.made import Row, expression, played, rule, staged, stills
from tests.rules.detection.stage import Stage, car, frame, reading

TOPIC = "sensor.readings"
LEVELS = Hold("value", expression(TOPIC, "value >= 15"), expression(TOPIC, "value < 8"), 0, 0)


def flapping(values: list[float], max_changes: int = 2, within_s: float = 60) -> Stage:
    s = staged(rule(TOPIC, LEVELS, flap=Flap(max_changes, round(within_s * SECOND_US))))
    s.feed(*(reading(10 * n, value) for n, value in enumerate(values)))
    return s


def table(stage: Stage, until_s: float = 600) -> list[Row]:
    return played(stage, TOPIC, until_s)


def test_what_is_raised_too_often_is_held_open_until_it_has_been_quiet() -> None:
    s = flapping([20, 5, 20, 5, 5, 5, 5, 5, 5, 5, 5])
    assert table(s) == [(0.0, "raised", None), (10.0, "cleared", None), (20.0, "raised", None), (90.0, "cleared", None)]
    assert stills(s) == [50.0, 80.0]


def test_while_it_is_held_open_a_further_raise_goes_on_with_it() -> None:
    s = flapping([20, 5, 20, 5, 20, 5, 20, 5])
    assert table(s) == [
        (0.0, "raised", None),
        (10.0, "cleared", None),
        (20.0, "raised", None),
        (130.0, "cleared", None),
    ]
    assert {d.detection_id for d in s.told[2:]} == {s.told[2].detection_id}


def test_what_is_raised_seldom_clears_as_ever() -> None:
    s = flapping([20, 5, 5, 5, 5, 5, 5, 20, 5])
    assert [kind for _, kind, _ in table(s)] == ["raised", "cleared", "raised", "cleared"]


def test_what_is_held_open_survives_a_restart() -> None:
    s = flapping([20, 5, 20, 5])
    played(s, TOPIC, 50)
    blob = s.detector.snapshot()
    s.detector = s.new()
    s.detector.restore(blob)
    assert table(s)[-1] == (90.0, "cleared", None)
    assert [watch.open for watch in s.detector.lanes[TOPIC].watches] == [{}]


def test_a_dwell_that_flaps_is_held_open_too() -> None:
    detect = Dwell(5 * SECOND_US, 3, 4 * SECOND_US, 2)
    close = Close(absent_for_us=5 * SECOND_US)
    s = staged(rule("camera.tracks", detect, flap=Flap(2, 60 * SECOND_US), close=close))
    seen = [*range(6), *range(20, 26)]
    s.feed(*(frame(t, *([car()] if t in seen else [])) for t in range(100)))
    assert played(s, "camera.tracks", 100) == [
        (5.0, "raised", None),
        (10.0, "cleared", None),
        (25.0, "raised", None),
        (90.0, "cleared", None),
    ]


def test_a_row_closes_a_dwell_and_a_time_makes_it_hold() -> None:
    detect = Dwell(5 * SECOND_US, 30, 4 * SECOND_US, 2)
    where, gone = "speed_mps < 0.5", expression("camera.tracks", "speed_mps > 3")
    close = Close(when=gone, for_us=2 * SECOND_US, absent_for_us=500 * SECOND_US)
    s = staged(rule("camera.tracks", detect, where, close=close))
    speeds = [0, 0, 0, 0, 0, 0, 0, 5, 5, 1, 5, 5, 5, 5, 1, 0]
    s.feed(*(frame(t, car(speed=speed)) for t, speed in enumerate(speeds)))
    assert played(s, "camera.tracks", 18) == [(5.0, "raised", None), (12.0, "cleared", None)]


def test_a_part_of_a_rule_says_which_it_is_and_that_it_only_suspects() -> None:
    s = staged(rule(TOPIC, LEVELS, part="gauge", suspects=True))
    s.feed(reading(1, 20))
    assert played(s, TOPIC, 20) == [(1.0, "raised", None)]
    assert [(d.part, d.suspected) for d in s.told] == [("gauge", True)]
