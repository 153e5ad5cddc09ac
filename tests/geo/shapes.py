"""Zones and files of them for tests, near 当湖街道."""

from __future__ import annotations

import json
from typing import Any

from shapely.geometry import MultiPolygon, Polygon, box, mapping

from geo.zones import Zone

LON, LAT = 121.02, 30.69


def square(lon: float, lat: float, half: float) -> Polygon:
    return box(lon - half, lat - half, lon + half, lat + half)


def zone(path: str, geometry: Polygon | MultiPolygon, area: str | None = "danghu") -> Zone:
    kind, _, name = path.partition("/")
    return Zone(path, kind, name, area, None, None, None, {}, geometry)


def feature(identity: Any, geometry: Any, **properties: Any) -> dict[str, Any]:
    written = mapping(geometry) if hasattr(geometry, "geom_type") else geometry
    return {"type": "Feature", "id": identity, "properties": properties, "geometry": written}


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def collection(*features: Any) -> bytes:
    """One feature a line, so that lines can be told apart."""
    lines = ",\n".join(json.dumps(f, ensure_ascii=False) for f in features)
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}'.encode()
