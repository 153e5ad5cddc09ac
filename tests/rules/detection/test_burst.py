"""An event that goes on: one burst is one condition."""

from __future__ import annotations

from models.times import SECOND_US
from rules.language.model import Close, Event
from tests.rules.detection.made import expression, played, rule, staged, stills
from tests.rules.detection.stage import Stage, event

TOPIC = "camera.events"


def burst(*seconds: float, close: Close | None = None, detect: Event | None = None) -> Stage:
    made = rule(TOPIC, detect or Event(1, 60 * SECOND_US), close=close)
    s = staged(made)
    s.feed(*(event(t, "fire") for t in seconds))
    return s


def test_it_is_raised_at_the_first_and_goes_on_while_matches_are_near_each_other() -> None:
    s = burst(1, 40, 100, 161)
    assert played(s, TOPIC, 400) == [(1.0, "raised", None), (161.0, "raised", None)]
    assert stills(s) == [61.0, 121.0]


def test_a_gap_of_exactly_within_goes_on() -> None:
    assert played(burst(1, 61), TOPIC, 400) == [(1.0, "raised", None)]
    assert played(burst(1, 61.001), TOPIC, 400) == [(1.0, "raised", None), (61.001, "raised", None)]


def test_the_same_event_twice_is_one() -> None:
    s = burst(1, 1)
    assert played(s, TOPIC, 400) == [(1.0, "raised", None)]
    assert s.bins["duplicate"] == 1


def test_a_row_closes_it_and_the_next_match_is_another() -> None:
    close = Close(when=expression(TOPIC, 'label == "out"'))
    s = staged(rule(TOPIC, Event(), 'label == "fire"', close=close))
    s.feed(event(1, "fire"), event(50, "fire"), event(99, "out"), event(120, "fire"))
    assert played(s, TOPIC, 400) == [(1.0, "raised", None), (99.0, "cleared", None), (120.0, "raised", None)]


def test_what_closes_must_hold_where_a_time_is_given() -> None:
    close = Close(when=expression(TOPIC, 'label == "out"'), for_us=10 * SECOND_US)
    s = staged(rule(TOPIC, Event(), 'label == "fire"', close=close))
    s.feed(event(1, "fire"), event(20, "out"), event(25, "smoke"), event(31, "out"), event(41, "out"))
    assert played(s, TOPIC, 400) == [(1.0, "raised", None), (41.0, "cleared", None)]


def test_one_that_a_row_closes_ends_by_its_time_out_too() -> None:
    close = Close(when=expression(TOPIC, 'label == "out"'), timeout_us=90 * SECOND_US)
    s = staged(rule(TOPIC, Event(), 'label == "fire"', close=close))
    s.feed(event(1, "fire"))
    assert played(s, TOPIC, 400) == [(1.0, "raised", None), (91.0, "cleared", None)]
