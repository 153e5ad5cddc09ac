"""Builds the raster of geo/raster.py from polygons, all zones at once.

Three facts carry it. Which cells an edge may touch is found with a margin far above any rounding, so a cell without
edges of a zone is wholly inside or outside it. Whether a reference point is inside is the number of edges that cross
the line of latitude through it west of it. And on each line every zone is crossed an even number of times, so of all
crossings sorted by (zone, line, column) the first and second, third and fourth … enclose what is inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from geo.raster import Raster, expand
from geo.raster_loop import (
    ASK,
    BOOK_HEAD,
    CELLS_BITS,
    KIND_BITS,
    MORE,
    REFERENCE_IN,
    REFERENCE_OUT,
    REFERENCE_X,
    REFERENCE_Y,
    TILE,
    TILE_BITS,
    VERTICES_AT,
    WHOLE,
)
from models.columns import F64, I64, Mask

Geometries = npt.NDArray[np.object_]

CELL_M = 20.0
METRES_PER_DEGREE = 111_320.0
LEAST_NARROWING = 0.02  # cos(latitude): towards the poles cells become narrower instead of ever wider in degrees
MARGIN = 1e-6  # of a cell: 20 µm, where rounding in a city stays below 10 nm
# Cells grow where the zones reach so far that there would be more than this. 65,000 tiles of 320 m are a square of
# 80 km, in half a megabyte; 33,000 cells are 600 km of boundary, and 1,000 a zone are 16 km each.
MOST_TILES, MOST_TILES_PER_ZONE = 1 << 16, 256
MOST_EDGE_CELLS, MOST_EDGE_CELLS_PER_ZONE = 1 << 15, 1000
GROWTH = 1.25
CLOSE_EDGES = 3  # so many edges between two runs cost less to test than another run


class Rings(NamedTuple):
    """All vertices, ring after ring, zone after zone; each belongs to a ring and a zone."""

    x: F64
    y: F64
    ring: I64
    zone: I64
    zones: int


class Edges(NamedTuple):
    """Edges by the number of their first vertex."""

    vertex: I64
    ax: F64
    ay: F64
    bx: F64
    by: F64


@dataclass(frozen=True, slots=True)
class Grid:
    x0: float
    y0: float
    dx: float
    dy: float
    columns: int
    lines: int

    @property
    def tiles_x(self) -> int:
        return (self.columns >> TILE_BITS) + 1

    @property
    def tiles(self) -> int:
        return self.tiles_x * ((self.lines >> TILE_BITS) + 1)

    def key(self, zone: I64, line: I64, column: I64) -> I64:
        """Sorts by zone, line, column."""
        return (zone * self.lines + line) * self.columns + column

    def unkey(self, key: I64) -> tuple[I64, I64, I64]:
        rest, column = np.divmod(key, self.columns)
        zone, line = np.divmod(rest, self.lines)
        return zone, line, column

    def cell(self, line: I64, column: I64) -> I64:
        """Cells of a tile have numbers in a row, line by line."""
        tile = (line >> TILE_BITS) * self.tiles_x + (column >> TILE_BITS)
        return (tile << CELLS_BITS) | ((line & (TILE - 1)) << TILE_BITS) | (column & (TILE - 1))

    def uncell(self, cell: I64) -> tuple[I64, I64]:
        down, along = np.divmod(cell >> CELLS_BITS, self.tiles_x)
        line = (down << TILE_BITS) | ((cell >> TILE_BITS) & (TILE - 1))
        return line, (along << TILE_BITS) | (cell & (TILE - 1))


class Entries(NamedTuple):
    """What cells list, sorted by cell, zone, edge."""

    cell: I64
    code: I64
    vertex: I64
    edges: I64


def build(shapes: Geometries, cell_m: float = CELL_M) -> Raster:
    """The raster of these polygons and multipolygons (an array of them); cells of so many metres or, where that would
    be too many, larger ones."""
    rings = rings_of(shapes)
    if not len(rings.x):
        return nowhere()
    edges = edges_of(rings)
    grid = grid_over(rings, edges, cell_m)
    owner, line = lines_of(edges, grid)
    crossings, close = crossings_of(rings, edges, grid, owner, line)
    near = near_entries(rings, grid, touched(rings, edges, grid, owner, line), crossings, close)
    start, end = crossings[0::2], crossings[1::2]
    some = start != end
    zone, line, first = grid.unkey(start[some])
    runs = Runs(zone, line, first, first + end[some] - start[some])
    boundary = boundary_tiles(grid, near)
    entries = with_whole(near, whole_cells(grid, runs, boundary), rings.zones)
    return laid_out(rings, grid, entries, covers_of(grid, runs, boundary, rings.zones))


# ----------------------------------------------------------------------------------------------------- rings and edges


def rings_of(shapes: Geometries) -> Rings:
    parts, zone_of_part = shapely.get_parts(shapes, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    if not np.isfinite(points).all():
        raise ValueError("a zone has a coordinate that is not finite")
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    return Rings(x, y, ring, zone_of_part[part_of_ring[ring]], len(shapes))


def edges_of(rings: Rings) -> Edges:
    vertex = np.flatnonzero(rings.ring[1:] == rings.ring[:-1])
    return Edges(vertex, rings.x[vertex], rings.y[vertex], rings.x[vertex + 1], rings.y[vertex + 1])


def grid_over(rings: Rings, edges: Edges, cell_m: float) -> Grid:
    west, south, east, north = rings.x.min(), rings.y.min(), rings.x.max(), rings.y.max()
    narrowing = max(cos(radians(min(abs(south + north) / 2, 90.0))), LEAST_NARROWING)
    dy = cell_m / METRES_PER_DEGREE
    dx = dy / narrowing
    length = float(np.abs(edges.ax - edges.bx).sum() / dx + np.abs(edges.ay - edges.by).sum() / dy)
    growth = max(1.0, length / (MOST_EDGE_CELLS + MOST_EDGE_CELLS_PER_ZONE * rings.zones))
    tiles = MOST_TILES + MOST_TILES_PER_ZONE * rings.zones
    while ((east - west) / dx / growth / TILE + 2) * ((north - south) / dy / growth / TILE + 2) > tiles:
        growth *= GROWTH
    dx, dy = dx * growth, dy * growth
    x0, y0 = west - dx, south - dy
    return Grid(float(x0), float(y0), dx, dy, int((east - x0) / dx) + 3, int((north - y0) / dy) + 3)


def lines_of(edges: Edges, grid: Grid) -> tuple[I64, I64]:
    """(edge, line) for every line of cells that an edge comes near."""
    low, high = np.minimum(edges.ay, edges.by), np.maximum(edges.ay, edges.by)
    first = np.floor((low - grid.y0) / grid.dy - MARGIN).astype(np.int64)
    last = np.floor((high - grid.y0) / grid.dy + MARGIN).astype(np.int64)
    return expand(first, last + 1)


def touched(rings: Rings, edges: Edges, grid: Grid, owner: I64, line: I64) -> I64:
    """(cell, edge's vertex), as one sortable number, for every cell an edge comes near."""
    one = x_at(edges, owner, grid.y0 + (line - MARGIN) * grid.dy)
    other = x_at(edges, owner, grid.y0 + (line + 1 + MARGIN) * grid.dy)
    first = np.floor((np.minimum(one, other) - grid.x0) / grid.dx - MARGIN).astype(np.int64)
    last = np.floor((np.maximum(one, other) - grid.x0) / grid.dx + MARGIN).astype(np.int64)
    pair, column = expand(first, last + 1)
    keys = grid.cell(line[pair], column) * len(rings.x) + edges.vertex[owner[pair]]
    keys.sort()
    return keys


def x_at(edges: Edges, owner: I64, y: npt.NDArray[np.floating]) -> F64:
    """x where an edge, or the end of it that is nearest, has this y; a level edge gives its ends for a y below, above.

    From the coordinates themselves: the share of a nearly level edge would not survive a division into cells first.
    """
    ax, ay = edges.ax[owner], edges.ay[owner]
    rise = edges.by[owner] - ay
    level = rise == 0
    with np.errstate(over="ignore"):  # by a rise next to nothing; clipped below
        share = np.where(level, y > ay, (y - ay) / np.where(level, 1.0, rise))
    x: F64 = ax + np.clip(share, 0.0, 1.0) * (edges.bx[owner] - ax)
    return x


# ---------------------------------------------------------------------------------------------------------- inside, out


def crossings_of(rings: Rings, edges: Edges, grid: Grid, owner: I64, line: I64) -> tuple[I64, I64]:
    """Keys of (zone, line, column) from which on one is on the other side, sorted; and the keys whose own reference
    point is too close to the crossing to say. A vertex on the line counts as below it."""
    y = grid.y0 + (line + REFERENCE_Y) * grid.dy
    cuts = (edges.ay[owner] > y) != (edges.by[owner] > y)
    owner, line, y = owner[cuts], line[cuts], y[cuts]
    column = (x_at(edges, owner, y) - grid.x0) / grid.dx - REFERENCE_X
    zone = rings.zone[edges.vertex[owner]]
    nearest = np.rint(column)
    close = np.abs(column - nearest) < MARGIN
    keys = grid.key(zone, line, np.floor(column).astype(np.int64) + 1)
    keys.sort()
    return keys, np.unique(grid.key(zone[close], line[close], nearest[close].astype(np.int64)))


def near_entries(rings: Rings, grid: Grid, keys: I64, crossings: I64, close: I64) -> Near:
    """Runs of edges, one or more for each (cell, zone) that has any."""
    cell, vertex = np.divmod(keys, len(rings.x))
    zone, ring = rings.zone[vertex], rings.ring[vertex]
    head = differs(cell) | differs(zone)
    begins = head | differs(ring)
    begins[1:] |= vertex[1:] - vertex[:-1] > CLOSE_EDGES + 1
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(vertex)) - 1
    head, cell, zone = head[first], cell[first], zone[first]
    key = grid.key(zone, *grid.uncell(cell))
    inside = np.searchsorted(crossings, key, side="right") & 1
    kind = np.where(head, np.where(inside == 1, REFERENCE_IN, REFERENCE_OUT), MORE)
    kind[head & held(close, key)] = ASK
    return Near(cell, zone, kind, vertex[first], vertex[last] - vertex[first] + 1)


