"""The raster: its back ends against each other and all against a plain loop over shapely."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

import geo.raster
from geo import index as geo_index
from geo.index import ZoneIndex, warm
from geo.raster import Found, Raster
from geo.raster_build import CELL_M, METRES_PER_DEGREE, build
from geo.raster_loop import DX, DY, X0, Y0, compiled, fill
from tests.geo.shapes import LAT, LON, square, zone
from tests.geo.test_index import by_hand, looked_up

STEP = CELL_M / METRES_PER_DEGREE  # about a cell
MACHINE = compiled()


def array_of(shapes: Sequence[BaseGeometry]) -> np.ndarray:
    shapely.prepare(array := np.array([*shapes, None], dtype=np.object_)[:-1])
    return array


def pairs_of(found: Found, shapes: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> list[tuple[int, int]]:
    """What the raster found, with shapely asked where it is unsure."""
    rows, zones, unsure = found
    assert unsure == (zones < 0).sum()
    named = np.where(zones < 0, ~zones, zones)
    keep = (zones >= 0) | shapely.intersects_xy(shapes[named], lon[rows], lat[rows])
    return list(zip(rows[keep].tolist(), named[keep].tolist(), strict=True))


def in_columns(raster: Raster, lon: np.ndarray, lat: np.ndarray) -> Found:
    """numpy over whole columns, however few the points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geo.raster, "FEW_POINTS", -1)
        patch.setattr(geo.raster, "FEW_NEAR", -1)
        return raster.find(lon, lat)


def in_pieces(raster: Raster, lon: np.ndarray, lat: np.ndarray) -> Found:
    """numpy in batches so small that it goes point by point."""
    found = [raster.find(lon[i : i + 3], lat[i : i + 3]) for i in range(0, len(lon), 3)] or [geo.raster.NOTHING]
    rows = [part.rows + 3 * i for i, part in enumerate(found)]
    return Found(np.concatenate(rows), np.concatenate([f.zones for f in found]), sum(f.unsure for f in found))


def all_agree(shapes: Sequence[BaseGeometry], lon: np.ndarray, lat: np.ndarray, cell_m: float = CELL_M) -> None:
    array = array_of(shapes)
    raster = build(array, cell_m)
    expected = by_hand(shapes, lon, lat)
    for find in (in_columns, Raster.find, in_pieces):
        assert pairs_of(find(raster, lon, lat), array, lon, lat) == expected, find
    if MACHINE is not None:
        assert pairs_of(raster.find_with(MACHINE, lon, lat), array, lon, lat) == expected


# ---------------------------------------------------------------------------------------------------------- properties

PLACE = st.builds(lambda n: n / 4, st.integers(-30, 30))  # in cells, often on the corners of others
SIZE = st.sampled_from([1e-6, 1e-3, 0.1, 0.5, 1.0, 2.5, 7.0, 40.0, 300.0])
SHARES = st.lists(st.sampled_from([0.3, 0.55, 0.9, 1.0]), min_size=3, max_size=11)


def ring(x: float, y: float, size: float, shares: Sequence[float], turn: float) -> list[tuple[float, float]]:
    angles = [turn + 2 * pi * n / len(shares) for n in range(len(shares))]
    return [(x + size * r * cos(a), y + size * r * sin(a)) for r, a in zip(shares, angles, strict=True)]


@st.composite
def polygons(draw: st.DrawFn) -> Polygon | MultiPolygon:
    """Stars, with or without a hole, in one part or two; boxes on a common grid; slivers."""
    x, y, size = draw(PLACE), draw(PLACE), draw(SIZE)
    kind = draw(st.sampled_from(["star", "ringed", "two", "box", "sliver"]))
    if kind == "box":
        return box(x, y, x + max(1.0, round(size)), y + draw(st.sampled_from([0.25, 1.0, 3.0])))
    if kind == "sliver":
        angle, width = draw(st.sampled_from([0.0, 0.3, pi / 4, pi / 2])), draw(st.sampled_from([1e-9, 1e-5, 0.01]))
        along, across = (size * cos(angle), size * sin(angle)), (-width * sin(angle), width * cos(angle))
        sliver = Polygon([(x, y), (x + along[0], y + along[1]), (x + across[0], y + across[1])])
        return sliver if sliver.is_valid and sliver.area > 0 else box(x, y, x + 1, y + 1)
    shares, turn = draw(SHARES), draw(st.sampled_from([0.0, 0.7, pi / 2]))
    hole = [ring(x, y, size * 0.1, [1.0] * 5, turn)] if kind == "ringed" else []
    star = Polygon(ring(x, y, size, shares, turn), hole)
    return MultiPolygon([star, translate(star, 2.5 * size)]) if kind == "two" else star


