"""The nearest of what moves, against sorting everything."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.distance import distance_m
from geo.nearest import MovingPoints
from tests.geo.shapes import LAT, LON

NAMES = st.sampled_from([f"u-{i}" for i in range(8)])
NEAR = st.integers(-20, 20).map(lambda step: step / 500)
MOVES = st.lists(st.tuples(NAMES, st.none() | st.tuples(NEAR, NEAR)), max_size=40)


@given(MOVES, NEAR, NEAR, st.integers(1, 9), st.sampled_from([0.0, 150.0, 2000.0, 9000.0, math.inf]))
def test_it_agrees_with_sorting_everything(
    moves: list[tuple[str, tuple[float, float] | None]], dlon: float, dlat: float, count: int, within_m: float
) -> None:
    points, places = MovingPoints(), dict[str, tuple[float, float]]()
    for name, to in moves:
        if to is None:
            points.remove(name)
            places.pop(name, None)
        else:
            places[name] = (LON + to[0], LAT + to[1])
            points.put(name, *places[name])
    x, y = LON + dlon, LAT + dlat
    everything = sorted((distance_m(x, y, *place), name) for name, place in places.items())
    expected = [(name, metres) for metres, name in everything if metres <= within_m][:count]
    assert points.nearest(x, y, count, within_m) == expected
    assert len(points) == len(places)
    odd = [(name, metres) for metres, name in everything if metres <= within_m and name > "u-3"][:count]
    assert points.nearest(x, y, count, within_m, lambda name: name > "u-3") == odd


def test_ties_are_in_order_of_id_whatever_came_first() -> None:
    points = MovingPoints()
    for name in ("b", "c", "a"):
        points.put(name, LON, LAT)
    points.put("b", LON, LAT)
    assert [name for name, _ in points.nearest(LON, LAT, 3, 10)] == ["a", "b", "c"]


def test_far_away_is_found_when_that_is_allowed() -> None:
    points = MovingPoints()
    points.put("far", 2.35, 48.85)
    assert [name for name, _ in points.nearest(LON, LAT, 1, math.inf)] == ["far"]
    assert points.nearest(LON, LAT, 1, 5000) == []


def test_a_place_must_be_one() -> None:
    points = MovingPoints()
    with pytest.raises(ValueError, match="no position"):
        points.put("a", math.nan, LAT)
    assert "a" not in points
    assert points.place("a") is None
