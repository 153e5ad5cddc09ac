"""`sequence` at the Detector: which rows are which step, and what is told."""

from __future__ import annotations

from typing import Any

from models.times import SECOND_US
from rules.language.model import InSequence, Step
from tests.rules.detection.made import Row, expression, played, rule, staged
from tests.rules.detection.stage import Stage, event

TOPIC = "camera.events"


def steps(text: str, within_s: float = 60, **more: Any) -> Stage:
    """`smoke !clear fire:5`: labels, `!` must not come, `:` held so long."""
    made = []
    for word in text.split():
        label, _, for_s = word.lstrip("!").partition(":")
        where = expression(TOPIC, f'label == "{label}"')
        made.append(Step(label, where, word.startswith("!"), round(float(for_s or 0) * SECOND_US)))
    return staged(rule(TOPIC, InSequence(tuple(made), round(within_s * SECOND_US)), **more))


def told(stage: Stage, table: str, until_s: float = 200) -> list[Row]:
    words = [word.partition("@") for word in table.split()]
    stage.feed(*(event(float(at), label) for label, _, at in words))
    return played(stage, TOPIC, until_s)


def test_steps_in_order_are_raised_at_the_last_and_never_clear() -> None:
    s = steps("smoke fire")
    assert told(s, "smoke@1 other@2 fire@3") == [(3.0, "raised", None)]
    assert (s.told[0].held_s, [e.offset for e in s.told[0].evidence]) == (2.0, [0, 2])


def test_order_is_that_of_event_time_not_of_arrival() -> None:
    s = steps("smoke fire")
    s.feed(event(3, "fire"), event(1.5, "smoke", delay=2.5))
    assert played(s, TOPIC, 100) == [(3.0, "raised", None)]


def test_a_step_that_must_not_come_breaks_it() -> None:
    assert told(steps("smoke !clear fire"), "smoke@1 clear@2 fire@3") == []
    assert told(steps("smoke !clear fire"), "smoke@1 fire@3 clear@4") == [(3.0, "raised", None)]


def test_a_negated_last_step_is_decided_by_the_clock() -> None:
    s = steps("smoke !clear")
    s.feed(event(1, "smoke"))
    s.advance(62.9)
    assert s.table() == []
    s.advance(63)
    assert s.table() == [(61.0, "raised", None)]


def test_the_filter_of_the_rule_holds_for_every_step() -> None:
    assert told(steps("smoke fire", where="confidence >= 0.99"), "smoke@1 fire@2") == []


def test_each_key_has_its_own() -> None:
    s = steps("smoke fire")
    s.feed(event(1, "smoke", sensor="cam-1"), event(2, "fire", sensor="cam-2"))
    assert played(s, TOPIC, 100) == []


def test_it_goes_on_after_a_restart() -> None:
    s = steps("smoke !clear")
    s.feed(event(1, "smoke"), event(5, "other"))
    blob = s.detector.snapshot()
    s.detector = s.new()
    s.detector.restore(blob)
    assert told(s, "other@6") == [(61.0, "raised", None)]


def test_what_nothing_can_come_of_is_forgotten() -> None:
    s = steps("smoke fire")
    told(s, "fire@1 smoke@2 fire@3", 500)
    assert [watch.open for watch in s.detector.lanes[TOPIC].watches] == [{}]
