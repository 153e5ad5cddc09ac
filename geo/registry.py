"""What is installed and who serves: devices, road segments, units. Read from GeoJSON, checked, never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import PurePath
from typing import Any

import shapely
from shapely.geometry import LineString, MultiLineString, Point, shape

from geo.geojson import Codes, Feature, as_text, read_features
from geo.neighbours import far_groups, swapped_among
from geo.zones import AREA_KIND, LON_FIRST, Zone, is_position
from models.detections import Text
from models.problems import Place, Problem, in_order

DEFAULT_CAPACITY = 1  # orders a unit carries out at once, where its entry does not say

CODES = Codes(not_json="G001", not_a_collection="G002", not_a_feature="G003", no_id="G004", wrong_crs="G015")


@dataclass(frozen=True, slots=True)
class Device:
    """A camera, gauge or other sensor. `expected_every_s`: silence longer than some of these is a loss of data."""

    id: str
    kind: str
    area: str
    lon: float
    lat: float
    expected_every_s: float | None = None
    owner: str | None = None
    ptz_preset: float | None = None
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of road in one direction. `lon, lat` is the middle of its line."""

    id: str
    name: Text | None
    area: str
    road_class: str | None
    limit_kmh: float | None
    lanes: int | None
    downstream: tuple[str, ...]
    line: LineString | MultiLineString = field(hash=False)
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Unit:
    """Who can be sent; the position is where it stands when it does not tell."""

    id: str
    name: Text | None
    department: str
    skills: tuple[str, ...]
    area: str | None
    capacity: int
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Registry:
    """By id, in the order of the files."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=dict)


def read_registry(files: Sequence[tuple[str, bytes]], zones: Sequence[Zone] = ()) -> tuple[Registry, list[Problem]]:
    """Devices, segments and units of files called so; with zones, areas are checked against `area/*`."""
    found: dict[str, dict[str, tuple[Feature, Any]]] = {"devices": {}, "segments": {}, "units": {}}
    problems: list[Problem] = []
    for name, data in files:
        features, wrong = read_features(name, data, CODES)
        problems += wrong
        kind = PurePath(name).name.removesuffix(".geojson")
        if kind not in READERS:
            message = f'"{PurePath(name).name}" is none of devices.geojson, segments.geojson, units.geojson; not used'
            problems.append(Problem(place=Place(name), code="G005", message=message))
            continue
        for feature in features:
            entry, more = READERS[kind](feature)
            problems += more
            if entry is None:
                continue
            if entry.id in found[kind]:
                there = found[kind][entry.id][0].place
                message = f'"{entry.id}" is already there, in {there.file} line {there.line}; this one is not used'
                problems.append(feature.problem("G006", message, at="id"))
                continue
            found[kind][entry.id] = (feature, entry)
    problems += swapped_entries(found)
    problems += far_entries([e for entries in found.values() for e in entries.values()])
    problems += downstream_problems(found["segments"])
    problems += area_problems([e for entries in found.values() for e in entries.values()], zones)
    registry = Registry(*({identity: entry for identity, (_, entry) in found[kind].items()} for kind in found))
    return registry, in_order(problems)


class Entry:
    """The properties of one feature, read one by one; what is wrong collects in `problems`."""

    def __init__(self, feature: Feature) -> None:
        self.feature = feature
        self.problems: list[Problem] = []

    def wrong(self, code: str, message: str, at: str, hint: str | None = None) -> None:
        self.problems.append(self.feature.problem(code, message, hint, at=at))

    def text(self, name: str) -> str | None:
        value = self.feature.properties.get(name)
        if value is None or isinstance(value, str):
            return value or None
        self.wrong("G010", f"{name} is not text", name)
        return None

    def needed(self, name: str, why: str) -> str:
        value = self.text(name)
        if value is None and not any(p.path[-1] == name for p in self.problems):
            self.wrong("G009", f"{name} is missing: {why}", name)
        return value or ""

    def number(self, name: str, least: float | None = 0.0) -> float | None:
        value = self.feature.properties.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            self.wrong("G010", f"{name} is not a number", name)
        elif least is not None and value <= least:
            self.wrong("G010", f"{name} is {value}, not more than {least:g}", name)
        else:
            return float(value)
        return None

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        if value is None or value == int(value):
            return None if value is None else int(value)
        self.wrong("G010", f"{name} is {value}, not a whole number", name)
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.feature.properties.get(name)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.wrong("G010", f"{name} is not a list of texts", name)
        return ()

    def named(self) -> Text | None:
        value = self.feature.properties.get("name")
        name = as_text(value)
        if value is not None and name is None:
            self.wrong("G010", "name is not text", "name", 'write {"zh": "…", "en": "…"}')
        return name

    def point(self) -> tuple[float, float]:
        points = self.positions(("Point",))
        return points[0] if points else (0.0, 0.0)

    def positions(self, kinds: tuple[str, ...]) -> list[tuple[float, float]]:
        """All positions of the geometry, or none and a problem."""
        written = self.feature.geometry
        kind = written.get("type") if isinstance(written, dict) else None
        if kind not in kinds:
            self.wrong("G007", f"the geometry is {kind or 'none'}, not a {' or '.join(kinds)}", "geometry")
            return []
        coordinates = written.get("coordinates")
        nested: Any = {"Point": [[coordinates]], "LineString": [coordinates]}.get(kind, coordinates)
        least = 1 if kind == "Point" else 2
        if not isinstance(nested, list) or not nested or not all(is_line(line, least) for line in nested):
            self.wrong("G007", f"the {kind} has no usable coordinates", "coordinates", "an array of [lon, lat]")
            return []
        for line in nested:
            for lon, lat, *_ in line:
                if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                    swapped = -90 <= lon <= 90 and -180 <= lat <= 180
                    what = "looks like lat, lon: the axes are swapped" if swapped else "is outside ±180, ±90 degrees"
                    self.wrong("G008", f"[{lon}, {lat}] {what}", "coordinates", LON_FIRST if swapped else None)
                    return []
        return [(float(p[0]), float(p[1])) for line in nested for p in line]


def is_line(line: Any, least: int) -> bool:
    return isinstance(line, list) and len(line) >= least and all(map(is_position, line))


def read_device(feature: Feature) -> tuple[Device | None, list[Problem]]:
    entry = Entry(feature)
    lon, lat = entry.point()
    device = Device(
        id=str(feature.id),
        kind=entry.needed("kind", "what the device measures or sees"),
        area=entry.needed("area", "its records go to the area's partition"),
        lon=lon,
        lat=lat,
        expected_every_s=entry.number("expected_every_s"),
        owner=entry.text("owner"),
        ptz_preset=entry.number("ptz_preset", least=None),
        gateway=entry.text("gateway"),
    )
    return (None if entry.problems else device), entry.problems


def read_segment(feature: Feature) -> tuple[Segment | None, list[Problem]]:
    entry = Entry(feature)
    usable = bool(entry.positions(("LineString", "MultiLineString")))
    line = shapely.force_2d(shape(feature.geometry)) if usable else LineString()
    assert isinstance(line, LineString | MultiLineString)
    middle = line.interpolate(0.5, normalized=True) if usable else Point(0, 0)
    segment = Segment(
        id=str(feature.id),
        name=entry.named(),
        area=entry.needed("area", "its records go to the area's partition"),
        road_class=entry.text("road_class"),
        limit_kmh=entry.number("limit_kmh"),
        lanes=entry.whole("lanes"),
        downstream=entry.texts("downstream"),
        line=line,
        lon=middle.x,
        lat=middle.y,
    )
    return (None if entry.problems else segment), entry.problems


def read_unit(feature: Feature) -> tuple[Unit | None, list[Problem]]:
    entry = Entry(feature)
    lon, lat = entry.point()
    department = entry.text("department")
    if department is None and not entry.problems:
        entry.wrong("G014", "the unit has no department, so nothing can be dispatched to it", "department")
    unit = Unit(
        id=str(feature.id),
        name=entry.named(),
        department=department or "",
        skills=entry.texts("skills"),
        area=entry.text("area"),
        capacity=entry.whole("capacity") or DEFAULT_CAPACITY,
        lon=lon,
        lat=lat,
    )
    return (None if entry.problems else unit), entry.problems


READERS: dict[str, Callable[[Feature], tuple[Any, list[Problem]]]] = {
    "devices": read_device,
    "segments": read_segment,
    "units": read_unit,
}


# ------------------------------------------------------------------------------------------------ entries among entries


def swapped_entries(found: Mapping[str, dict[str, tuple[Feature, Any]]]) -> list[Problem]:
    """Take out entries that would lie among the others with their axes exchanged."""
    entries = [(kind, name) for kind, named in found.items() for name in named]
    places = [found[kind][name][1] for kind, name in entries]
    problems: list[Problem] = []
    for number in swapped_among([(entry.lon, entry.lat) for entry in places]):
        kind, name = entries[number]
        feature, entry = found[kind].pop(name)
        message = f"[{entry.lon:g}, {entry.lat:g}] looks like lat, lon: exchanged it would lie among the others"
        problems.append(feature.problem("G008", message, LON_FIRST, at="coordinates"))
    return problems


def far_entries(entries: Sequence[tuple[Feature, Any]]) -> list[Problem]:
    """One warning for each group of entries far from the rest."""
    boxes = [(entry.lon, entry.lat, entry.lon, entry.lat) for _, entry in entries]
    problems: list[Problem] = []
    for group in far_groups(boxes):
        feature, entry = entries[group.members[0]]
        others = len(group.members) - 1
        who = f'"{entry.id}"' if not others else f'"{entry.id}" and {others} more'
        message = f"{who}: {group.away_m / 1000:.0f} km from all other entries"
        hint = "see whether a number was typed wrongly, or the entry is another city's"
        problems.append(feature.problem("G016", message, hint, severity="warning", at="coordinates"))
    return problems


def downstream_problems(segments: Mapping[str, tuple[Feature, Segment]]) -> list[Problem]:
    return [
        feature.problem("G011", f'downstream names "{name}", which is no segment', at="downstream")
        for feature, segment in segments.values()
        for name in segment.downstream
        if name not in segments
    ]


def area_problems(entries: Sequence[tuple[Feature, Any]], zones: Sequence[Zone]) -> list[Problem]:
    """Areas that do not exist are errors; an entry outside its area may be a slip of the survey: a warning."""
    areas = {zone.id: zone for zone in zones if zone.kind == AREA_KIND}
    problems: list[Problem] = []
    for feature, entry in entries:
        if not areas or entry.area is None:
            continue
        if entry.area not in areas:
            hint = "areas: " + ", ".join(sorted(areas)[:12])
            problems.append(feature.problem("G012", f'the area "{entry.area}" is not an area/* zone', hint, at="area"))
        elif not shapely.intersects_xy(areas[entry.area].geometry, entry.lon, entry.lat):
            message = f'"{entry.id}" lies outside its area "{entry.area}"'
            problems.append(feature.problem("G013", message, severity="warning", at="coordinates"))
    return problems
