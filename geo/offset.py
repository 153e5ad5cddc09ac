"""Which system of coordinates a feed is really in: the one it declares, another one, axes swapped, or none.

Each reading of a feed (a hypothesis) puts its positions somewhere. Two things are known to lie where they should:

- **What is registered.** A sensor's positions lie at its registered place, a camera's objects within its view of it.
- **Roads.** What moves is on a road most of the time. How much that says is measured, not assumed: the same track is
  laid over the map at some thousand other places too. A reading speaks for itself as far as few of these fit as well;
  where roads are so dense, or the track so plain, that many do, it says nothing. So what never drives on a known road
  is named wrongly no more often than a track thrown down anywhere would be.

The readings' odds are multiplied, and one is told only where little doubt is left (SURE); else nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, hypot, log, pi

import numpy as np
import shapely
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from geo.atlas import DEFAULT_MARGIN_KM, Bounds, bounds_of
from geo.crs import LocalGrid, in_china, to_wgs84
from geo.feeds import Feed, Sample
from geo.registry import Device, Registry, Unit
from geo.roads import Roads, in_metres
from geo.zones import AREA_KIND, Zone
from models.columns import F64, I64, Mask

SURE = 0.95
FEWEST = 8  # positions of a feed before anything is said of it
FEWEST_SPOTS = 12  # different places of a track before roads say anything of it
MOST_SPOTS = 96
SPOT_M = 30.0  # two positions nearer than this tell the same of roads
APART_M = 60.0  # readings nearer to each other cannot be told apart: WGS-84 and GCJ-02 abroad
SWAPPED_SHARE = 0.5  # of a feed's positions, beyond which its axes are swapped rather than some records broken

ON_ROAD_M = 20.0  # how far from a line GPS and the width of a road still put what drives on it
GOOD_FIT = 0.5  # of 1: what a track on known roads has left after noise, yards and a tenth of nonsense
ELSEWHERE = 0.2  # how likely a feed is not about roads at all
ELSEWHERE_CAMERA = 0.5  # the same for a camera: many look at squares and pavements
THROW_M, THROW_STEP_M = 1400.0, 70.0  # how far and how densely a track is laid down elsewhere for comparison
ALIKE = 0.03  # a fit this much worse is as good

SENSOR_M = 30.0  # how far a sensor's positions lie from its registered place
VIEW_M, FAR_VIEW_M, FAR_VIEW_SHARE = 70.0, 400.0, 0.05  # the same for the middle of what a camera sees
ANYWHERE_M = 2500.0  # an offset of a feed's own may lead anywhere within this
ROAMING_M = 250.0  # median distance from the middle, beyond which a registered source is not where it is registered


class Reading(StrEnum):
    """How a feed's positions can be meant. The first three are systems by the contract's names."""

    WGS84 = "wgs84"
    GCJ02 = "gcj02"
    BD09 = "bd09"
    SWAPPED = "swapped_axes"
    OFFSET = "own_offset"


CAMERAS = ("camera.tracks", "camera.events")
SYSTEMS = (Reading.WGS84, Reading.GCJ02, Reading.BD09)
AS_DECLARED = 0.86  # before anything is seen; the others share the rest
PRIOR = {Reading.WGS84: 0.04, Reading.GCJ02: 0.04, Reading.BD09: 0.04, Reading.OFFSET: 0.02}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of one feed. `reading` is None where too little speaks for any.

    `off_m` is the median distance to what is known under each reading: to the registered place, else to the nearest
    known road (at most roads.FAR_M). `shift_m` is how far east and north an offset of its own leads.
    """

    feed: Feed
    reading: Reading | None
    confidence: float
    seen: int
    measured: str
    off_m: Mapping[Reading, float]
    shift_m: tuple[float, float] | None = None

    @property
    def fits(self) -> bool:
        """False only where it is known not to fit."""
        return self.reading is None or self.reading == declared_reading(self.feed)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the city knows of places, ready to be asked."""

    grid: LocalGrid
    roads: Roads
    registry: Registry
    bounds: Bounds

    @classmethod
    def of(
        cls, zones: Sequence[Zone], registry: Registry | None, margin_km: float = DEFAULT_MARGIN_KM
    ) -> Ground | None:
        """None where nothing is known. Roads are the segments' lines; without any, the zones that are no areas stand in
        for them. Beyond everything known, and `margin_km` more, nothing can be."""
        known = registry or Registry()
        lines: list[BaseGeometry] = [segment.line for segment in known.segments.values()]
        if not lines:
            lines = [zone.geometry for zone in zones if zone.kind != AREA_KIND]
        placed: list[Device | Unit] = [*known.devices.values(), *known.units.values()]
        everything = [*lines, *(Point(entry.lon, entry.lat) for entry in placed), *(zone.geometry for zone in zones)]
        if not everything:
            return None
        west, south, east, north = shapely.total_bounds(everything).tolist()
        grid = LocalGrid((west + east) / 2, (south + north) / 2)
        return cls(grid, Roads(lines, grid), known, bounds_of(everything, margin_km))


def judge(feed: Feed, sample: Sample, ground: Ground) -> Judgement:
    """What one feed is in; the same for the same positions in any order."""
    lon, lat = sample.positions()
    share = swapped_share(feed.declared, lon, lat, ground.bounds)
    if len(lon) >= FEWEST and share >= SWAPPED_SHARE:
        return Judgement(feed, Reading.SWAPPED, share, sample.seen, "the bounds", {})
    sound = on_earth(lon, lat)
    lon, lat = lon[sound], lat[sound]
    if len(lon) < FEWEST:
        return Judgement(feed, None, 0.0, sample.seen, "nothing", {})
    return weighed(feed, sample.seen, readings_of(feed.declared, lon, lat, ground.grid), ground)


def declared_reading(feed: Feed) -> Reading:
    return Reading.WGS84 if feed.declared == "cgcs2000" else Reading(feed.declared)


def judge_lines(lon: F64, lat: F64, ground: Ground) -> Judgement:
    """The same for places said to be WGS-84 that lie along roads, a zone file's."""
    return weighed(Feed("zones", "", "wgs84"), len(lon), readings_of("wgs84", lon, lat, ground.grid), ground)


