"""The ground under the observations: zones, what is registered, and how far the city reaches.

`place` makes positions WGS-84, refuses what cannot be where it says, fills in what the registry knows, and says which
area each row belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, radians
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo.crs import to_wgs84
from geo.index import ZoneIndex
from geo.registry import Device, Registry, Segment
from geo.zones import AREA_KIND, Zone
from models.columns import F64, I64, Batch, Mask, Texts
from models.decode import Decoded
from models.observations import DeadReason, DecodeFailure
from models.streams import STREAMS

STAGE = "place"
DEFAULT_MARGIN_KM = 20.0
KM_PER_DEGREE = 110.9  # of latitude; the margin is a sanity check, not a measurement
UNCHANGED_CRS = frozenset(("wgs84", "cgcs2000"))
FILLED = frozenset(("camera.events", "traffic.measurements", "sensor.readings"))
"""Where a row without a position is where its sensor or segment is. An object of a camera is not where the camera is,
and a call is not where the centre is."""


class Bounds(NamedTuple):
    west: float
    south: float
    east: float
    north: float

    def hold(self, lon: F64, lat: F64) -> Mask:
        inside: Mask = (lon >= self.west) & (lon <= self.east) & (lat >= self.south) & (lat <= self.north)
        return inside


class Placed(NamedTuple):
    """The batch with WGS-84 positions, without the records that failed here.

    areas     a row: the area from the registry, else the record's key
    failures  of stage `place`, in order of records, one for each that failed here
    failed    a record: failed here or at decoding
    """

    batch: Batch
    areas: Texts
    failures: list[DecodeFailure]
    failed: Mask


Registered = Device | Segment


@dataclass(frozen=True, slots=True)
class Atlas:
    """`bounds` None: any position is believed. `registry` None: any sensor is."""

    zones: tuple[Zone, ...]
    index: ZoneIndex
    registry: Registry | None
    bounds: Bounds | None

    @classmethod
    def of(
        cls, zones: Sequence[Zone], registry: Registry | None = None, margin_km: float | None = DEFAULT_MARGIN_KM
    ) -> Atlas:
        """`margin_km` None, or no zones at all: no bounds."""
        bounds = bounds_of([z.geometry for z in zones], margin_km) if zones and margin_km is not None else None
        return cls(tuple(zones), ZoneIndex(zones), registry, bounds)

    def place(self, decoded: Decoded, keys: Sequence[bytes | None], accept_unregistered: bool) -> Placed:
        """`keys` are the records' Kafka keys."""
        batch = decoded.batch
        stream = STREAMS[batch.topic]
        lon, lat = in_wgs84(decoded)
        failures: dict[int, DecodeFailure] = {}
        areas: Texts
        find = self.register(batch.topic)
        if find is None:
            areas = self._areas_by_place(lon, lat) if stream.desk else areas_by_key(batch, keys)
        else:
            known = [find(word) for word in decoded.source.words]
            if not accept_unregistered and None in known:
                failures = unregistered(decoded, known, stream.source)
            areas = areas_by_registry(decoded, known, keys)
            if batch.topic in FILLED:
                lon, lat = filled(decoded, known, lon, lat)
        if self.bounds is not None:
            for record, failure in out_of_bounds(decoded, lon, lat, self.bounds).items():
                failures.setdefault(record, failure)
        if lon is not batch.numbers("lon") or lat is not batch.numbers("lat"):
            batch = batch.placed(lon, lat)
        if not failures:
            return Placed(batch, areas, [], decoded.failed)
        here = np.zeros(len(decoded.failed), dtype=np.bool_)
        here[list(failures)] = True
        return Placed(
            batch.without_records(here),
            areas.take(~here[batch.record]),
            [failures[record] for record in sorted(failures)],
            decoded.failed | here,
        )

    def register(self, topic: str) -> Callable[[str], Registered | None] | None:
        """How to find what a source of a topic is registered as; None where any source is believed."""
        if self.registry is None or STREAMS[topic].desk:
            return None
        return self.registry.segments.get if STREAMS[topic].source == "segment_id" else self.registry.devices.get

    def _areas_by_place(self, lon: F64, lat: F64) -> Texts:
        """The first `area/*` zone that holds the position; null without one."""
        names: list[str | None] = [None] * len(lon)
        rows, zones = self.index.lookup(lon, lat)
        for row, number in zip(rows.tolist()[::-1], zones.tolist()[::-1], strict=True):
            if self.zones[number].kind == AREA_KIND:
                names[row] = self.zones[number].id
        return Texts.encode(names)


