"""Which zones hold which points: one bulk query for a batch.

A point on the boundary is inside; a point in a hole is not; a point with a NaN is in no zone. shapely is the index and
the test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from geo.crs import Convert, LocalGrid
from geo.zones import Zone
from models.columns import F64, I64

Geometries = npt.NDArray[np.object_]


class ZoneIndex:
    """Answers with zone numbers: positions in `zones`."""

    def __init__(self, zones: Sequence[Zone], geometries: Sequence[BaseGeometry] | None = None) -> None:
        self.zones = tuple(zones)
        shapes = [zone.geometry for zone in zones] if geometries is None else list(geometries)
        self._shapes: Geometries = np.empty(len(shapes), dtype=np.object_)
        self._shapes[:] = shapes
        shapely.prepare(self._shapes)
        self._tree = STRtree(self._shapes)
        self.numbers = {zone.path: number for number, zone in enumerate(self.zones)}

    def __len__(self) -> int:
        return len(self.zones)

    def lookup(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """(rows, zone numbers) of every point that lies in a zone, sorted by row, then zone."""
        if not len(self.zones) or not len(lon):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        rows, zones = self._tree.query(shapely.points(lon, lat))
        if not len(rows):
            return rows, zones
        inside = shapely.intersects_xy(self._shapes[zones], lon[rows], lat[rows])
        rows, zones = rows[inside], zones[inside]
        order = np.lexsort((zones, rows))
        return rows[order], zones[order]

    def with_buffer(self, metres: float) -> ZoneIndex:
        """The same zones, each wider by so many metres: whoever is outside this one has left for sure."""
        if metres == 0 or not self.zones:
            return self
        west, south, east, north = shapely.total_bounds(self._shapes).tolist()
        grid = LocalGrid((west + east) / 2, (south + north) / 2)
        flat = shapely.transform(self._shapes, lambda points: in_pairs(grid.metres, points))
        wide = shapely.transform(shapely.buffer(flat, metres), lambda points: in_pairs(grid.degrees, points))
        return ZoneIndex(self.zones, list(wide))


def in_pairs(convert: Convert, points: F64) -> F64:
    return np.column_stack(convert(points[:, 0], points[:, 1]))