# ------------------------------------------------------------------------------------------------------------ readings

Metres = tuple[F64, F64]
"""East and north in the city's grid."""


def swapped_share(declared: str, lon: F64, lat: F64, bounds: Bounds) -> float:
    """Of all positions, those that make sense only with their axes exchanged."""
    if not len(lon):
        return 0.0
    return float((within(declared, lat, lon, bounds) & ~within(declared, lon, lat, bounds)).mean())


def within(declared: str, lon: F64, lat: F64, bounds: Bounds) -> Mask:
    """Which positions lie in the bounds."""
    found = on_earth(lon, lat)
    found[found] = bounds.hold(*to_wgs84(declared, lon[found], lat[found]))
    return found


def on_earth(lon: F64, lat: F64) -> Mask:
    found: Mask = (np.abs(lon) <= 180) & (np.abs(lat) <= 90)
    return found


def readings_of(declared: str, lon: F64, lat: F64, grid: LocalGrid) -> dict[Reading, Metres]:
    """Where the positions are under each system that makes a difference, the declared one first."""
    own = Reading.WGS84 if declared == "cgcs2000" else Reading(declared)
    found = {own: grid.metres(*to_wgs84(own, lon, lat))}
    if not in_china(np.median(lon, keepdims=True), np.median(lat, keepdims=True)).all():
        return found
    for system in SYSTEMS:
        if system not in found:
            there = grid.metres(*to_wgs84(system, lon, lat))
            if min(apart(there, other) for other in found.values()) > APART_M:
                found[system] = there
    return found


def apart(a: Metres, b: Metres) -> float:
    return float(np.hypot(np.median(a[0] - b[0]), np.median(a[1] - b[1])))


# ------------------------------------------------------------------------------------------------------------- weighing


def weighed(feed: Feed, seen: int, readings: Mapping[Reading, Metres], ground: Ground) -> Judgement:
    """The odds of all readings together."""
    own = declared_reading(feed)
    odds = {reading: log(AS_DECLARED if reading == own else PRIOR[reading]) for reading in readings}
    anchor = registered_as(feed, ground)
    fixed = anchor is not None and not roaming(readings[own])
    shift = None
    if anchor is not None and fixed:
        measured, off_m = "its registered place", {r: hypot(*way(anchor, there)) for r, there in readings.items()}
        spread = camera_density if feed.topic in CAMERAS else sensor_density
        for reading, metres in off_m.items():
            odds[reading] += log(spread(metres) / ANYWHERE + LEAST_DENSITY)
        odds[Reading.OFFSET] = log(PRIOR[Reading.OFFSET])
        shift = way(anchor, readings[own])
    else:
        measured, off_m = "the nearest road", {r: median_to_road(there, ground.roads) for r, there in readings.items()}
    if not fixed or feed.topic in CAMERAS:
        elsewhere = ELSEWHERE_CAMERA if fixed else ELSEWHERE
        for reading, said in road_odds(readings, own, ground.roads, elsewhere).items():
            odds[reading] += said
    best, confidence = likeliest(odds)
    if confidence < SURE:
        return Judgement(feed, None, confidence, seen, measured, off_m)
    return Judgement(feed, best, confidence, seen, measured, off_m, shift if best == Reading.OFFSET else None)


