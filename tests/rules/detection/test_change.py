"""`change` as time tables: a thermometer every 10 s."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from models.times import SECOND_US
from rules.language.model import Change
from tests.rules.detection.made import Row, played, rule, staged
from tests.rules.detection.stage import Stage, reading

TOPIC = "sensor.readings"


def changed(at_least: float = 15, over_s: float = 60, relative: bool = False, direction: str = "up") -> Stage:
    detect = Change("value", round(over_s * SECOND_US), at_least, relative, direction)  # type: ignore[arg-type]
    return staged(rule(TOPIC, detect, 'metric == "temperature"'))


def told(stage: Stage, values: Sequence[object]) -> list[Row]:
    stage.feed(*(reading(10 * n, v, "temperature") for n, v in enumerate(values) if v is not None))
    return played(stage, TOPIC, 10 * len(values))


def test_it_is_raised_at_the_reading_that_shows_it_and_cleared_after_its_span_without() -> None:
    s = changed()
    assert told(s, [20, 20, 25, 30, 35, *[35] * 12]) == [(40.0, "raised", None), (130.0, "cleared", None)]
    assert (s.told[0].value, s.told[0].held_s) == (35.0, 30.0)


@pytest.mark.parametrize(
    ("direction", "values", "expected"),
    [
        ("up", [40, 20], []),
        ("down", [40, 20], [10.0]),
        ("either", [40, 20], [10.0]),
        ("down", [20, 40], []),
        ("either", [20, 40], [10.0]),
        ("up", [20, 34.9], []),
        ("up", [20, 35], [10.0]),
        ("up", [30, 20, 36], [20.0]),
        ("up", [20, None, None, None, None, None, 35], [60.0]),
        ("up", [20, None, None, None, None, None, None, 35], []),
        ("up", [20, "hot", True, 35], [30.0]),
        ("up", [20, 0, 21], []),
        ("up", [0, 5, 15], [20.0]),
        ("down", [20, 0, 21], [10.0]),
    ],
    ids=lambda v: "_".join(map(str, v)) if isinstance(v, list) else None,
)
def test_what_a_change_is(direction: str, values: list[object], expected: list[float]) -> None:
    assert [at for at, kind, _ in told(changed(direction=direction), values) if kind == "raised"] == expected


def test_a_relative_change_is_of_its_own_size_and_nothing_is_of_zero() -> None:
    assert told(changed(0.5, relative=True), [10, 15])[0] == (10.0, "raised", None)
    assert told(changed(0.5, relative=True), [10, 14.9]) == []
    assert told(changed(0.5, relative=True), [0, 100]) == []
    assert told(changed(0.5, relative=True, direction="down"), [-10, -15])[0] == (10.0, "raised", None)


def test_a_further_change_goes_on_with_it() -> None:
    assert told(changed(), [20, 35, 35, 50, *[50] * 15]) == [(10.0, "raised", None), (140.0, "cleared", None)]


def test_a_silent_sensor_is_unknown_not_cleared() -> None:
    s = changed()
    s.feed(reading(0, 20, "temperature"), reading(10, 40, "temperature"))
    assert played(s, TOPIC, 5000) == [(10.0, "raised", None), (910.0, "unknown", None)]


@pytest.mark.parametrize("seed", range(8))
def test_it_tells_what_comparing_all_pairs_tells(seed: int) -> None:
    rng = Random(seed)
    values = [rng.choice([1, 5, 9, 14, 20]) for _ in range(60)]
    direction, least = rng.choice(["up", "down", "either"]), rng.choice([5, 9, 15])
    shown = []
    for n, now in enumerate(values):
        before = values[max(0, n - 3) : n]
        up, down = any(now - v >= least for v in before), any(v - now >= least for v in before)
        shown.append(up if direction == "up" else down if direction == "down" else up or down)
    table: list[Row] = []
    last: int | None = None
    for n, now_shown in enumerate(shown):
        if now_shown and last is None:
            table.append((10.0 * n, "raised", None))
        if now_shown:
            last = n
        elif last is not None and n - last >= 3:
            table.append((10.0 * (last + 3), "cleared", None))
            last = None
    assert told(changed(least, 30, direction=direction), values) == table
