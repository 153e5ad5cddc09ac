"""Which zones hold which points: one look-up for a batch.

A point on the boundary is inside; a point in a hole is not; a point with a NaN is in no zone. The raster decides; what
it calls unsure (a point on or within rounding of an edge) shapely decides, so the answer is always shapely's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from geo.crs import Convert, LocalGrid
from geo.raster import Found, Raster
from geo.raster_build import Geometries, build
from geo.raster_loop import compiled
from geo.zones import Zone
from models.columns import F64, I64

Find = Callable[[Raster, F64, F64], Found]


class ZoneIndex:
    """Answers with zone numbers: positions in `zones`.

    `geometries`, where given, stand in for those of the zones: Polygons and MultiPolygons, also empty ones.
    """

    def __init__(self, zones: Sequence[Zone], geometries: Sequence[BaseGeometry] | None = None) -> None:
        self.zones = tuple(zones)
        shapes = [zone.geometry for zone in zones] if geometries is None else list(geometries)
        if not all(isinstance(shape, Polygon | MultiPolygon) for shape in shapes):
            raise TypeError("a zone's geometry is a Polygon or a MultiPolygon")
        self._shapes: Geometries = np.empty(len(shapes), dtype=np.object_)
        self._shapes[:] = shapes
        self._raster = build(self._shapes)
        self._wider: dict[float, ZoneIndex] = {}  # by metres: as many as the rules have different buffers
        self.numbers = {zone.path: number for number, zone in enumerate(self.zones)}

    def __len__(self) -> int:
        return len(self.zones)

    @property
    def nbytes(self) -> int:
        """Memory of the raster, without the zones themselves."""
        return self._raster.nbytes

    def lookup(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """(rows, zone numbers) of every point that lies in a zone, sorted by row, then zone."""
        return self.lookup_by(_FIND[-1], lon, lat)

    def lookup_by(self, find: Find, lon: F64, lat: F64) -> tuple[I64, I64]:
        """The same by the back end named, to compare them."""
        rows, zones, unsure = find(self._raster, lon, lat)
        return self._ask(lon, lat, rows, zones) if unsure else (rows, zones)

    def _ask(self, lon: F64, lat: F64, rows: I64, zones: I64) -> tuple[I64, I64]:
        doubt = np.flatnonzero(zones < 0)
        zones[doubt] = ~zones[doubt]
        of_row, shapes = rows[doubt], self._shapes[zones[doubt]]
        shapely.prepare(shapes)  # the second time costs nothing
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[doubt] = shapely.intersects_xy(shapes, lon[of_row], lat[of_row])
        return rows[keep], zones[keep]

    def with_buffer(self, metres: float) -> ZoneIndex:
        """The same zones, each wider by so many metres: whoever is outside this one has left for sure."""
        if metres == 0 or not self.zones:
            return self
        if metres not in self._wider:
            self._wider[metres] = ZoneIndex(self.zones, list(self._buffered(metres)))
        return self._wider[metres]

    def _buffered(self, metres: float) -> Geometries:
        west, south, east, north = shapely.total_bounds(self._shapes).tolist()
        grid = LocalGrid((west + east) / 2, (south + north) / 2)
        flat = shapely.transform(self._shapes, lambda points: in_pairs(grid.metres, points))
        wide: Geometries = shapely.buffer(flat, metres)
        return shapely.transform(wide, lambda points: in_pairs(grid.degrees, points))


def in_pairs(convert: Convert, points: F64) -> F64:
    return np.column_stack(convert(points[:, 0], points[:, 1]))


# ----------------------------------------------------------------------------------------------------------- back ends

_FIND: list[Find] = [Raster.find]  # the last one serves; all answer the same


@cache
def warm() -> bool:
    """From here on the look-ups of this process run compiled; false where numba is missing: they stay in numpy.

    For a process with many points, before the first of them: it takes about a second, some seconds the first time on a
    machine.
    """
    fill = compiled()
    if fill is None:
        return False
    _FIND.append(lambda raster, lon, lat: raster.find_with(fill, lon, lat))
    return True
