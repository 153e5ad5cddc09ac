"""Which open incidents are near a point: a hash of cells per group (a rule, a type), so that nothing scans them all."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, floor, radians

from rules.incidents.places import METRES_PER_DEGREE

WIDEST_CELLS = 40  # cells to each side of a look-up; a wider radius is cut, so that no ticket asks for the whole map


class Near:
    """Ids by group and cell. `cell_m` is about the radius asked for most."""

    def __init__(self, cell_m: float) -> None:
        self.cell_deg = max(cell_m, 20.0) / METRES_PER_DEGREE
        self._cells: dict[tuple[int, int], dict[str, None]] = {}

    def _cell(self, lon: float, lat: float) -> tuple[int, int]:
        return floor(lon / self.cell_deg), floor(lat / self.cell_deg)

    def add(self, identity: str, lon: float, lat: float) -> None:
        self._cells.setdefault(self._cell(lon, lat), {})[identity] = None

    def remove(self, identity: str, lon: float, lat: float) -> None:
        cell = self._cell(lon, lat)
        ids = self._cells.get(cell)
        if ids is not None:
            ids.pop(identity, None)
            if not ids:
                del self._cells[cell]

    def around(self, lon: float, lat: float, radius_m: float) -> Iterator[str]:
        """Every id within the radius, and some beyond it."""
        reach = radius_m / METRES_PER_DEGREE
        rows = min(WIDEST_CELLS, int(reach / self.cell_deg) + 1)
        columns = min(WIDEST_CELLS, int(reach / max(0.1, cos(radians(lat))) / self.cell_deg) + 1)
        x, y = self._cell(lon, lat)
        if (2 * rows + 1) * (2 * columns + 1) > len(self._cells):
            for (cx, cy), ids in self._cells.items():
                if abs(cx - x) <= columns and abs(cy - y) <= rows:
                    yield from ids
            return
        for cx in range(x - columns, x + columns + 1):
            for cy in range(y - rows, y + rows + 1):
                yield from self._cells.get((cx, cy), ())