def likeliest(odds: Mapping[Reading, float]) -> tuple[Reading, float]:
    """The reading with the greatest share of all, and that share."""
    most = max(odds.values())
    shares = {reading: exp(said - most) for reading, said in odds.items()}
    best = max(shares, key=lambda reading: shares[reading])
    return best, shares[best] / sum(shares.values())


# ----------------------------------------------------------------------------------------------- what is registered


def registered_as(feed: Feed, ground: Ground) -> BaseGeometry | None:
    """Where the feed's source is registered, in metres: a device's point, a segment's line; None where it is not."""
    if feed.topic == "traffic.measurements":
        segment = ground.registry.segments.get(feed.source)
        return None if segment is None else in_metres(segment.line, ground.grid)
    device = ground.registry.devices.get(feed.source)
    return None if device is None else in_metres(Point(device.lon, device.lat), ground.grid)


def way(anchor: BaseGeometry, there: Metres) -> tuple[float, float]:
    """How far east and north of its anchor a feed's middle lies."""
    line = shapely.shortest_line(anchor, Point(middle(there)))
    (from_east, from_north), (to_east, to_north) = shapely.get_coordinates(line).tolist()
    return to_east - from_east, to_north - from_north


def middle(there: Metres) -> tuple[float, float]:
    """Of at least half of the positions, wherever the rest is."""
    return float(np.median(there[0])), float(np.median(there[1]))


def roaming(there: Metres) -> bool:
    east, north = middle(there)
    return bool(np.median(np.hypot(there[0] - east, there[1] - north)) > ROAMING_M)


def bell(metres: float, wide_m: float) -> float:
    """How likely a place this far off is, a square metre, where `wide_m` is usual."""
    return exp(-0.5 * (metres / wide_m) ** 2) / (2 * pi * wide_m**2)


def sensor_density(metres: float) -> float:
    return bell(metres, SENSOR_M)


def camera_density(metres: float) -> float:
    """Most look at what is before them, a few far away."""
    return (1 - FAR_VIEW_SHARE) * bell(metres, VIEW_M) + FAR_VIEW_SHARE * bell(metres, FAR_VIEW_M)


ANYWHERE = 1 / (pi * ANYWHERE_M**2)
LEAST_DENSITY = 1e-12  # of what it would be anywhere: no distance makes a reading impossible


# ---------------------------------------------------------------------------------------------------------------- roads


def median_to_road(there: Metres, roads: Roads) -> float:
    return float(np.median(roads.distance_m(*there)))


def road_odds(readings: Mapping[Reading, Metres], own: Reading, roads: Roads, elsewhere: float) -> dict[Reading, float]:
    """For each reading the logarithm of how much better the track lies than one thrown down anywhere."""
    spots = spots_of(readings[own])
    if len(spots) < FEWEST_SPOTS or not len(roads):
        return dict.fromkeys(readings, 0.0)
    tracks = {reading: (east[spots], north[spots]) for reading, (east, north) in readings.items()}
    fits = {reading: float(fit(roads.distance_m(*track))) for reading, track in tracks.items()}
    thrown = thrown_fits(tracks, own, roads)
    return {reading: said_by(here, thrown, elsewhere) for reading, here in fits.items()}


def said_by(here: float, thrown: F64, elsewhere: float) -> float:
    as_good = (1 + np.count_nonzero(thrown >= here - ALIKE)) / (1 + len(thrown))
    worth = min(1.0, (here / GOOD_FIT) ** 6)
    return log(elsewhere + (1 - elsewhere) * worth / as_good)


def fit(metres: F64) -> F64:
    """From 0, far from all roads, to 1, on one: the mean over the last axis."""
    found: F64 = np.exp(-0.5 * (metres / ON_ROAD_M) ** 2).mean(axis=-1)
    return found


def thrown_fits(tracks: Mapping[Reading, Metres], own: Reading, roads: Roads) -> F64:
    """How well the track fits at other places all around, those left out that a reading itself comes near."""
    east, north = tracks[own]
    steps = np.arange(-THROW_M, THROW_M + 1, THROW_STEP_M)
    by_east, by_north = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    kept = np.hypot(by_east, by_north) <= THROW_M
    for track in tracks.values():
        away = np.hypot(by_east - np.median(track[0] - east), by_north - np.median(track[1] - north))
        kept &= away > THROW_STEP_M
    return fit(roads.distance_m(east + by_east[kept, None], north + by_north[kept, None]))


def spots_of(there: Metres) -> I64:
    """Indexes of the first position in each square of SPOT_M, at most MOST_SPOTS of them."""
    placed = np.flatnonzero(np.isfinite(there[0]) & np.isfinite(there[1]))
    squares = np.floor(np.column_stack((there[0][placed], there[1][placed])) / SPOT_M)
    _, first = np.unique(squares, axis=0, return_index=True)
    return placed[np.sort(first)][:MOST_SPOTS]