class Near(NamedTuple):
    """Entries of cells that a zone's boundary comes near, sorted by cell, zone, edge."""

    cell: I64
    zone: I64
    kind: I64
    vertex: I64
    edges: I64


class Runs(NamedTuple):
    """Cells of a zone in one line whose reference points are inside: columns first ≤ n < end."""

    zone: I64
    line: I64
    first: I64
    end: I64


def boundary_tiles(grid: Grid, near: Near) -> I64:
    """(zone, tile), as one sortable number, of tiles with boundary of the zone."""
    return np.unique(near.zone * grid.tiles + (near.cell >> CELLS_BITS))


def whole_cells(grid: Grid, runs: Runs, boundary: I64) -> tuple[I64, I64]:
    """(cell, zone) of the cells inside runs, in tiles with boundary only; cells on the boundary among them."""
    tiles = runs.zone * grid.tiles + (runs.line >> TILE_BITS) * grid.tiles_x
    first = np.searchsorted(boundary, tiles + (runs.first >> TILE_BITS), side="left")
    end = np.searchsorted(boundary, tiles + ((runs.end - 1) >> TILE_BITS), side="right")
    run, at = expand(first, end)
    west = (boundary[at] - tiles[run]) << TILE_BITS
    piece, column = expand(np.maximum(runs.first[run], west), np.minimum(runs.end[run], west + TILE))
    of_run = run[piece]
    return grid.cell(runs.line[of_run], column), runs.zone[of_run]