def telling_points(shapes: Sequence[BaseGeometry]) -> list[tuple[float, float]]:
    """Vertices, places on edges, and their neighbours a rounding away."""
    corners = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(np.array(shapes))))
    middles = (corners[1:] + corners[:-1]) / 2
    beside = np.nextafter(corners[:20], np.inf)
    return [(float(x), float(y)) for x, y in np.concatenate([corners[:60], middles[:60], beside])]


POINT = st.tuples(PLACE, PLACE) | st.tuples(st.floats(-9, 9), st.floats(-9, 9)) | st.tuples(
    st.sampled_from([float("nan"), 0.0, -0.0, 1e9, -1e300, float("inf"), 400.0]), PLACE
)  # fmt: skip


def placed(shape: BaseGeometry) -> BaseGeometry:
    return shapely.transform(shape, lambda points: points * STEP + (LON, LAT))


@settings(max_examples=200)
@given(st.lists(polygons(), max_size=8), st.lists(POINT, max_size=40), st.booleans())
def test_all_back_ends_say_what_shapely_says(
    drawn: list[Polygon], points: list[tuple[float, float]], in_place: bool
) -> None:
    shapes = [shape for shape in map(placed, drawn) if shape.is_valid] if in_place else drawn
    written = [(x * STEP + LON, y * STEP + LAT) for x, y in points] if in_place else points
    if shapes:
        written = written + telling_points(shapes)
    lon, lat = np.array([p[0] for p in written]), np.array([p[1] for p in written])
    all_agree(shapes, lon, lat)
    swapped = np.where(np.isnan(lon), lon, lat)
    all_agree(shapes, swapped, lon, cell_m=200.0)