def bounds_of(shapes: Sequence[BaseGeometry], margin_km: float) -> Bounds:
    """The box around all shapes, wider by the margin on every side."""
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    margin = margin_km / KM_PER_DEGREE
    sideways = margin / max(0.05, cos(radians(max(abs(south), abs(north)))))
    return Bounds(west - sideways, south - margin, east + sideways, north + margin)


def in_wgs84(decoded: Decoded) -> tuple[F64, F64]:
    """Longitudes and latitudes of the batch's rows, converted where the record names another system."""
    batch, crs = decoded.batch, decoded.crs
    lon, lat = batch.numbers("lon"), batch.numbers("lat")
    if UNCHANGED_CRS.issuperset(crs.words):
        return lon, lat
    lon, lat = lon.copy(), lat.copy()
    of_row = crs.codes[batch.record]
    for word, code in crs.lookup.items():
        if word not in UNCHANGED_CRS:
            rows = of_row == code
            if not rows.any():  # the system of a record that failed
                continue
            lon[rows], lat[rows] = to_wgs84(word, lon[rows], lat[rows])
    return lon, lat


def unregistered(decoded: Decoded, known: Sequence[Registered | None], field: str) -> dict[int, DecodeFailure]:
    strange = np.array([entry is None for entry in known])
    records = np.flatnonzero(strange[decoded.source.codes] & ~decoded.failed)
    what = "segment" if field == "segment_id" else "device"
    detail = f"expected a {what} of the registry, found another"
    return {
        record: DecodeFailure(record, STAGE, DeadReason.UNREGISTERED_SENSOR, f"$.{field}", detail)
        for record in records.tolist()
    }


def areas_by_key(batch: Batch, keys: Sequence[bytes | None]) -> Texts:
    """The record's key for each row."""
    of_record = Texts.encode([None if key is None else key.decode("utf-8", "replace") for key in keys])
    return of_record.take(batch.record)


def areas_by_registry(decoded: Decoded, known: Sequence[Registered | None], keys: Sequence[bytes | None]) -> Texts:
    batch, codes = decoded.batch, decoded.source.codes[decoded.batch.record]
    areas = Texts.encode([None if entry is None else entry.area for entry in known])
    by_source = areas.take(codes)
    if None not in known:
        return by_source
    by_key = areas_by_key(batch, keys)
    lookup = dict(by_source.lookup)
    codes_of_keys = [lookup.setdefault(word, len(lookup)) for word in by_key.words]
    renumbered = np.array([*codes_of_keys, -1], dtype=np.int32)[by_key.codes]
    registered = np.array([entry is not None for entry in known])[codes]
    return Texts(np.where(registered, by_source.codes, renumbered).astype(np.int32), tuple(lookup), lookup)


def filled(decoded: Decoded, known: Sequence[Registered | None], lon: F64, lat: F64) -> tuple[F64, F64]:
    """Where a row has no position, that of its sensor or segment."""
    missing = np.isnan(lon)
    if not missing.any():
        return lon, lat
    nowhere = float("nan")
    lons = np.array([nowhere if entry is None else entry.lon for entry in known])
    lats = np.array([nowhere if entry is None else entry.lat for entry in known])
    codes = decoded.source.codes[decoded.batch.record]
    return np.where(missing, lons[codes], lon), np.where(missing, lats[codes], lat)


def out_of_bounds(decoded: Decoded, lon: F64, lat: F64, bounds: Bounds) -> dict[int, DecodeFailure]:
    """The first row of each record that lies outside; named as swapped where lat, lon would be inside."""
    outside = ~bounds.hold(lon, lat) & ~np.isnan(lon)
    if not outside.any():
        return {}
    failures: dict[int, DecodeFailure] = {}
    rows: I64 = np.flatnonzero(outside)
    swapped = bounds.hold(lat[rows], lon[rows])
    for row, exchanged in zip(rows.tolist(), swapped.tolist(), strict=True):
        record = int(decoded.batch.record[row])
        if record in failures:
            continue
        path = decoded.path_of(row, "lon")
        if exchanged:
            detail = "expected lon, lat; found lat, lon: exchanged they would lie inside the bounds"
            failures[record] = DecodeFailure(record, STAGE, DeadReason.SWAPPED_AXES, path, detail)
        else:
            detail = "expected a position inside the operator's bounds, found one outside"
            failures[record] = DecodeFailure(record, STAGE, DeadReason.POSITION_OUT_OF_BOUNDS, path, detail)
    return failures
