"""What looks odd about zones that can be used: kinds nobody names, zones far away, slivers, files in GCJ-02.

All of it is looked for by `zhinao zones check` alone; a running city reads its zones without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from geo.distance import metres_per_degree
from geo.neighbours import far_groups
from geo.offset import Ground, Reading, judge_lines
from geo.zones import AREA_KIND, Written
from models.columns import F64
from models.problems import Place, Problem, in_order

KINDS = (AREA_KIND, "no-parking", "permit", "core", "market", "shopfront")  # what the shipped zones have
ALIKE = 0.75  # of 1: how alike two kinds are that may be meant for the same
NARROW_M = 0.5  # a positioning error of a metre makes nothing of it
POINT_EVERY_M, MOST_POINTS = 20.0, 8  # of a zone, held against the roads
MOST_OF_FILE = 512


def advise(found: Sequence[Written], kinds: Sequence[str], ground: Ground | None) -> list[Problem]:
    """Warnings and advice in order of places. `kinds` are the kinds that rules name, as patterns; with none it is not
    known which are used. `ground` knows the segments."""
    problems = [*unknown_kinds(found, kinds), *far_zones(found), *slivers(found)]
    if ground is not None and ground.registry.segments:
        problems += shifted_files(found, ground)
    return in_order(problems)


def unknown_kinds(found: Sequence[Written], kinds: Sequence[str]) -> Iterator[Problem]:
    """Each zone whose kind looks like a known one is a warning; a kind like none is advice, once."""
    known = [*dict.fromkeys((*KINDS, *kinds))]
    told: set[str] = set()
    for feature, zone in found:
        if any(fnmatchcase(zone.kind, pattern) for pattern in known):
            continue
        near = get_close_matches(zone.kind.lower().replace("_", "-"), [k for k in known if "*" not in k], 1, ALIKE)
        if near:
            message = f'no rule names the kind "{zone.kind}", so none watches the zone'
            yield feature.problem("Z019", message, f'did you mean "{near[0]}"?', severity="warning", at="kind")
        elif kinds and zone.kind not in told:
            told.add(zone.kind)
            message = f'no rule names the kind "{zone.kind}", so none watches its zones'
            hint = f"rules name {', '.join(sorted(kinds))}"
            yield feature.problem("Z019", message, hint, severity="advice", at="kind")


def far_zones(found: Sequence[Written]) -> Iterator[Problem]:
    """One warning for each group of zones far from the rest."""
    for group in far_groups([zone.geometry.bounds for _, zone in found]):
        feature, zone = found[group.members[0]]
        others = len(group.members) - 1
        who = f'the zone "{zone.path}"' if not others else f'the zone "{zone.path}" and {others} more'
        message = f"{who}: {group.away_m / 1000:.0f} km from all other zones"
        hint = "see whether a number was typed wrongly, or the zone is another city's"
        yield feature.problem("Z020", message, hint, severity="warning", at="coordinates")


def slivers(found: Sequence[Written]) -> Iterator[Problem]:
    for feature, zone in found:
        narrowest = min(width_m(part) for part in parts_of(zone.geometry))
        if narrowest < NARROW_M:
            message = f"the zone is {narrowest * 100:.0f} cm wide: hardly any position is ever inside"
            hint = "widen it, or take that part away"
            yield feature.problem("Z022", message, hint, severity="warning", at="coordinates")


def width_m(part: Polygon) -> float:
    """How wide a strip of its area and outline is: exact for long ones, half the side of a square."""
    per_lon, per_lat = metres_per_degree(part.centroid.y)
    flat = shapely.transform(part, lambda lonlat: lonlat * (per_lon, per_lat))
    return float(2 * flat.area / flat.length)


def parts_of(geometry: Polygon | MultiPolygon) -> list[Polygon]:
    return list(geometry.geoms) if isinstance(geometry, MultiPolygon) else [geometry]


def shifted_files(found: Sequence[Written], ground: Ground) -> Iterator[Problem]:
    """Files whose zones together lie on the known segments only when read as another system."""
    by_file: dict[str, list[F64]] = {}
    for feature, zone in found:
        if zone.kind != AREA_KIND:
            by_file.setdefault(feature.place.file, []).append(points_in(zone.geometry))
    for file, points in by_file.items():
        together = np.concatenate(points)
        lon, lat = together[:: len(together) // MOST_OF_FILE + 1].T.copy()
        judged = judge_lines(lon, lat, ground)
        if judged.reading in (Reading.GCJ02, Reading.BD09):
            off = f"{judged.off_m[Reading.WGS84]:.0f} m from the nearest segment as they are"
            message = (
                f"the zones look like {judged.reading}: {off}, {judged.off_m[judged.reading]:.0f} m when converted"
            )
            hint = "convert the file to WGS-84, unless it is the segments that are in another system"
            yield Problem(place=Place(file), code="Z021", message=message, hint=hint, severity="advice")


def points_in(geometry: Polygon | MultiPolygon) -> F64:
    """lon, lat of some points inside, evenly spread."""
    west, south, east, north = geometry.bounds
    per_lon, per_lat = metres_per_degree((south + north) / 2)
    step = max(POINT_EVERY_M, ((east - west) * per_lon + (north - south) * per_lat) / 100)
    lon, lat = np.meshgrid(np.arange(west, east, step / per_lon), np.arange(south, north, step / per_lat))
    inside = np.column_stack((lon.ravel(), lat.ravel()))[shapely.contains_xy(geometry, lon.ravel(), lat.ravel())]
    if not len(inside):
        inside = shapely.get_coordinates(geometry.representative_point())
    found: F64 = inside[:: -(-len(inside) // MOST_POINTS)]
    return found
