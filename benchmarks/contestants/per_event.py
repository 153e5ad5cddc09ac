"""The job as one writes it in a `map`: one event, its zones by STRtree and prepared polygons, a dict of who stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import shapely

from benchmarks.contestants.scoring import SLOW_MPS, Raised, meta

PARKED = "no-parking/"
Since = dict[str, tuple[int, bool]]
"""One vehicle's no-parking zones: since when it stands in each, and whether that was told."""


class Seen(NamedTuple):
    track: str
    speed: float
    time_ms: int
    parked_in: list[str]


class Zones:
    def __init__(self, folder: Path) -> None:
        features = json.loads((folder / "zones.geojson").read_text())["features"]
        self.paths = [f"{f['properties']['kind']}/{f['id']}" for f in features]
        self.shapes = shapely.from_geojson([json.dumps(f["geometry"]) for f in features])
        shapely.prepare(self.shapes)
        self.tree = shapely.STRtree(self.shapes)

    def at(self, lon: float, lat: float) -> list[str]:
        return [self.paths[n] for n in self.tree.query(shapely.Point(lon, lat), predicate="intersects")]


class Tagger:
    """Decodes an event and finds its zones; counts what it found."""

    def __init__(self, find: Callable[[float, float], list[str]], loads: Callable[[bytes], Any], slow: bool) -> None:
        self.find, self.loads, self.slow_only, self.memberships = find, loads, slow, 0

    @classmethod
    def usual(cls, folder: Path, filter_first: bool) -> Tagger:
        return cls(Zones(folder).at, orjson.loads, filter_first)

    def __call__(self, line: bytes) -> Seen:
        event = self.loads(line)
        zones: list[str] = []
        if not self.slow_only or event["speed"] < SLOW_MPS:
            zones = self.find(event["lon"], event["lat"])
            self.memberships += len(zones)
        return Seen(event["track"], event["speed"], event["ts"], [z for z in zones if z.startswith(PARKED)])

    @property
    def counted(self) -> int | None:
        """For the report: null where not every event was looked up."""
        return None if self.slow_only else self.memberships


class Rule:
    def __init__(self, folder: Path) -> None:
        self.for_ms = int(meta(folder)["park_s"]) * 1000

    def step(self, since: Since | None, seen: Seen) -> tuple[Since | None, list[Raised]]:
        """The vehicle's state after an event (None: it stands nowhere) and what is to be told."""
        if seen.speed >= SLOW_MPS or not seen.parked_in:
            return None, []
        stands: Since = {}
        raised = []
        for zone in seen.parked_in:
            start_ms, told = (since or {}).get(zone, (seen.time_ms, False))
            if not told and seen.time_ms - start_ms >= self.for_ms:
                told = True
                raised.append(Raised(seen.track, zone, start_ms, seen.time_ms))
            stands[zone] = (start_ms, told)
        return stands, raised
