from __future__ import annotations

import math
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from models.times import HOUR_US, SECOND_US
from rules.traffic.anomalies import AnomalySettings, SensorAnomalies

STEP_US = 300 * SECOND_US
USUAL = [60.0 + 5 * math.sin(row / 7) + row % 3 for row in range(400)]
"""Speeds of a day and a half: between 55 and 67 km/h."""


def alarms(values: Iterable[float], settings: AnomalySettings | None = None) -> list[int]:
    sensor = SensorAnomalies(settings)
    return [row for row, value in enumerate(values) if sensor.add(row * STEP_US, value)]


def test_usual_readings_raise_nothing() -> None:
    assert alarms(USUAL) == []


def test_a_fall_and_a_rise_far_beyond_the_usual_raise_an_alarm_at_once() -> None:
    assert alarms([*USUAL, 15.0]) == [400]
    assert alarms([*USUAL, 110.0]) == [400]


def test_little_was_seen_and_nothing_surprises() -> None:
    settings = AnomalySettings(learn=200)
    assert alarms([*USUAL[:199], 15.0], settings) == []
    assert alarms([*USUAL[:200], 15.0], settings) == [200]


def test_one_event_is_one_alarm_however_long_it_goes_on_and_off() -> None:
    jam = [15.0, 14.0, 60.0, 13.0, 60.0, 16.0]
    assert alarms([*USUAL, *jam]) == [400]


def test_the_same_jam_on_the_next_day_is_an_alarm_again() -> None:
    jam = [15.0] * 20
    day = USUAL[:268]
    assert alarms([*USUAL, *jam, *day, *jam]) == [400, 400 + 20 + 268]


def test_what_lasts_is_learned() -> None:
    settings = AnomalySettings(accept_us=3 * HOUR_US, quiet_us=0)
    lasting = [15.0 + row % 3 for row in range(400)]
    assert alarms([*USUAL, *lasting], settings)[-1] < 400 + 100


def test_no_reading_is_no_anomaly() -> None:
    assert alarms([*USUAL, math.nan, math.inf, -math.inf]) == []


@given(st.lists(st.floats(0, 120), max_size=40), st.lists(st.floats(0, 120), max_size=40))
def test_later_readings_change_no_earlier_alarm(now: list[float], later: list[float]) -> None:
    settings = AnomalySettings(learn=20)
    begun = [*USUAL[:40], *now]
    assert [row for row in alarms([*begun, *later], settings) if row < len(begun)] == alarms(begun, settings)


@given(st.floats(0.01, 100), st.integers(-1000, 1000))
def test_the_unit_does_not_matter(factor: float, shift: int) -> None:
    values = [*USUAL, 15.0, *USUAL[:100], 90.0]
    assert alarms(values) == alarms(shift + factor * value for value in values)
