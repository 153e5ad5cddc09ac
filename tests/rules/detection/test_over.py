"""`hold` over a window, as time tables; and held against sums made by looking at every row."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from statistics import mean, median

import numpy as np
import pytest

from models.times import SECOND_US
from rules.detection.aggregate import aggregate
from rules.language.model import Aggregate, Hold
from tests.rules.detection.made import Row, expression, played, rule, staged
from tests.rules.detection.stage import START_US, Stage, reading

TOPIC = "sensor.readings"


def window(fn: str = "mean", window_s: float = 60, slide_s: float = 10, min_samples: int = 1) -> Aggregate:
    return Aggregate(fn, round(window_s * SECOND_US), round(slide_s * SECOND_US), min_samples)  # type: ignore[arg-type]


def held(over: Aggregate, for_s: float = 0, close_for_s: float = 0, opens: float = 15, closes: float = 8) -> Stage:
    detect = Hold(
        "value", expression(TOPIC, f"value >= {opens}"), expression(TOPIC, f"value < {closes}"),
        round(for_s * SECOND_US), round(close_for_s * SECOND_US), over,
    )  # fmt: skip
    return staged(rule(TOPIC, detect, 'metric == "water_level"'))


def test_the_start_of_the_tables_is_a_look() -> None:
    assert START_US % (60 * SECOND_US) == 0


def test_it_opens_at_the_look_that_finds_the_level() -> None:
    s = held(window())
    s.feed(reading(1, 10), reading(11, 20), reading(12, 30), *(reading(t, 1) for t in range(31, 80, 10)))
    assert played(s, TOPIC, 100) == [(20.0, "raised", None), (80.0, "cleared", None)]
    assert [d.value for d in s.told if d.kind == "raised"] == [20.0]


def test_a_row_at_the_look_counts_and_one_a_window_ago_does_not() -> None:
    s = held(window("sum", 10))
    s.feed(reading(10, 8), reading(20, 8))
    assert played(s, TOPIC, 100) == []
    s = held(window("sum", 10))
    s.feed(reading(10.001, 8), reading(20, 8))
    assert played(s, TOPIC, 100) == [(20.0, "raised", None)]


def test_too_few_samples_say_nothing() -> None:
    s = held(window(min_samples=3))
    s.feed(reading(1, 99), reading(11, 99))
    assert played(s, TOPIC, 100) == []


def test_an_empty_window_is_no_zero() -> None:
    s = held(window())
    s.feed(reading(1, 99), reading(2, 99))
    assert played(s, TOPIC, 800) == [(10.0, "raised", None)]


def test_what_is_no_number_is_no_sample() -> None:
    s = held(window("count", opens := 60), opens=2)
    s.feed(reading(1, "wet"), reading(2, True))
    assert played(s, TOPIC, 100) == [(10.0, "raised", None)]  # a count asks for no field
    s = held(window("sum", opens), opens=2)
    s.feed(reading(1, "wet"), reading(2, True), reading(3, 1))
    assert played(s, TOPIC, 100) == []


def test_it_must_hold_and_between_the_levels_nothing_changes() -> None:
    s = held(window("max", 10), for_s=20, close_for_s=20)
    values = [20, 20, 9, 20, 20, 20, 9, 7, 7, 7]
    s.feed(*(reading(10 * n + 5, v) for n, v in enumerate(values)))
    assert played(s, TOPIC, 200) == [(60.0, "raised", None), (100.0, "cleared", None)]


def test_rows_in_any_order_within_the_lateness_say_the_same() -> None:
    s = held(window())
    s.feed(reading(3, 30, delay=3), reading(1, 10, delay=5), reading(11, 20), reading(12, 30))
    assert played(s, TOPIC, 25)[0] == (10.0, "raised", None)


def test_only_so_many_samples_are_kept_and_the_others_counted() -> None:
    s = held(window("count", 3600, 3600), opens=9_999)
    s.feed(*(reading(0.1 * n + 0.1, 1) for n in range(10_050)))
    played(s, TOPIC, 3700)
    assert s.detector.memory().evicted == 50
    assert [d.value for d in s.told if d.kind == "raised"] == [10_000.0]


FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "mean": mean,
    "median": median,
    "p85": lambda v: float(np.percentile(v, 85)),
    "p95": lambda v: float(np.percentile(v, 95)),
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
}


@pytest.mark.parametrize("fn", sorted(FUNCTIONS))
def test_each_function_says_what_its_name_says(fn: str) -> None:
    rng = Random(fn)
    for count in (1, 2, 7, 100):
        values = [rng.uniform(-50, 50) for _ in range(count)]
        said = aggregate(window(fn), list(range(count)), values)
        assert said == pytest.approx(FUNCTIONS[fn](values))


def test_a_rate_is_the_change_a_second_and_needs_two_moments() -> None:
    assert aggregate(window("rate"), [0, 2 * SECOND_US], [10.0, 16.0]) == 3.0
    assert aggregate(window("rate"), [0], [10.0]) is None
    assert aggregate(window("rate"), [5, 5], [10.0, 11.0]) is None


@pytest.mark.parametrize("seed", range(8))
def test_looks_tell_what_a_look_at_every_row_tells(seed: int) -> None:
    rng = Random(seed)
    fn, width, slide = rng.choice(["mean", "sum", "max", "p85"]), rng.choice([10, 25, 60]), rng.choice([5, 10])
    rows = sorted((rng.randint(0, 3000) / 10, rng.choice([2, 9, 16, 40])) for _ in range(60))
    s = held(window(fn, width, slide))
    s.feed(*(reading(t, v) for t, v in dict(rows).items()))
    table: list[Row] = []
    is_open = False
    for at in range(0, 400, slide):
        values = [float(v) for t, v in dict(rows).items() if at - width < t <= at]
        if not values:
            continue
        value = FUNCTIONS[fn](values)
        if not is_open and value >= 15:
            table, is_open = [*table, (float(at), "raised", None)], True
        elif is_open and value < 8:
            table, is_open = [*table, (float(at), "cleared", None)], False
    assert played(s, TOPIC, 400) == table
