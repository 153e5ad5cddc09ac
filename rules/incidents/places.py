"""What the Desk asks of the map: names, areas, units. The shell hands in the atlas; tests hand in `Sites`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, radians
from typing import NamedTuple, Protocol

import numpy as np
import shapely

from geo.atlas import Atlas
from geo.zones import AREA_KIND, Zone
from models.columns import F64, Batch
from models.decode import Decoded
from models.detections import Text
from models.observations import DecodeFailure

METRES_PER_DEGREE = 110_900.0  # of latitude here
NEAR_M = 150.0  # a point further from the road is not "near" it to anybody


class Unit(Protocol):
    """A unit of the registry; `lon, lat` is its base."""

    @property
    def id(self) -> str: ...
    @property
    def department(self) -> str: ...
    @property
    def skills(self) -> Sequence[str]: ...
    @property
    def capacity(self) -> int: ...
    @property
    def lon(self) -> float: ...
    @property
    def lat(self) -> float: ...


class Located(NamedTuple):
    """A decoded batch in WGS-84, the area of each row, and all failures, decoding's included, in order of records."""

    batch: Batch
    areas: Sequence[str | None]
    failures: Sequence[DecodeFailure]


class Places(Protocol):
    """Where things are and what they are called."""

    @property
    def units(self) -> Sequence[Unit]: ...
    def zone_name(self, path: str) -> Text | None: ...
    def segment_name(self, segment_id: str) -> Text | None: ...
    def device_owner(self, device_id: str) -> str | None:
        """In clear: to be masked before it goes anywhere."""

    def device_property(self, device_id: str, name: str) -> str | None:
        """What the registry says of it, e.g. its gateway."""

    def downstream(self, segment_id: str) -> Sequence[str]:
        """The segments that traffic goes to from this one."""

    def around(self, lon: float, lat: float) -> Text | None:
        """What people would call this point."""

    def locate(self, decoded: Decoded, keys: Sequence[bytes | None]) -> Located: ...


@dataclass(frozen=True, slots=True)
class Crew:
    """A unit, plainly."""

    id: str
    department: str
    lon: float
    lat: float
    capacity: int = 1
    skills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sites:
    """Places from plain mappings; every position is WGS-84 and in one area."""

    units: Sequence[Unit] = ()
    zones: Mapping[str, Text] = field(default_factory=dict)
    segments: Mapping[str, Text] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    area: str | None = None
    gateways: Mapping[str, str] = field(default_factory=dict)
    next_segments: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def device_property(self, device_id: str, name: str) -> str | None:
        return self.gateways.get(device_id) if name == "gateway" else None

    def downstream(self, segment_id: str) -> Sequence[str]:
        return self.next_segments.get(segment_id, ())

    def zone_name(self, path: str) -> Text | None:
        return self.zones.get(path)

    def segment_name(self, segment_id: str) -> Text | None:
        return self.segments.get(segment_id)

    def device_owner(self, device_id: str) -> str | None:
        return self.owners.get(device_id)

    def around(self, lon: float, lat: float) -> Text | None:
        return None

    def locate(self, decoded: Decoded, keys: Sequence[bytes | None]) -> Located:
        return Located(decoded.batch, [self.area] * len(decoded.batch), decoded.failures)


class OnAtlas:
    """Places as the city's atlas and registry know them."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._zones = {zone.path: zone.name for zone in atlas.zones}
        self.units: Sequence[Unit] = () if atlas.registry is None else tuple(atlas.registry.units.values())
        segments = {} if atlas.registry is None else atlas.registry.segments
        self._named = [(s.line, s.name) for _, s in sorted(segments.items()) if s.name is not None]
        self._narrow = cos(radians(self._named[0][0].bounds[1])) if self._named else 1.0
        self._lines = shapely.STRtree([shapely.transform(line, self._flat) for line, _ in self._named])

    def _flat(self, points: F64) -> F64:
        """Degrees of one length both ways."""
        flat: F64 = points * np.array([self._narrow, 1.0])
        return flat

    def zone_name(self, path: str) -> Text | None:
        return self._zones.get(path)

    def segment_name(self, segment_id: str) -> Text | None:
        segment = None if self._atlas.registry is None else self._atlas.registry.segments.get(segment_id)
        return None if segment is None else segment.name

    def device_owner(self, device_id: str) -> str | None:
        device = None if self._atlas.registry is None else self._atlas.registry.devices.get(device_id)
        return None if device is None else device.owner

    def device_property(self, device_id: str, name: str) -> str | None:
        device = None if self._atlas.registry is None else self._atlas.registry.devices.get(device_id)
        found = getattr(device, name, None)
        return found if isinstance(found, str) else None

    def downstream(self, segment_id: str) -> Sequence[str]:
        segment = None if self._atlas.registry is None else self._atlas.registry.segments.get(segment_id)
        return () if segment is None else segment.downstream

    def around(self, lon: float, lat: float) -> Text | None:
        """The smallest named zone there, else the road nearby, else the area."""
        _, numbers = self._atlas.index.lookup(np.array([lon]), np.array([lat]))
        found: list[Zone] = [self._atlas.zones[number] for number in numbers.tolist()]
        zones = sorted(found, key=lambda zone: (zone.geometry.area, zone.path))
        areas = [zone.name for zone in zones if zone.kind == AREA_KIND and zone.name is not None]
        for zone in zones:
            if zone.kind != AREA_KIND and zone.name is not None:
                return zone.name
        point = shapely.Point(lon * self._narrow, lat)
        near = self._lines.query_nearest(point, max_distance=NEAR_M / METRES_PER_DEGREE).tolist()
        if near:
            road = self._named[min(near)][1]
            return Text(f"{road.zh}附近", f"near {road.en}")
        return areas[0] if areas else None

    def locate(self, decoded: Decoded, keys: Sequence[bytes | None]) -> Located:
        placed = self._atlas.place(decoded, keys, accept_unregistered=True)
        areas = [placed.areas.at(row) for row in range(len(placed.batch))]
        failures = sorted([*decoded.failures, *placed.failures], key=lambda failure: failure.record)
        return Located(placed.batch, areas, failures)