def with_whole(near: Near, whole: tuple[I64, I64], zones: int) -> Entries:
    """Both sorts of entries in order; a cell that is near the boundary is not whole."""
    near_keys = near.cell * zones + near.zone
    whole_keys = whole[0] * zones + whole[1]
    whole_keys = whole_keys[~held(near_keys, whole_keys)]
    keys = np.concatenate([near_keys, whole_keys])
    order = np.argsort(keys, kind="stable")
    nothing = np.zeros(len(whole_keys), dtype=np.int64)
    cell, zone = np.divmod(keys[order], zones)
    kind = np.concatenate([near.kind, nothing + WHOLE])[order]
    vertex, edges = (np.concatenate([part, nothing])[order] for part in (near.vertex, near.edges))
    return Entries(cell, (zone << KIND_BITS) | kind, vertex, edges)


def covers_of(grid: Grid, runs: Runs, boundary: I64, zones: int) -> I64:
    """(tile, zone), as one sorted number, of tiles without boundary of the zone and inside it: one of their cells
    says so for all."""
    rows = np.flatnonzero(runs.line & (TILE - 1) == 0)
    run, along = expand((runs.first[rows] + TILE - 1) >> TILE_BITS, (runs.end[rows] + TILE - 1) >> TILE_BITS)
    of_run = rows[run]
    zone, tile = runs.zone[of_run], (runs.line[of_run] >> TILE_BITS) * grid.tiles_x + along
    inner = ~held(boundary, zone * grid.tiles + tile)
    keys = tile[inner] * zones + zone[inner]
    keys.sort()
    return keys