@given(st.lists(polygons().map(placed), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_the_machine_code_is_the_loop(shapes: list[Polygon], seed: int) -> None:
    if MACHINE is None:
        pytest.skip("numba is not installed")
    raster = build(array_of(shapes))
    random = np.random.default_rng(seed)
    lon, lat = LON + random.uniform(-8, 8, 70) * STEP, LAT + random.uniform(-8, 8, 70) * STEP
    ours, theirs = raster.find_with(fill, lon, lat), raster.find_with(MACHINE, lon, lat)
    assert ours.rows.tolist() == theirs.rows.tolist()
    assert ours.zones.tolist() == theirs.zones.tolist()
    assert ours.unsure == theirs.unsure


# ------------------------------------------------------------------------------------------------------------ examples


def test_points_off_the_raster_do_not_come_back_in_another_line() -> None:
    shapes = [square(LON, LAT, 0.01)]
    around = np.linspace(-0.5, 0.5, 101)
    lon, lat = (grid.ravel() for grid in np.meshgrid(LON + around, LAT + around))
    all_agree(shapes, lon, lat)


def test_fifty_zones_at_one_point_in_a_batch_of_any_size() -> None:
    shapes = [square(LON, LAT, 0.01 - n * 1e-5) for n in range(50)]
    random = np.random.default_rng(1)
    for size in (1, 2, 63, 64, 65, 300):
        all_agree(shapes, LON + random.uniform(-0.012, 0.012, size), LAT + random.uniform(-0.012, 0.012, size))


def test_reference_points_on_edges_and_corners_are_asked_about() -> None:
    anchor = square(LON, LAT, 0.01)
    x0, y0, dx, dy = build(array_of([anchor])).frame[[X0, Y0, DX, DY]].tolist()
    x, y = x0 + (40 + 0.4142135) * dx, y0 + (40 + 0.6180339) * dy
    shapes = [anchor, box(x, y - 0.001, x + 0.001, y), box(x - 0.001, y, x, y + 0.001), square(x, y, 0.0011)]
    random = np.random.default_rng(2)
    lon, lat = x + random.uniform(-dx, dx, 300), y + random.uniform(-dy, dy, 300)
    all_agree(shapes, np.append(lon, x), np.append(lat, y))


def test_a_city_wide_zone_costs_by_its_boundary_not_its_area() -> None:
    one = build(array_of([square(LON, LAT, 0.15)]))
    many = build(array_of([square(LON, LAT, 0.15 - n * 1e-3) for n in range(50)]))
    assert one.nbytes < 1_500_000  # a square of 29 km by 33 km is two million cells
    assert (many.nbytes - one.nbytes) / 49 < 600_000


def test_a_ring_with_a_hundred_thousand_corners_is_tested_by_its_near_edges() -> None:
    angles = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    shape = Polygon(np.column_stack([LON + 0.1 * np.cos(angles), LAT + 0.1 * np.sin(angles)]))
    random = np.random.default_rng(3)
    lon, lat = LON + random.uniform(-0.11, 0.11, 4000), LAT + random.uniform(-0.11, 0.11, 4000)
    raster = build(array_of([shape]))
    assert raster.parts.edges.max() < 200
    all_agree([shape], lon, lat)


def test_hardly_anything_is_left_to_shapely() -> None:
    random = np.random.default_rng(4)
    places = random.uniform(-0.02, 0.02, (200, 2))
    shapes = array_of([shapely.Point(LON + x, LAT + y).buffer(0.001, quad_segs=8) for x, y in places])
    lon, lat = LON + random.uniform(-0.02, 0.02, 20_000), LAT + random.uniform(-0.02, 0.02, 20_000)
    found = in_columns(build(shapes), lon, lat)
    assert len(found.zones) > 5_000
    assert found.unsure < 5


def test_zones_at_both_ends_of_the_world() -> None:
    shapes = [square(-179, -80, 0.5), square(179, 80, 0.5), square(0, 0, 1e-4), box(-180, -90, 180, 90)]
    lon = np.array([-179.0, 179, 179.6, 0, -0.0, 1e-4, 180, -180.0, 180.1])
    lat = np.array([-80.0, 80.5, 80, 0, -0.0, 1e-4, 90, -90.0, 0])
    all_agree(shapes, lon, lat)


def test_empty_and_strange_geometries() -> None:
    shapes: list[Polygon | MultiPolygon] = [Polygon(), square(LON, LAT, 0.001), MultiPolygon()]
    zones = [zone(f"k/{n}", shape) for n, shape in enumerate(shapes)]
    there = np.array([LON]), np.array([LAT])
    assert looked_up(ZoneIndex(zones), *there) == [(0, 1)]
    assert looked_up(ZoneIndex(zones[:1]), *there) == []
    with pytest.raises(TypeError):
        ZoneIndex(zones[:1], [shapely.Point(0, 0)])
    with pytest.raises(ValueError, match="finite"):
        ZoneIndex(zones[:1], [Polygon([(0, 0), (1, 0), (1, float("inf"))])])


def test_a_column_that_is_too_short_is_refused_and_one_that_is_not_in_one_piece_is_fine() -> None:
    if MACHINE is None:
        pytest.skip("numba is not installed")
    raster = build(array_of([square(LON, LAT, 0.001)]))
    with pytest.raises(ValueError, match="2 longitudes, but 1 latitudes"):
        raster.find_with(MACHINE, np.array([LON, LON]), np.array([LAT]))
    both = np.array([[LON, LAT], [LON + 1, LAT], [LON, LAT]])
    both.flags.writeable = False
    assert raster.find_with(MACHINE, both[:, 0], both[:, 1]).rows.tolist() == [0, 2]


def test_a_warm_index_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    if MACHINE is None:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(geo_index, "_FIND", [Raster.find])
    warm.cache_clear()
    index = ZoneIndex([zone("k/a", square(LON, LAT, 0.001)), zone("k/b", square(LON, LAT, 0.0005))])
    lon = np.array([LON, LON + 0.0005, LON + 0.0007, LON + 1, LON + 0.001, np.nan] * 40)[::2]
    lat = np.full(len(lon), LAT)
    cold = looked_up(index, lon, lat)
    assert warm()
    assert len(geo_index._FIND) == 2
    assert looked_up(index, lon, lat) == cold != []
    assert looked_up(index, lon[:1], lat[:1]) == cold[:2]
    warm.cache_clear()
