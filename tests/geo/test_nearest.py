"""The nearest of what moves, against sorting everything."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import shapely
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


def test_the_point_and_point_cases_of_jts(shared_dir: Path) -> None:
    """Which points two sets share is asked as who is nearest within nothing."""
    file = shared_dir / "data" / "jts-geometry" / "TestRelatePP.xml"
    if not file.is_file():
        pytest.skip("no JTS cases beside the repository")
    checked = 0
    for case in ElementTree.parse(file).getroot().iter("case"):
        a, b = (
            [(x / 10, y / 10) for x, y in shapely.get_coordinates(shapely.from_wkt(" ".join(wkt.split()))).tolist()]
            for wkt in (case.findtext("a") or "", case.findtext("b") or "")
        )
        (relate,) = (op.attrib["arg3"] for op in case.iter("op"))
        assert (bool(shared(a, b)), bool(missing(a, b)), bool(missing(b, a))) == tuple(
            relate[n] != "F" for n in (0, 2, 6)
        )
        checked += 1
    assert checked == 4


def shared(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of a that are points of b."""
    points = MovingPoints()
    for number, place in enumerate(b):
        points.put(str(number), *place)
    return [place for place in a if points.nearest(*place, 1, 0.0)]


def missing(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> set[tuple[float, float]]:
    return set(a) - set(shared(a, b))