# -------------------------------------------------------------------------------------------------------------- layout


def nowhere() -> Raster:
    """No point is on it. The one cell, an empty one, is what the look-up goes on with for points off a raster."""
    cells = [0, 0]
    places = [BOOK_HEAD, BOOK_HEAD, BOOK_HEAD + len(cells), BOOK_HEAD + len(cells)]
    return Raster(np.full(VERTICES_AT, np.nan), np.array([1, *places, *cells], dtype=np.int32))


def laid_out(rings: Rings, grid: Grid, entries: Entries, covers: I64) -> Raster:
    tile_of_entry = entries.cell >> CELLS_BITS
    used = tile_of_entry[differs(tile_of_entry)]
    first_cell = np.zeros(grid.tiles + 1, dtype=np.int64)  # block 0 is of empty cells
    first_cell[used] = np.arange(1, len(used) + 1) << CELLS_BITS
    cell = first_cell[tile_of_entry] + (entries.cell & ((1 << CELLS_BITS) - 1))
    cells = (len(used) + 1) << CELLS_BITS
    first_entry = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=cells))])
    tile, zone = np.divmod(covers, rings.zones)
    first_cover = np.searchsorted(tile, np.arange(grid.tiles + 1))
    parts = (
        np.column_stack([first_cell, first_cover]).ravel(),
        first_entry,
        np.column_stack([entries.code, entries.vertex, entries.edges]).ravel(),
        zone,
    )
    places = np.cumsum([BOOK_HEAD, *map(len, parts)])
    if places[-1] > np.iinfo(np.int32).max:
        raise ValueError("the zones have too many edges for one index")
    book = np.concatenate([[grid.tiles_x], places[:-1], *parts]).astype(np.int32)
    bounds = [rings.x.min(), rings.y.min(), rings.x.max(), rings.y.max()]
    frame = [*bounds, grid.x0, grid.y0, 1 / grid.dx, 1 / grid.dy, grid.dx, grid.dy]
    return Raster(np.concatenate([frame, np.column_stack([rings.x, rings.y]).ravel()]), book)


def differs(values: I64) -> Mask:
    """Where a value is not that before it; the first never is."""
    different = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=different[1:])
    return different


def held(keys: I64, wanted: I64) -> Mask:
    """Which of `wanted` are among the sorted keys."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.bool_)
    at = np.searchsorted(keys, wanted)
    found: Mask = keys[np.minimum(at, len(keys) - 1)] == wanted
    return found
