"""One workload for every detector: 1,000 zones, vehicles that drive and stop, and the episodes that are true.

    python -m benchmarks.parking [--events 200000] [--zones 1000] [--tracks 1000] [--disorder 0]

The rule: a vehicle reports under 1 m/s inside one no-parking zone for `park_s` seconds without a break; told once for
each zone, at the sample that reaches it. Any sample at 1 m/s or more, or outside the zone, is a break.

The truth needs no detector: every stop is scripted. A vehicle drives straight through a chosen place (the city's border
turns it back), stands there for so many seconds and drives on. The place is at least a metre from every no-parking
border and the position wanders by less than half of that; who stands reports under 0.7 m/s, who drives over 1.8 m/s.
Beside true episodes there are stops too short (some by one sample), stops outside any zone and inside a hole, crawling
at 2 m/s, and two stops in one place with a break of 4 to 8 s, which are two episodes or none.

Each vehicle is seen once a second. Fifty follow one camera network and share its moment, so that a message of fifty is
one camera's frame; in the single-object form, where camera and time must name a message, each has a camera of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

CACHE = Path(__file__).resolve().parent.parent / ".benchmarks"
LON, LAT = 121.0, 30.65
M_LAT = 111_320.0
M_LON = M_LAT * math.cos(math.radians(LAT))
T0_MS = 1_772_406_000_000
PER_CAMERA = 50
STEP = 1_000
"""Memberships are counted up to every so many events, so that a shorter run can be checked too."""
WANDER_M, MARGIN_M = 0.3, 1.0
LATE_MS = 1_999
PARKED = "no-parking"
KINDS = (PARKED,) * 11 + ("bus-lane",) * 4 + ("pedestrian",) * 4 + ("district",)
CLASSES = ("car", "car", "car", "car", "truck", "bus", "motorcycle", "bicycle")
PLANS = {"park": 0.2, "twice": 0.06, "short": 0.16, "outside": 0.16, "hole": 0.04, "crawl": 0.06}
SHAPES = ("events", "single", "frames", "columnar")

RULE = """\
version: 1
defaults:
  lateness: {{camera.tracks: 2s}}
rules:
  - id: {name}
    revision: 1
    name: {{zh: 违停, en: Illegal parking}}
    owner: {{department: traffic-police, contact: bench}}
    status: active
    type: {{code: "0505", severity: minor}}
    from: [camera.tracks]
    where: {where}
    zones: {{in: ["no-parking/*"]}}
    by: [sensor_id, track_id, zone]
    detect:
      dwell: {{for: {park_s}s, max_move: 10m, max_gap: 1500ms, min_points: 2}}
    close: {{absent_for: 2s}}
    message: {{zh: "{{zone.name}} 违停", en: "Parked in {{zone.name}}"}}
"""
"""`max_gap` and `absent_for` are a little above the second between samples: a break of 3 s ends a run, as it does for
contestants that reset on the first moving sample."""


@dataclass(frozen=True, slots=True)
class Parking:
    """What decides the workload; equal parameters give equal bytes."""

    events: int = 200_000
    zones: int = 1_000
    tracks: int = 1_000
    park_s: int = 30
    depth: float = 0.7
    disorder: float = 0.0
    seed: int = 7

    @property
    def seconds(self) -> int:
        return self.events // self.tracks

    def folder(self) -> Path:
        """Where it is; made on first need. Another version of this file makes another folder."""
        if self.events % self.tracks or self.tracks % PER_CAMERA:
            raise ValueError("events must be a multiple of tracks, and tracks of a camera's fifty")
        made_by = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=4).hexdigest()
        parameters = "-".join(map(str, asdict(self).values()))
        folder = CACHE / f"parking-{made_by}" / parameters
        if not (folder / "meta.json").exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            for old in CACHE.glob("parking-*"):
                if old != folder.parent:
                    shutil.rmtree(old, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                write(self, Path(scratch) / "made")
                try:
                    (Path(scratch) / "made").replace(folder)
                except OSError:  # another process was faster
                    if not (folder / "meta.json").exists():
                        raise
        return folder


@dataclass(frozen=True, slots=True)
class Zones:
    """`shapes` in metres from the city's corner; `rings[n]` in degrees as written."""

    kinds: list[str]
    ids: list[str]
    shapes: Any
    side_m: float

    def features(self) -> list[dict[str, Any]]:
        rounded = []
        for number, shape in enumerate(self.shapes):
            rings = [in_degrees(np.asarray(ring.coords)).tolist() for ring in (shape.exterior, *shape.interiors)]
            properties = {"kind": self.kinds[number], "area": "bench"}
            geometry = {"type": "Polygon", "coordinates": rings}
            rounded.append({"type": "Feature", "id": self.ids[number], "properties": properties, "geometry": geometry})
        return rounded


