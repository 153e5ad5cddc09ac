"""Systems of coordinates against golden vectors computed with PROJ and the published formulae."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.crs import CHINA, LocalGrid, from_wgs84, gcj02_to_bd09, to_wgs84
from geo.distance import distance_m, distances_m

# WGS-84, GCJ-02, BD-09: lon, lat each
GOLDEN = np.array(
    [
        [121.02, 30.70, 121.024412, 30.697741, 121.030983, 30.703383],
        [121.0144, 30.6990, 121.018792, 30.696724, 121.025365, 30.702357],
        [120.95, 30.60, 120.954168, 30.597501, 120.960578, 30.603847],
        [121.15, 30.65, 121.154518, 30.647794, 121.161096, 30.653534],
    ]
)
WGS84, GCJ02, BD09 = GOLDEN[:, 0:2], GOLDEN[:, 2:4], GOLDEN[:, 4:6]
GRID = np.array([[597720.465, 3398158.370], [597184.936, 3398042.633]])


@pytest.mark.parametrize(("crs", "expected"), [("gcj02", GCJ02), ("bd09", BD09), ("wgs84", WGS84), ("cgcs2000", WGS84)])
def test_golden_vectors_both_ways(crs: str, expected: np.ndarray) -> None:
    there = np.column_stack(from_wgs84(crs, WGS84[:, 0], WGS84[:, 1]))
    assert np.abs(there - expected).max() < 1e-6
    back = np.column_stack(to_wgs84(crs, expected[:, 0], expected[:, 1]))
    assert np.abs(back - WGS84).max() < 1e-6


def test_the_national_grid_to_a_millimetre() -> None:
    grid = LocalGrid(121.02, 30.69)
    assert grid.crs == "EPSG:4549"
    metres = np.column_stack(grid.metres(WGS84[:2, 0], WGS84[:2, 1]))
    assert np.abs(metres - GRID).max() < 1e-3
    degrees = np.column_stack(grid.degrees(GRID[:, 0], GRID[:, 1]))
    assert np.abs(degrees - WGS84[:2]).max() < 1e-8


# Published with other libraries: WGS-84 and GCJ-02 of Shanghai, Shenzhen, Beijing; GCJ-02 and BD-09 of Beijing.
PUBLISHED_GCJ02 = np.array(
    [
        [121.5272106, 31.1774276, 121.531541859215, 31.17530398364597],
        [113.912316, 22.543847, 113.9171764808363, 22.540796131694766],
        [116.377817, 39.911954, 116.38404722455657, 39.91334545536069],
    ]
)
PUBLISHED_BD09 = np.array([[116.404, 39.915, 116.41036949371029, 39.92133699351022]])


def test_the_published_check_points_of_others() -> None:
    x, y = from_wgs84("gcj02", PUBLISHED_GCJ02[:, 0], PUBLISHED_GCJ02[:, 1])
    assert np.abs(np.column_stack((x, y)) - PUBLISHED_GCJ02[:, 2:]).max() < 1e-12
    x, y = gcj02_to_bd09(PUBLISHED_BD09[:, 0], PUBLISHED_BD09[:, 1])
    assert np.abs(np.column_stack((x, y)) - PUBLISHED_BD09[:, 2:]).max() < 1e-12


def test_the_shift_in_pinghu_is_half_a_kilometre_to_the_south_east() -> None:
    grid = LocalGrid(121.02, 30.70)
    lon, lat = np.array([121.02]), np.array([30.70])
    (east, north), (x, y) = grid.metres(*from_wgs84("gcj02", lon, lat)), grid.metres(lon, lat)
    assert (east[0] - x[0], north[0] - y[0]) == pytest.approx((422, -250), abs=7)


IN_CHINA = st.lists(st.tuples(st.floats(73, 137), st.floats(1, 55)), min_size=1, max_size=20)
SHIFTED = pytest.mark.parametrize("crs", ["gcj02", "bd09"])


@SHIFTED
@given(IN_CHINA)
def test_there_and_back_is_the_same_place_to_a_centimetre(crs: str, points: list[tuple[float, float]]) -> None:
    lon, lat = np.array(points).T
    assert distances_m(*to_wgs84(crs, *from_wgs84(crs, lon, lat)), lon, lat).max() < 0.01
    assert distances_m(*from_wgs84(crs, *to_wgs84(crs, lon, lat)), lon, lat).max() < 0.01


@SHIFTED
@given(IN_CHINA)
def test_a_point_comes_out_the_same_alone_and_among_others(crs: str, points: list[tuple[float, float]]) -> None:
    lon, lat = np.array(points).T
    for convert in (to_wgs84, from_wgs84):
        together = np.column_stack(convert(crs, lon, lat))
        alone = [np.concatenate(convert(crs, lon[i : i + 1], lat[i : i + 1])) for i in range(len(points))]
        assert together.tobytes() == np.array(alone).tobytes()


@given(IN_CHINA)
def test_nearby_places_stay_nearby_up_to_the_edge_of_the_rectangle(points: list[tuple[float, float]]) -> None:
    lon, lat = np.array(points).T
    x, y = from_wgs84("gcj02", lon, lat)
    beside_x, beside_y = from_wgs84("gcj02", lon + 1e-6, lat + 1e-6)
    assert distances_m(x, y, beside_x, beside_y).max() < 0.3  # 0.15 m apart


def test_beyond_the_edge_nothing_is_shifted_and_the_jump_is_at_the_edge_alone() -> None:
    west, south, east, north = CHINA
    middle = (west + east) / 2
    inside, outside = np.array([north - 1e-9]), np.array([north + 1e-9])
    at = np.array([middle])
    assert from_wgs84("gcj02", at, outside)[1].tolist() == outside.tolist()
    jump = distances_m(*from_wgs84("gcj02", at, inside), at, inside)[0]
    assert 100 < jump < 2000
    x, y = to_wgs84("gcj02", np.array([west - 0.5, east + 0.5]), np.array([south - 0.5, north + 0.5]))
    assert (x.tolist(), y.tolist()) == ([west - 0.5, east + 0.5], [south - 0.5, north + 0.5])


def test_outside_the_national_grid_the_city_gets_one_of_its_own() -> None:
    assert LocalGrid(121.3, 30.7).crs == "EPSG:4549"
    assert LocalGrid(121.6, 30.7).crs.startswith("+proj=tmerc")
    assert LocalGrid(11.3, 44.5).crs.startswith("+proj=tmerc")


def test_outside_china_gcj02_is_wgs84_and_nan_stays_nan() -> None:
    lon, lat = np.array([2.35, np.nan]), np.array([48.85, np.nan])
    x, y = to_wgs84("gcj02", *from_wgs84("gcj02", lon, lat))
    assert (x[0], y[0]) == (2.35, 48.85)
    assert np.isnan([x[1], y[1]]).all()


@given(st.floats(-175, 175), st.floats(-70, 70), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_a_local_grid_keeps_lengths_anywhere(lon: float, lat: float, dlon: float, dlat: float) -> None:
    east, north = LocalGrid(lon, lat).metres(np.array([lon, lon + dlon]), np.array([lat, lat + dlat]))
    flat = float(np.hypot(east[1] - east[0], north[1] - north[0]))
    assert flat == pytest.approx(distance_m(lon, lat, lon + dlon, lat + dlat), rel=5e-4, abs=0.01)


def test_distances() -> None:
    assert distance_m(121.02, 30.7, 121.021, 30.7) == pytest.approx(95.802, abs=0.001)
    assert distance_m(121.02, 30.7, 121.02, 30.701) == pytest.approx(110.864, abs=0.001)
    assert distance_m(121.02, 30.7, 116.4, 39.9) == pytest.approx(1_104_000, rel=2e-3)
    assert distance_m(179.9, 0.0, -179.9, 0.0) == pytest.approx(22_239, rel=1e-3)
    assert np.isnan(distance_m(float("nan"), 30, 121, 30))


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=10))
def test_the_distances_of_arrays_are_those_of_points(points: list[tuple[float, float]]) -> None:
    lon, lat = np.array(points).T
    many = distances_m(lon, lat, 121.02, 30.69)
    assert many == pytest.approx([distance_m(x, y, 121.02, 30.69) for x, y in points], rel=1e-9, abs=1e-6)
