"""Where a point is to the zones of a rule, in metres."""

from __future__ import annotations

from collections.abc import Sequence

import shapely

from geo.distance import metres_per_degree
from geo.zones import Zone
from rules.language.model import ZoneSelector
from rules.language.zones import selected


def metres_to(zone: Zone, lon: float, lat: float) -> float:
    """From a point to the nearest of a zone; 0.0 inside."""
    per_lon, per_lat = metres_per_degree(lat)

    def flat(degrees):  # type: ignore[no-untyped-def]  # arrays of shapely
        return (degrees - (lon, lat)) * (per_lon, per_lat)

    return float(shapely.distance(shapely.transform(zone.geometry, flat), shapely.Point(0.0, 0.0)))


def nearest_zone(zones: Sequence[Zone], of: ZoneSelector, lon: float, lat: float) -> tuple[str, float] | None:
    """The nearest zone that the selector names, and how far it is; None where it names none that there is."""
    named = [zone for zone in zones if selected(of.include, of.exclude, zone.path)]
    found = min(((metres_to(zone, lon, lat), zone.path) for zone in named), default=None)
    return None if found is None else (found[1], found[0])