def in_degrees(xy: Any, places: int = 7) -> Any:
    return np.round(xy / (M_LON, M_LAT) + (LON, LAT), places)


def make_zones(workload: Parking) -> Zones:
    """Stars of 4 to 60 corners, some with a hole, in a square in which a point is in `depth` of them on average."""
    random = np.random.default_rng(workload.seed)
    kinds = [KINDS[n % len(KINDS)] for n in range(workload.zones)]
    stars: list[list[Any]] = []
    for kind in kinds:
        wide = random.uniform(300, 800) if kind == "district" else random.lognormal(math.log(70), 0.5)
        radius = wide if kind == "district" else min(400.0, max(25.0, wide))
        holed = radius > 60 and random.random() < 0.1
        corners = int(random.integers(12 if holed or radius > 150 else 4, 61))
        rings = [star(random, radius, corners)]
        if holed:
            rings.append(star(random, radius * 0.25, int(random.integers(4, 11)))[::-1])
        stars.append(rings)
    area = shapely.area(shapely.polygons([shapely.linearrings(rings[0]) for rings in stars])).sum()
    side = math.sqrt(area / (workload.depth - min(0.17, 0.17 * workload.depth)))  # who stops is in more zones
    shapes = []
    for rings in stars:
        reach = min(np.abs(rings[0]).max(), side / 2)
        centre = random.uniform(reach, side - reach, 2) if side > 2 * reach else np.full(2, side / 2)
        shapes.append(shapely.Polygon(rings[0] + centre, [ring + centre for ring in rings[1:]]))
    return Zones(kinds, [f"z{n:04d}" for n in range(workload.zones)], np.array(shapes, dtype=object), side)


def star(random: Any, radius: float, corners: int) -> Any:
    turn = random.random() + (np.arange(corners) + random.uniform(-0.175, 0.175, corners)) / corners
    reach = radius * random.uniform(0.65, 1.35, corners)
    return np.column_stack((np.cos(2 * np.pi * turn) * reach, np.sin(2 * np.pi * turn) * reach))


class Places:
    """Chooses where to stop: never near the border of a no-parking zone."""

    def __init__(self, random: Any, zones: Zones) -> None:
        self.random, self.side = random, zones.side_m
        at = [n for n, kind in enumerate(zones.kinds) if kind == PARKED]
        self.paths = [f"{PARKED}/{zones.ids[n]}" for n in at]
        self.shapes = zones.shapes[at]
        shapely.prepare(self.shapes)
        self.tree, self.borders = shapely.STRtree(self.shapes), shapely.STRtree(shapely.boundary(self.shapes))
        self.holes = [shapely.Polygon(hole) for shape in self.shapes for hole in shape.interiors]

    def pick(self, where: str) -> tuple[float, float, list[str]] | None:
        """A place of this sort and the zones there; None where the city seems to have none."""
        among = {"zone": self.shapes, "hole": self.holes}.get(where)
        if among is not None and len(among) == 0:
            return None
        for _ in range(200):
            low_x, low_y, high_x, high_y = 0.0, 0.0, self.side, self.side
            if among is not None:
                low_x, low_y, high_x, high_y = among[int(self.random.integers(len(among)))].bounds
            x, y = self.random.uniform(low_x, high_x), self.random.uniform(low_y, high_y)
            point = shapely.Point(x, y)
            if not (0 <= x <= self.side and 0 <= y <= self.side):
                continue
            if len(self.borders.query(point, predicate="dwithin", distance=MARGIN_M)):
                continue
            found = [self.paths[n] for n in self.tree.query(point, predicate="within")]
            in_hole = where != "hole" or any(hole.contains(point) for hole in self.holes)
            if (where == "zone") == bool(found) and in_hole:
                return x, y, found
        return None


@dataclass(slots=True)
class Life:
    """One vehicle from its first second to its last: a row a second, and the runs in which it stands in zones."""

    xy: Any
    speed: Any
    runs: list[tuple[int, int]]
    zones: list[str]


