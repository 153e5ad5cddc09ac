"""Zones: named areas that rules select by `kind/id`. Read from GeoJSON, every mistake told with its place.

A zone with a mistake is left out, the others are used; whether that is good enough is the caller's to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon, shape

from geo.geojson import Codes, Feature, as_text, read_features, usable_id
from geo.neighbours import swapped_among
from geo.overlap import too_deep
from models.detections import Text
from models.problems import Problem, in_order

CODES = Codes(not_json="Z001", not_a_collection="Z002", not_a_feature="Z003", no_id="Z004", wrong_crs="Z018")
AREA_KIND = "area"
LON_FIRST = "GeoJSON has longitude first: exchange the two numbers of each position"
LEAST_AREA_DEG2 = 1e-13  # a square of 3 cm


@dataclass(frozen=True, slots=True)
class Zone:
    """A named area. `path` is `kind/id`, what rules select and detections carry."""

    path: str
    kind: str
    id: str
    area: str | None
    name: Text | None
    grade: str | None
    valid: Any
    properties: Mapping[str, Any] = field(hash=False)
    geometry: Polygon | MultiPolygon = field(hash=False)


Written = tuple[Feature, Zone]
"""A zone and the feature it was written as."""


def read_zones(files: Sequence[tuple[str, bytes]]) -> tuple[list[Zone], list[Problem]]:
    """The zones of all files in their order, and everything that is wrong, sorted by place."""
    found, problems = read_written(files)
    return [zone for _, zone in found], problems


def read_written(files: Sequence[tuple[str, bytes]]) -> tuple[list[Written], list[Problem]]:
    """The same with the features, for those who look further."""
    found: list[Written] = []
    problems: list[Problem] = []
    for name, data in files:
        features, wrong = read_features(name, data, CODES)
        problems += wrong
        for feature in features:
            zone, more = read_zone(feature)
            problems += more
            if zone is not None:
                found.append((feature, zone))
    found, wrong = without_repeats(found)
    problems += wrong
    found, wrong = without_swapped(found)
    problems += wrong
    problems += unknown_areas(found)
    problems += too_deep([feature for feature, _ in found], [zone.geometry for _, zone in found])
    return found, in_order(problems)


def read_zone(feature: Feature) -> tuple[Zone | None, list[Problem]]:
    properties = feature.properties
    kind = properties.get("kind")
    problems: list[Problem] = []
    if not isinstance(kind, str) or usable_id(kind) is None:
        hint = 'give its properties a `kind`, e.g. "no-parking"; rules select kind/id'
        problems.append(
            feature.problem("Z006", "the zone has no usable kind, so no rule can select it", hint, at="kind")
        )
    area, grade = properties.get("area"), properties.get("grade")
    for field_name, value in (("area", area), ("grade", grade)):
        if value is not None and not isinstance(value, str):
            problems.append(feature.problem("Z016", f"the zone's {field_name} is not text", at=field_name))
    name = as_text(properties.get("name"))
    if name is None and properties.get("name") is not None:
        problems.append(
            feature.problem("Z016", "the zone's name is not text", 'write {"zh": "…", "en": "…"}', at="name")
        )
    geometry, wrong = read_polygons(feature)
    problems += wrong
    if problems or geometry is None:
        return None, problems
    assert feature.id is not None  # read_features leaves out those without
    zone = Zone(
        path=f"{kind}/{feature.id}",
        kind=str(kind),
        id=feature.id,
        area=area if area is not None or kind != AREA_KIND else feature.id,
        name=name,
        grade=grade,
        valid=properties.get("valid"),
        properties=dict(properties),
        geometry=geometry,
    )
    return zone, []


# ------------------------------------------------------------------------------------------------------------ geometry


def read_polygons(feature: Feature) -> tuple[Polygon | MultiPolygon | None, list[Problem]]:
    written = feature.geometry
    kind = written.get("type") if isinstance(written, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        found = "none" if written is None else f"a {kind}" if isinstance(kind, str) else "something else"
        return None, [
            feature.problem("Z007", f"the zone's geometry is {found}, not a Polygon or MultiPolygon", at="geometry")
        ]
    coordinates = written.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if polygons in ([], [[]], [[[]]]):
        return None, [feature.problem("Z012", "the zone's geometry is empty: nothing is ever inside", at="coordinates")]
    problems = list(ring_problems(feature, polygons, kind))
    if problems:
        return None, problems
    flat = [[[position[:2] for position in ring] for ring in polygon] for polygon in polygons]
    geometry = shape({"type": kind, "coordinates": flat[0] if kind == "Polygon" else flat})
    assert isinstance(geometry, Polygon | MultiPolygon)
    if geometry.convex_hull.area < LEAST_AREA_DEG2:
        message = "the zone has no area: its points lie on one line"
        return None, [feature.problem("Z014", message, at="coordinates")]
    if not geometry.is_valid:
        return None, [invalid(feature, shapely.is_valid_reason(geometry))]
    shapely.prepare(geometry)
    return geometry, []


def ring_problems(feature: Feature, polygons: Any, kind: str) -> Iterable[Problem]:
    """What is wrong with the numbers, ring after ring; at most one finding a ring."""
    if not isinstance(polygons, list) or not all(isinstance(p, list) and p for p in polygons):
        yield feature.problem("Z008", "the coordinates are not arrays of rings", at="coordinates")
        return
    for number, polygon in enumerate(polygons):
        for ring_number, ring in enumerate(polygon):
            at = f"coordinates[{ring_number}]" if kind == "Polygon" else f"coordinates[{number}][{ring_number}]"
            problem = ring_problem(feature, ring, at)
            if problem is not None:
                yield problem
                if problem.code == "Z008":
                    return  # the nesting is wrong: every ring would say so


def ring_problem(feature: Feature, ring: Any, at: str) -> Problem | None:
    if not isinstance(ring, list) or not all(is_position(point) for point in ring):
        hint = "a ring is an array of [lon, lat]"
        return feature.problem("Z008", "a ring holds something else than pairs of numbers", hint, at=at)
    if not ring:
        return feature.problem("Z012", "a ring is empty", at=at)
    if ring[0][:2] != ring[-1][:2]:
        hint = f"repeat the first position {ring[0][:2]} at its end"
        return feature.problem("Z009", "a ring is not closed: its last position is not its first", hint, at=at)
    if len(ring) < 4:
        hint = "three corners and the first again are the least"
        return feature.problem("Z008", f"a ring has {len(ring)} positions, too few for an area", hint, at=at)
    outside = [p for p in ring if not (-180 <= p[0] <= 180 and -90 <= p[1] <= 90)]
    if outside:
        if all(-90 <= p[0] <= 90 and -180 <= p[1] <= 180 for p in ring):
            message = f"the axes look swapped: {outside[0][:2]} is no lon, lat, but it is a lat, lon"
            return feature.problem("Z011", message, LON_FIRST, at=at)
        return feature.problem("Z010", f"{outside[0][:2]} is outside ±180, ±90 degrees", at=at)
    return None


def is_position(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) >= 2
        and all(isinstance(n, int | float) and not isinstance(n, bool) and isfinite(n) for n in point)
    )


def invalid(feature: Feature, reason: str) -> Problem:
    """GEOS says why and where: `Self-intersection[121.02 30.69]`."""
    what, _, where = reason.partition("[")
    place = f" at {where.rstrip(']').replace(' ', ', ')}" if where else ""
    if "hole" in what.lower() and "outside" in what.lower():
        hint = "make it a polygon of its own, or move it inside"
        return feature.problem("Z015", f"a hole lies outside its shell{place}", hint, at="coordinates")
    hint = "draw the outline again without crossing it, or split the zone in two"
    return feature.problem("Z013", f"the outline is not simple: {what.lower()}{place}", hint, at="coordinates")


# --------------------------------------------------------------------------------------------------- zones among zones


def without_repeats(found: Sequence[Written]) -> tuple[list[Written], list[Problem]]:
    first: dict[str, Written] = {}
    problems: list[Problem] = []
    for feature, zone in found:
        if zone.path in first:
            there = first[zone.path][0].place
            message = (
                f'the zone "{zone.path}" is already there, in {there.file} line {there.line}; this one is not used'
            )
            hint = "give one of them another id"
            problems.append(feature.problem("Z005", message, hint, at="id"))
        else:
            first[zone.path] = (feature, zone)
    return list(first.values()), problems


def without_swapped(found: Sequence[Written]) -> tuple[list[Written], list[Problem]]:
    """Leave out zones that lie far from the others and would lie among them with their axes exchanged."""
    swapped = set(swapped_among([(zone.geometry.centroid.x, zone.geometry.centroid.y) for _, zone in found]))
    message = "the axes look swapped: with lat and lon exchanged the zone would lie among the others"
    problems = [found[number][0].problem("Z011", message, LON_FIRST, at="coordinates") for number in sorted(swapped)]
    return [one for number, one in enumerate(found) if number not in swapped], problems


def unknown_areas(found: Sequence[Written]) -> Iterable[Problem]:
    areas = {zone.id for _, zone in found if zone.kind == AREA_KIND}
    for feature, zone in found:
        if areas and zone.area is not None and zone.area not in areas:
            message = f'the zone\'s area "{zone.area}" is not among the area/* zones'
            hint = "areas: " + ", ".join(sorted(areas)[:12])
            yield feature.problem("Z017", message, hint, severity="warning", at="area")
