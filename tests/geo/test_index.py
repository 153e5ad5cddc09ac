"""The zone index against a plain loop over shapely, and against the cases of JTS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from geo.distance import distance_m
from geo.index import ZoneIndex
from tests.geo.shapes import LAT, LON, square, zone


def by_hand(geometries: Sequence[BaseGeometry], lon: np.ndarray, lat: np.ndarray) -> list[tuple[int, int]]:
    """The oracle: every point in every zone, one after the other."""
    return [
        (row, number)
        for row, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True))
        for number, geometry in enumerate(geometries)
        if x == x and y == y and geometry.covers(Point(x, y))
    ]


def looked_up(index: ZoneIndex, lon: np.ndarray, lat: np.ndarray) -> list[tuple[int, int]]:
    rows, zones = index.lookup(lon, lat)
    assert rows.dtype == zones.dtype == np.int64
    return list(zip(rows.tolist(), zones.tolist(), strict=True))


RINGED = Polygon(square(LON, LAT, 0.02).exterior, [square(LON, LAT, 0.01).exterior])
TWO = MultiPolygon([square(LON, LAT, 0.005), square(LON + 0.05, LAT, 0.005)])


def test_the_boundary_is_inside_holes_are_not_and_nan_is_nowhere() -> None:
    index = ZoneIndex([zone("k/ring", RINGED), zone("k/two", TWO)])
    lon = np.array([LON - 0.02, LON - 0.01, LON - 0.007, LON, LON + 0.05, np.nan, LON, LON + 1])
    lat = np.array([LAT - 0.02, LAT, LAT, LAT, LAT + 0.005, LAT, np.nan, LAT])
    assert looked_up(index, lon, lat) == [(0, 0), (1, 0), (3, 1), (4, 1)]
    assert index.numbers == {"k/ring": 0, "k/two": 1}


def test_nothing_and_nobody() -> None:
    empty = np.empty(0)
    assert looked_up(ZoneIndex([]), np.array([1.0]), np.array([1.0])) == []
    assert looked_up(ZoneIndex([zone("k/a", RINGED)]), empty, empty) == []


GRID_STEP = st.integers(0, 12)


@st.composite
def triangles(draw: st.DrawFn) -> Polygon | MultiPolygon:
    """Shapes on a coarse grid, so that points often fall on corners and edges; some with holes, some in parts."""
    corners = draw(st.lists(st.tuples(GRID_STEP, GRID_STEP), min_size=3, max_size=7, unique=True))
    hull = shapely.convex_hull(shapely.multipoints(corners))
    if not isinstance(hull, Polygon):
        hull = shapely.box(*corners[0], corners[0][0] + 1, corners[0][1] + 1)
    bite = shapely.box(*draw(st.tuples(GRID_STEP, GRID_STEP)), *draw(st.tuples(GRID_STEP, GRID_STEP)))
    rest = shapely.difference(hull, bite) if draw(st.booleans()) else hull
    return rest if isinstance(rest, Polygon | MultiPolygon) and rest.area > 0 else hull


POINTS = st.lists(
    st.tuples(st.sampled_from([i / 2 for i in range(-2, 28)] + [float("nan")]), st.floats(-1, 13)), max_size=40
)


@given(st.lists(triangles(), max_size=6), POINTS)
def test_it_agrees_with_a_plain_loop(shapes: list[Polygon], points: list[tuple[float, float]]) -> None:
    lon, lat = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    index = ZoneIndex([zone(f"k/{i}", shape) for i, shape in enumerate(shapes)])
    assert looked_up(index, lon, lat) == by_hand(shapes, lon, lat)
    assert looked_up(index, lat, lon) == by_hand(shapes, lat, lon)


def test_a_buffer_is_in_metres_and_keeps_the_numbers() -> None:
    index = ZoneIndex([zone("k/a", square(LON, LAT, 0.001)), zone("k/b", square(LON + 0.1, LAT, 0.001))])
    wide = index.with_buffer(10.0)
    east = np.array([LON + 0.1 + 0.001 + 9.9 / 95_800, LON + 0.1 + 0.001 + 10.1 / 95_800])
    there = np.array([LAT, LAT])
    assert looked_up(index, east, there) == []
    assert looked_up(wide, east, there) == [(0, 1)]
    assert wide.zones == index.zones
    assert index.with_buffer(0) is index
    assert index.with_buffer(10.0) is wide


@given(st.floats(-0.003, 0.003), st.floats(-0.003, 0.003), st.floats(1, 100))
def test_whoever_is_outside_the_buffer_is_that_far_from_the_zone(dlon: float, dlat: float, metres: float) -> None:
    shape = square(LON, LAT, 0.001)
    wide = ZoneIndex([zone("k/a", shape)]).with_buffer(metres)
    x, y = LON + dlon, LAT + dlat
    edge_x, edge_y = min(max(x, LON - 0.001), LON + 0.001), min(max(y, LAT - 0.001), LAT + 0.001)
    away = distance_m(x, y, edge_x, edge_y)
    inside = bool(looked_up(wide, np.array([x]), np.array([y])))
    if abs(away - metres) > 0.01 + metres * 0.005:
        assert inside == (away < metres)


JTS_CASES = {"TestPreparedPointPredicate.xml": 3, "TestRelatePA.general.xml": 11}


@pytest.mark.parametrize("name", JTS_CASES)
def test_the_point_cases_of_jts(shared_dir: Path, name: str) -> None:
    file = shared_dir / "data" / "jts-geometry" / name
    if not file.is_file():
        pytest.skip("no JTS cases beside the repository")
    checked = 0
    for case in ElementTree.parse(file).getroot().iter("case"):
        points, area = (shapely.from_wkt(" ".join((case.findtext(tag) or "").split())) for tag in "ab")
        expected = {op.attrib["name"]: (op.text or "").strip() == "true" for op in case.iter("op")}
        whole = "coveredBy"
        if isinstance(points, Polygon | MultiPolygon):
            points, area, whole = area, points, "covers"
        assert isinstance(area, Polygon | MultiPolygon)
        lon, lat = shapely.get_coordinates(points).T
        found = looked_up(ZoneIndex([zone("k/b", area)]), lon.copy(), lat.copy())
        assert bool(found) is expected["intersects"], case.findtext("desc")
        assert bool(found) is not expected.get("disjoint", not found), case.findtext("desc")
        if whole in expected:
            assert (len(found) == len(lon)) is expected[whole], case.findtext("desc")
        checked += 1
    assert checked == JTS_CASES[name]