def make_life(random: Any, places: Places, seconds: int, park_s: int) -> Life:
    plan = str(random.choice([*PLANS, "drive"], p=[*PLANS.values(), 1 - sum(PLANS.values())]))
    where = {"outside": "outside", "hole": "hole", "drive": "drive"}.get(plan, "zone")
    place = places.pick(where) if where != "drive" and seconds >= 4 * park_s else None
    cruise, heading = random.uniform(4, 16), random.uniform(0, 2 * np.pi)
    second = np.arange(seconds)
    driving = np.maximum(1.9, cruise + random.normal(0, 0.5, seconds))
    if place is None:
        x, y = random.uniform(0, places.side, 2)
        return Life(drive(x, y, heading, cruise * second, places.side), driving, [], [])
    x, y, zones = place
    begin, runs = int(random.integers(3, max(4, seconds // 4))), []
    for _ in range(2 if plan == "twice" else 1):
        runs.append((begin, begin + stay(random, plan, park_s)))
        begin = runs[-1][1] + int(random.integers(4, 9))
    (first, _), (_, last) = runs[0], runs[-1]
    along = np.where(second < first, second - first, np.maximum(0, second - last + 1)) * cruise
    xy = drive(x, y, heading, along, places.side)
    rests = (second >= first) & (second < last)
    xy[rests] += random.uniform(-WANDER_M, WANDER_M, (seconds, 2))[rests]
    speed = np.where(rests, random.uniform(2, 3, seconds), driving)
    if plan == "crawl":
        return Life(xy, speed, [], [])
    for start, end in runs:
        speed[start:end] = random.uniform(0, 0.65, seconds)[start:end]
    return Life(xy, speed, [(start, min(end, seconds)) for start, end in runs], zones)


def stay(random: Any, plan: str, park_s: int) -> int:
    """How many samples a stop has; one more than the seconds of the rule are just enough."""
    on_the_edge = random.random() < 0.2
    if plan == "short":
        return park_s if on_the_edge else int(random.integers(2, park_s))
    return park_s + 1 if on_the_edge else int(random.integers(park_s + 2, 3 * park_s))


def drive(x: float, y: float, heading: float, along: Any, side: float) -> Any:
    """Straight on, turned back at the city's border like light by a mirror."""
    xy = np.array([x, y]) + along[:, None] * [math.cos(heading), math.sin(heading)]
    return side - np.abs(xy % (2 * side) - side)


@dataclass(slots=True)
class City:
    """All that is seen, a row an event in order of time: row = second × tracks + vehicle."""

    serial: Any
    kind: Any
    lonlat: Any
    speed: Any
    time_ms: Any
    truth: list[dict[str, Any]]


def make_city(workload: Parking, zones: Zones) -> City:
    random = np.random.default_rng(workload.seed + 1)
    places = Places(random, zones)
    seconds, tracks = workload.seconds, workload.tracks
    xy, speed = np.empty((seconds, tracks, 2)), np.empty((seconds, tracks))
    serial, kind = np.empty((seconds, tracks), np.int64), np.empty((seconds, tracks), np.int64)
    phase = np.repeat(np.sort(random.integers(0, 1000, tracks // PER_CAMERA)), PER_CAMERA)
    time_ms = T0_MS + 1000 * np.arange(seconds)[:, None] + phase
    truth, vehicles = [], 0
    for slot in range(tracks):
        begin = 0
        while begin < seconds:
            end = min(seconds, begin + int(random.integers(60, 401)))
            life = make_life(random, places, end - begin, workload.park_s)
            xy[begin:end, slot], speed[begin:end, slot] = life.xy, life.speed
            serial[begin:end, slot], kind[begin:end, slot] = vehicles, random.integers(len(CLASSES))
            for since, until in life.runs:
                if until - since > workload.park_s:
                    start, fire = begin + since, begin + since + workload.park_s
                    when = {"start_ms": int(time_ms[start, slot]), "fire_ms": int(time_ms[fire, slot])}
                    row = {"track": track_id(vehicles), **when, "event": fire * tracks + slot}
                    truth += [{**row, "zone": zone} for zone in life.zones]
            vehicles, begin = vehicles + 1, end
    truth.sort(key=lambda row: (row["event"], row["zone"]))
    lonlat = in_degrees(xy.reshape(-1, 2), 6)
    return City(serial.ravel(), kind.ravel(), lonlat, np.round(speed.ravel(), 2), time_ms.ravel(), truth)


def track_id(serial: int) -> str:
    return f"t-{serial:06d}"


def memberships(zones: list[dict[str, Any]], lonlat: Any) -> Any:
    """How many (event, zone) pairs there are up to each STEP of events, by shapely alone."""
    shapes = shapely.from_geojson([json.dumps(feature["geometry"]) for feature in zones])
    shapely.prepare(shapes)
    found = np.zeros(len(lonlat), np.int64)
    tree = shapely.STRtree(shapes)
    for start in range(0, len(lonlat), 50_000):
        points = shapely.points(lonlat[start : start + 50_000])
        row, zone = tree.query(points)
        row = row[shapely.intersects_xy(shapes[zone], shapely.get_x(points[row]), shapely.get_y(points[row]))]
        found[start : start + len(points)] = np.bincount(row, minlength=len(points))
    return np.cumsum(found)[STEP - 1 :: STEP]


class Texts:
    """The same rows in each form on the wire; all of the rows at once for the flat and the single form."""

    def __init__(self, city: City, tracks: int) -> None:
        random = np.random.default_rng(1)
        self.tracks, count = tracks, len(city.speed)
        self.cells = list(
            zip(
                [track_id(n) for n in city.serial.tolist()],
                [CLASSES[n] for n in city.kind.tolist()],
                *city.lonlat.T.tolist(),
                city.speed.tolist(),
                city.time_ms.tolist(),
                np.round(random.uniform(0.5, 1, count), 3).tolist(),
                strict=True,
            )
        )

    def events(self) -> Iterator[str]:
        for row, (track, kind, lon, lat, speed, at, sure) in enumerate(self.cells):
            yield (
                f'{{"source":"cam-{row % self.tracks:04d}","track":"{track}","type":"{kind}",'
                f'"lon":{lon},"lat":{lat},"speed":{speed},"ts":{at},"conf":{sure}}}\n'
            )

    @staticmethod
    def seen(cell: tuple[Any, ...]) -> str:
        track, kind, lon, lat, speed, _, sure = cell
        return (
            f'{{"track_id":"{track}","class":"{kind}","lon":{lon},"lat":{lat},"confidence":{sure},"speed_mps":{speed}}}'
        )

    def single(self) -> Iterator[str]:
        for row, cell in enumerate(self.cells):
            head = f'{{"sensor_id":"cam-{row % self.tracks:04d}","frame_time":{cell[5]},"objects":['
            yield f"{head}{self.seen(cell)}]}}\n"

    def groups(self) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        for row in range(0, len(self.cells), PER_CAMERA):
            head = f'{{"sensor_id":"net-{row % self.tracks // PER_CAMERA:04d}","frame_time":{self.cells[row][5]},'
            yield head, self.cells[row : row + PER_CAMERA]

    def frames(self) -> Iterator[str]:
        for head, cells in self.groups():
            yield f'{head}"objects":[{",".join(map(self.seen, cells))}]}}\n'

    def columnar(self) -> Iterator[str]:
        names = ("track_id", "class", "lon", "lat", "speed_mps", "", "confidence")
        for head, cells in self.groups():
            columns = {name: column for name, column in zip(names, zip(*cells, strict=True), strict=True) if name}
            yield f'{head}"columns":{json.dumps(columns, separators=(",", ":"))}}}\n'


def arrival(lines: Iterable[str], city: City, each: int, workload: Parking) -> list[str]:
    """Lines in the order in which they arrive: a share of them up to 2 s late."""
    found = list(lines)
    if not workload.disorder:
        return found
    random = np.random.default_rng(workload.seed + 2)
    delay = np.where(random.random(len(found)) < workload.disorder, random.integers(0, LATE_MS, len(found)), 0)
    order = np.argsort(city.time_ms[::each] + delay, kind="stable")
    return [found[n] for n in order.tolist()]


def write(workload: Parking, folder: Path) -> None:
    folder.mkdir()
    zones = make_zones(workload)
    features = zones.features()
    city = make_city(workload, zones)
    lines = ",\n".join(map(json.dumps, features))
    (folder / "zones.geojson").write_text(f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n')
    rule = RULE.format(name="illegal-parking", where="speed_mps < 1", park_s=workload.park_s)
    (folder / "rules.yaml").write_text(rule)
    (folder / "truth.json").write_text(json.dumps(city.truth))
    texts, sizes = Texts(city, workload.tracks), {}
    for shape in SHAPES:
        each = PER_CAMERA if shape in ("frames", "columnar") else 1
        file = folder / f"{shape}.jsonl"
        file.write_text("".join(arrival(getattr(texts, shape)(), city, each, workload)))
        sizes[shape] = round(file.stat().st_size / workload.events, 1)
    counted = memberships(features, city.lonlat).tolist()
    rings = [len(ring) - 1 for feature in features for ring in feature["geometry"]["coordinates"]]
    meta = {
        **asdict(workload),
        "episodes": len(city.truth),
        "vehicles": int(city.serial.max()) + 1,
        "corners": sum(rings),
        "holes": len(rings) - len(features),
        "side_m": round(zones.side_m),
        "slow_share": round(float((city.speed < 1).mean()), 4),
        "bytes_per_event": sizes,
        "memberships_per_event": round(counted[-1] / (len(counted) * STEP), 3) if counted else None,
        "memberships": counted,
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    plain = Parking()
    for name in ("events", "zones", "tracks", "park_s", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(plain, name))
    for name in ("depth", "disorder"):
        parser.add_argument(f"--{name}", type=float, default=getattr(plain, name))
    folder = Parking(**vars(parser.parse_args())).folder()
    meta = json.loads((folder / "meta.json").read_text())
    print(json.dumps({"folder": str(folder), **{name: meta[name] for name in meta if name != "memberships"}}))


if __name__ == "__main__":
    main()
