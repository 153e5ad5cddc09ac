"""Zone files: every mistake is told with its place, and the other zones are still read."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from shapely.geometry import MultiPolygon, Polygon

from geo.codes import ZONE_PROBLEMS
from geo.overlap import MOST_OVER_A_POINT
from geo.zones import read_zones
from models.problems import Problem
from tests.geo.shapes import LAT, LON, collection, feature, polygon, square

RING = [[LON, LAT], [LON + 0.01, LAT], [LON + 0.01, LAT + 0.01], [LON, LAT + 0.01], [LON, LAT]]
FINE = feature("good", polygon(RING), kind="no-parking", area="danghu")
ADVICE = {"Z019", "Z020", "Z021", "Z022"}  # of zones that can be used: test_advice.py
HOLE_OUTSIDE = [[x + 1, y] for x, y in RING]
BOW_TIE = [RING[0], RING[2], RING[1], RING[3], RING[0]]


def shifted(by: float) -> list[list[float]]:
    return [[x + by, y] for x, y in RING]


def test_a_zone_is_read_whole() -> None:
    name = {"zh": "新华路北段", "en": "Xinhua Road N"}
    written = feature(
        "x-n", polygon(RING), kind="no-parking", area="danghu", name=name, grade="A", position_quality="synthetic"
    )
    area = feature("danghu", square(LON, LAT, 0.1), kind="area")
    zones, problems = read_zones([("a.geojson", collection(written, area))])
    assert problems == []
    zone = zones[0]
    assert (zone.path, zone.kind, zone.id, zone.area, zone.grade) == (
        "no-parking/x-n",
        "no-parking",
        "x-n",
        "danghu",
        "A",
    )
    assert zone.name is not None
    assert (zone.name.zh, zone.name.en) == ("新华路北段", "Xinhua Road N")
    assert zone.properties["position_quality"] == "synthetic"
    assert zones[1].area == "danghu"


def with_crs(name: str) -> bytes:
    crs = {"type": "name", "properties": {"name": name}}
    return json.dumps({"type": "FeatureCollection", "crs": crs, "features": [FINE]}).encode()


@pytest.mark.parametrize("name", ["urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326", "urn:ogc:def:crs:EPSG::4490"])
def test_an_old_file_that_names_wgs84_is_read(name: str) -> None:
    assert read_zones([("a", with_crs(name))])[1] == []


BAD: list[tuple[str, Any]] = [
    ("Z003", {"type": "Polygon"}),
    ("Z003", 5),
    ("Z004", {k: v for k, v in FINE.items() if k != "id"}),
    ("Z004", FINE | {"id": "a/b"}),
    ("Z004", FINE | {"id": ""}),
    ("Z004", FINE | {"id": True}),
    ("Z005", FINE),
    ("Z006", feature("b", polygon(RING), area="danghu")),
    ("Z006", feature("b", polygon(RING), kind="no parking")),
    ("Z006", FINE | {"properties": None, "id": "b"}),
    ("Z007", feature("b", {"type": "Point", "coordinates": [LON, LAT]}, kind="k")),
    ("Z007", feature("b", None, kind="k")),
    ("Z007", feature("b", {"type": "GeometryCollection", "geometries": []}, kind="k")),
    ("Z008", feature("b", polygon([[LON, "x"], [LON, LAT], [LON, LAT], [LON, "x"]]), kind="k")),  # type: ignore[list-item]
    ("Z008", feature("b", {"type": "Polygon", "coordinates": RING}, kind="k")),
    ("Z008", feature("b", {"type": "Polygon", "coordinates": 7}, kind="k")),
    ("Z008", feature("b", {"type": "Polygon"}, kind="k")),
    ("Z008", feature("b", polygon([RING[0], RING[1], RING[0]]), kind="k")),
    ("Z009", feature("b", polygon(RING[:-1]), kind="k")),
    ("Z010", feature("b", polygon([[x + 70, y] for x, y in RING]), kind="k")),
    ("Z011", feature("b", polygon([[y, x] for x, y in RING]), kind="k")),
    ("Z012", feature("b", {"type": "Polygon", "coordinates": []}, kind="k")),
    ("Z012", feature("b", polygon([]), kind="k")),
    ("Z012", feature("b", {"type": "MultiPolygon", "coordinates": []}, kind="k")),
    ("Z013", feature("b", polygon(BOW_TIE), kind="k")),
    ("Z014", feature("b", polygon([RING[0], RING[1], RING[1], RING[0]]), kind="k")),
    ("Z015", feature("b", polygon(RING, HOLE_OUTSIDE), kind="k")),
    ("Z016", feature("b", polygon(RING), kind="k", area=5)),
    ("Z016", feature("b", polygon(RING), kind="k", name=["x"])),
]  # fmt: skip


@pytest.mark.parametrize(("code", "bad"), BAD)
def test_a_bad_zone_is_told_with_its_place_and_left_out(code: str, bad: Any) -> None:
    zones, problems = read_zones([("a.geojson", collection(FINE, bad))])
    assert [zone.id for zone in zones] == ["good"]
    (problem,) = problems
    assert (problem.code, problem.severity, problem.place.file, problem.place.line) == (code, "error", "a.geojson", 3)
    assert problem.place.column >= 1
    assert problem.path[0].startswith("feature 1")
    if isinstance(bad, dict) and isinstance(bad.get("id"), str) and code not in ("Z003", "Z004"):
        assert f"({bad['id']})" in problem.path[0]


@pytest.mark.parametrize(
    ("code", "data", "line"),
    [
        ("Z001", b"", 1),
        ("Z001", b'{"type": "FeatureCollection",\n "features": [}', 2),
        ("Z001", b"\xff", 1),
        ("Z001", b"{} {}", 1),
        ("Z001", b'{"a":' + b"[" * 100_000, 1),
        ("Z001", b'{"a":' + b"9" * 5000 + b"}", 1),
        ("Z002", b"[]", 1),
        ("Z002", b"{}", 1),
        ("Z002", json.dumps(FINE).encode(), 1),
        ("Z002", b'{"type": "FeatureCollection"}', 1),
        ("Z018", with_crs("urn:ogc:def:crs:EPSG::4549"), 1),
        ("Z018", with_crs("GCJ02"), 1),
    ],
)
def test_a_file_that_holds_no_features(code: str, data: bytes, line: int) -> None:
    zones, problems = read_zones([("bad.geojson", data), ("good.geojson", collection(FINE))])
    assert [zone.id for zone in zones] == ["good"]
    assert [(p.code, p.place.file, p.place.line) for p in problems] == [(code, "bad.geojson", line)]


def test_every_code_has_a_case_and_every_message_reads_well() -> None:
    near = collection(
        FINE, feature("b", polygon(RING), kind="k", area="nowhere"), feature("danghu", polygon(RING), kind="area")
    )
    problems: list[Problem] = read_zones([("a", near)])[1]
    problems += read_zones([("b", b""), ("c", b"{}"), ("d", with_crs("GCJ02")), ("e", heap(MOST_OVER_A_POINT + 1))])[1]
    for _, bad in BAD:
        problems += read_zones([("a", collection(FINE, bad))])[1]
    assert {p.code for p in problems} == set(ZONE_PROBLEMS) - ADVICE
    for problem in problems:
        assert problem.message[0].islower() or problem.message[0] in '["'
        assert not problem.message.endswith(".")
        assert problem.text()


def test_a_mistake_is_pointed_at_where_it_stands() -> None:
    written = """{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "x", "properties": {
     "area": 5, "kind": "no-parking"},
   "geometry": {"type": "Polygon", "coordinates": [
     [[1, 2], [2, 2], [2, 3], [1, 2]],
     [[120.9, 30.5], [121.9, 30.5]]
   ]}}]}"""
    problems = read_zones([("z.geojson", written.encode())])[1]
    assert [(p.code, p.place.line, p.place.column) for p in problems] == [("Z016", 3, 14), ("Z009", 6, 6)]
    lines = problems[0].text().splitlines()
    assert lines[1].index("5") == lines[2].index("^")


def test_all_mistakes_of_all_files_are_told_in_order() -> None:
    unclosed, no_kind = feature("b", polygon(RING[:-1]), kind="k"), feature("c", polygon(RING))
    problems = read_zones([("b.geojson", collection(no_kind, unclosed)), ("a.geojson", collection(unclosed, FINE))])[1]
    assert [(p.place.file, p.place.line, p.code) for p in problems] == [
        ("a.geojson", 2, "Z009"),
        ("b.geojson", 2, "Z006"),
        ("b.geojson", 3, "Z009"),
    ]


def heap(count: int) -> bytes:
    """So many zones of one outline."""
    return collection(*(feature(f"z{n}", polygon(RING), kind="k") for n in range(count)))


@pytest.mark.parametrize(("count", "told"), [(MOST_OVER_A_POINT, 0), (MOST_OVER_A_POINT + 1, 1), (10_000, 1)])
def test_a_heap_of_zones_is_refused_soon_and_told_once(count: int, told: int) -> None:
    begun = time.process_time()
    assert [p.code for p in read_zones([("a", heap(count))])[1]] == ["Z023"] * told
    assert time.process_time() - begun < 10.0


def test_as_many_zones_beside_each_other_are_fine() -> None:
    beside = [[[lon + 0.001 * n, lat + 0.001 * (n // 40)] for lon, lat in RING] for n in range(4 * MOST_OVER_A_POINT)]
    found, problems = read_zones(
        [("a", collection(*(feature(f"z{n}", polygon(ring), kind="k") for n, ring in enumerate(beside))))]
    )
    assert (len(found), problems) == (len(beside), [])


def test_the_same_id_in_two_files_names_the_first() -> None:
    problems = read_zones([("a.geojson", collection(FINE)), ("b.geojson", collection(FINE))])[1]
    assert [p.code for p in problems] == ["Z005"]
    assert "a.geojson line 2" in problems[0].message


def test_swapped_axes_are_found_by_the_neighbours_where_both_ways_are_on_earth() -> None:
    paris = [feature(f"p{i}", square(2.35 + i / 100, 48.85, 0.01), kind="k") for i in range(3)]
    zones, problems = read_zones([("a", collection(*paris, feature("odd", square(48.85, 2.35, 0.01), kind="k")))])
    assert len(zones) == 3
    assert [(p.code, p.path[0]) for p in problems] == [("Z011", "feature 3 (odd)")]


def test_a_hundred_thousand_vertices_with_holes_and_heights_are_fine() -> None:
    outline = Polygon(square(LON, LAT, 0.1).exterior.segmentize(0.8 / 100_000).coords, [RING])
    assert len(outline.exterior.coords) > 100_000
    both = MultiPolygon([outline, square(LON + 1, LAT, 0.1)])
    high = feature("h", polygon([[x, y, 4.0] for x, y in RING]), kind="k")
    zones, problems = read_zones([("a", collection(feature("big", both, kind="k"), high))])
    assert problems == []
    assert not zones[1].geometry.has_z


def test_windings_are_not_held_against_anyone() -> None:
    zones, problems = read_zones([("a", collection(feature("b", polygon(RING[::-1]), kind="k")))])
    assert (len(zones), problems) == (1, [])
