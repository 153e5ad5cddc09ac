"""Devices, segments and units: what is read, and every mistake with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import LineString, Point

from geo.check import check_registry, check_zones, load_registry, load_zones
from geo.codes import REGISTRY_PROBLEMS
from geo.registry import read_registry
from geo.zones import Zone
from models.problems import Problem
from tests.geo.shapes import LAT, LON, collection, feature, square, zone

HERE, OUTSIDE = Point(LON, LAT), Point(LON + 0.15, LAT)
LINE = LineString([(LON, LAT), (LON + 0.002, LAT), (LON + 0.002, LAT + 0.002)])
AREAS: list[Zone] = [zone("area/danghu", square(LON, LAT, 0.1))]
CAMERA = feature(
    "c-1", HERE, kind="camera", area="danghu", expected_every_s=1, owner="police", ptz_preset=1, gateway="g-1"
)
ROAD = feature(
    "s-1", LINE, name={"zh": "当湖路", "en": "Danghu Road"}, area="danghu", road_class="arterial", limit_kmh=50,
    lanes=2, downstream=["s-2"],
)  # fmt: skip
NEXT = feature("s-2", LINE, area="danghu")
UNIT = feature("u-1", HERE, department="traffic-police", skills=["tow"], area="danghu", capacity=2, name="一队")

Case = tuple[str, str, Any]


def test_a_registry_is_read_whole() -> None:
    files = [("x/devices.geojson", collection(CAMERA)), ("x/segments.geojson", collection(ROAD, NEXT)),
             ("x/units.geojson", collection(UNIT))]  # fmt: skip
    registry, problems = read_registry(files, AREAS)
    assert problems == []
    camera, road, unit = registry.devices["c-1"], registry.segments["s-1"], registry.units["u-1"]
    assert (camera.kind, camera.area, camera.lon, camera.lat) == ("camera", "danghu", LON, LAT)
    assert (camera.expected_every_s, camera.owner, camera.ptz_preset, camera.gateway) == (1.0, "police", 1.0, "g-1")
    assert road.name is not None
    assert road.name.en == "Danghu Road"
    assert (road.road_class, road.limit_kmh, road.lanes, road.downstream) == ("arterial", 50.0, 2, ("s-2",))
    assert (road.lon, road.lat) == pytest.approx((LON + 0.002, LAT))
    assert road.line.length == pytest.approx(0.004)
    assert (unit.department, unit.skills, unit.area, unit.capacity) == ("traffic-police", ("tow",), "danghu", 2)
    assert registry.segments["s-2"].downstream == ()


BAD: list[Case] = [
    ("G003", "devices", {"id": "x"}),
    ("G004", "devices", {k: v for k, v in CAMERA.items() if k != "id"}),
    ("G006", "devices", CAMERA),
    ("G007", "devices", feature("b", LINE, kind="camera", area="danghu")),
    ("G007", "devices", feature("b", None, kind="camera", area="danghu")),
    ("G007", "devices", feature("b", {"type": "Point", "coordinates": []}, kind="camera", area="danghu")),
    ("G007", "segments", feature("b", HERE, area="danghu")),
    ("G007", "segments", feature("b", {"type": "LineString", "coordinates": [[1, 2]]}, area="danghu")),
    ("G008", "devices", feature("b", Point(LAT, LON), kind="camera", area="danghu")),
    ("G008", "units", feature("b", Point(200, 0), department="d")),
    ("G009", "devices", feature("b", HERE, area="danghu")),
    ("G009", "devices", feature("b", HERE, kind="camera")),
    ("G009", "segments", feature("b", LINE)),
    ("G010", "devices", feature("b", HERE, kind="camera", area="danghu", expected_every_s=0)),
    ("G010", "devices", feature("b", HERE, kind="camera", area="danghu", owner=5)),
    ("G010", "devices", feature("b", HERE, kind=["camera"], area="danghu")),
    ("G010", "segments", feature("b", LINE, area="danghu", limit_kmh="50")),
    ("G010", "segments", feature("b", LINE, area="danghu", lanes=1.5)),
    ("G010", "segments", feature("b", LINE, area="danghu", downstream="s-1")),
    ("G010", "segments", feature("b", LINE, area="danghu", name=3)),
    ("G011", "segments", feature("b", LINE, area="danghu", downstream=["nowhere"])),
    ("G012", "devices", feature("b", HERE, kind="camera", area="zhapu")),
    ("G012", "units", feature("b", HERE, department="d", area="zhapu")),
    ("G013", "devices", feature("b", OUTSIDE, kind="camera", area="danghu")),
    ("G014", "units", feature("b", HERE, area="danghu")),
]
GOOD = {"devices": CAMERA, "segments": NEXT, "units": UNIT}


@pytest.mark.parametrize(("code", "kind", "bad"), BAD)
def test_a_bad_entry_is_told_with_its_place(code: str, kind: str, bad: Any) -> None:
    registry, problems = read_registry([(f"{kind}.geojson", collection(GOOD[kind], bad))], AREAS)
    (problem,) = problems
    assert (problem.code, problem.place.line) == (code, 3)
    assert problem.severity == ("warning" if code == "G013" else "error")
    assert GOOD[kind]["id"] in getattr(registry, kind)
    kept = {"G011", "G012", "G013"}  # of use all the same
    assert ("b" in getattr(registry, kind)) is (code in kept)


def test_every_code_has_a_case() -> None:
    problems: list[Problem] = read_registry([("devices.geojson", b""), ("units.geojson", b"{}")])[1]
    problems += read_registry([("cameras.geojson", collection(CAMERA))])[1]
    problems += read_registry([("units.geojson", b'{"type": "FeatureCollection", "features": [], "crs": "x"}')])[1]
    for _, kind, bad in BAD:
        problems += read_registry([(f"{kind}.geojson", collection(GOOD[kind], bad))], AREAS)[1]
    far = feature("far", Point(LON, LAT + 5), kind="camera", area="danghu")
    problems += read_registry([("devices.geojson", collection(CAMERA, far))])[1]
    assert {p.code for p in problems} == set(REGISTRY_PROBLEMS)


def test_swapped_axes_are_found_by_the_neighbours_where_both_ways_are_on_earth() -> None:
    paris = [feature(f"c-{n}", Point(2.35 + n / 100, 48.85), kind="camera", area="a") for n in range(3)]
    odd = feature("odd", Point(48.85, 2.35), kind="camera", area="a")
    registry, problems = read_registry([("devices.geojson", collection(*paris, odd))])
    assert list(registry.devices) == ["c-0", "c-1", "c-2"]
    assert [(p.code, p.severity, p.place.line, p.path[0]) for p in problems] == [
        ("G008", "error", 5, "feature 3 (odd)")
    ]


def test_without_zones_areas_are_believed() -> None:
    file = ("devices.geojson", collection(feature("b", OUTSIDE, kind="camera", area="anywhere")))
    assert read_registry([file])[1] == []


def test_files_and_folders_are_checked_as_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_bytes(collection(feature("danghu", square(LON, LAT, 0.1), kind="area")))
    (tmp_path / "b.geojson").write_bytes(collection(feature("x", square(LON, LAT, 0.1))))
    problems = check_zones([tmp_path, tmp_path / "none.geojson"])[1]
    assert [(p.code, Path(p.place.file).name) for p in problems] == [("Z006", "b.geojson"), ("Z001", "none.geojson")]
    assert [z.path for z in load_zones([tmp_path])[0]] == ["area/danghu"]

    folder = tmp_path / "registry"
    folder.mkdir()
    assert [p.code for p in check_registry([folder])] == ["G001"]
    (folder / "devices.geojson").write_bytes(collection(CAMERA, feature("c-2", HERE, kind="camera", area="nowhere")))
    (folder / "README.md").write_text("not read")
    assert [p.code for p in check_registry([folder], [tmp_path])] == ["G012"]
    assert list(load_registry([folder])[0].devices) == ["c-1", "c-2"]
    assert json.dumps([p.data() for p in check_registry([folder], [tmp_path])])
