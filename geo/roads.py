"""How far the nearest known line of a road is, for very many points: worked out once a tile, then read off."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from geo.crs import LocalGrid
from models.columns import F64

STEP_M = 10.0
"""Between two points of a tile; in between it is interpolated, which is right to some three metres at a line."""
TILE = 64  # steps; a tile takes 34 kB, a city of 40 by 40 km some 130 MB when it has been asked for everywhere
HALF = 32  # bits of a tile's number for its place from south to north
FAR_M = 250.0  # whatever is farther from all lines counts as this far


class Roads:
    """Lines and outlines in degrees, laid into a metric grid; points are asked for in metres of that grid."""

    def __init__(self, shapes: Iterable[BaseGeometry], grid: LocalGrid) -> None:
        self._pieces = np.concatenate([np.empty((0, 4)), *(pieces_of(in_metres(shape, grid)) for shape in shapes)])
        self._tree = shapely.STRtree([LineString(ends) for ends in self._pieces.reshape(-1, 2, 2)])
        self._tiles: dict[tuple[int, int], F64] = {}

    def __len__(self) -> int:
        return len(self._tree)

    def distance_m(self, east: F64, north: F64) -> F64:
        """Metres to the nearest line, at most FAR_M; FAR_M for what has no place in the grid."""
        found = np.full(east.shape, FAR_M)
        placed = np.isfinite(east) & np.isfinite(north)
        if placed.any():
            found[placed] = self._interpolated(east[placed] / STEP_M, north[placed] / STEP_M)
        return found

    def _interpolated(self, u: F64, v: F64) -> F64:
        i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
        fu, fv = u - i, v - j
        numbers, which = np.unique((i // TILE << HALF) + j // TILE + (1 << HALF - 1), return_inverse=True)
        stack = np.stack([self._tile(n >> HALF, (n & (1 << HALF) - 1) - (1 << HALF - 1)) for n in numbers.tolist()])
        i, j = i % TILE, j % TILE
        south = stack[which, i, j] * (1 - fu) + stack[which, i + 1, j] * fu
        north = stack[which, i, j + 1] * (1 - fu) + stack[which, i + 1, j + 1] * fu
        blended: F64 = south * (1 - fv) + north * fv
        return blended

    def _tile(self, x: int, y: int) -> F64:
        tile = self._tiles.get((x, y))
        if tile is None:
            tile = self._tiles[x, y] = self._measured(x, y)
        return tile

    def _measured(self, x: int, y: int) -> F64:
        steps: F64 = np.arange(TILE + 1, dtype=np.float64)
        east: F64 = (x * TILE + steps) * STEP_M
        north: F64 = (y * TILE + steps) * STEP_M
        around = shapely.box(east[0] - FAR_M, north[0] - FAR_M, east[-1] + FAR_M, north[-1] + FAR_M)
        square = np.full((len(east), len(north)), FAR_M**2)
        for number in self._tree.query(around):
            np.minimum(square, square_to_piece(east[:, None], north[None, :], self._pieces[number]), out=square)
        metres: F64 = np.sqrt(square)
        return metres


def pieces_of(shape: BaseGeometry) -> F64:
    """(east, north, east, north) of each straight piece of a line or an outline."""
    parts = shapely.get_parts(shapely.boundary(shape) if shapely.get_dimensions(shape) == 2 else shape)
    found = [shapely.get_coordinates(part) for part in parts]
    return np.concatenate([np.empty((0, 4)), *(np.column_stack((line[:-1], line[1:])) for line in found)])


def square_to_piece(east: F64, north: F64, piece: F64) -> F64:
    """The square of the metres from each point of a grid to a straight piece."""
    start_east, start_north = piece[0], piece[1]
    along_east, along_north = piece[2] - start_east, piece[3] - start_north
    length2 = max(along_east**2 + along_north**2, 1e-9)
    share = np.clip(((east - start_east) * along_east + (north - start_north) * along_north) / length2, 0.0, 1.0)
    found: F64 = (east - start_east - share * along_east) ** 2 + (north - start_north - share * along_north) ** 2
    return found


def in_metres(shape: BaseGeometry, grid: LocalGrid) -> BaseGeometry:
    """A shape of degrees in a grid, corner by corner."""

    def convert(lonlat: F64) -> F64:
        return np.column_stack(grid.metres(lonlat[:, 0], lonlat[:, 1]))

    found: BaseGeometry = shapely.transform(shape, convert)
    return found
