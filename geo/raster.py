"""A raster over zones: how each cell lies to each zone, and the look-up in numpy or by a compiled loop.

Tiles of 16 × 16 cells. A tile names the zones that cover it whole; a cell lists the zones that cover it whole and those
whose boundary comes near it. For the latter it keeps which edges those are and whether its reference point is inside,
so a point is decided by how often the way from there to the point crosses these few edges. Only comparisons that
rounding cannot have turned count; whatever is too close to call is handed back as unsure.

Inside is even-odd over all rings, which for a valid polygon is what shapely says. How it lies in memory says
geo/raster_loop.py, how it is built geo/raster_build.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from geo.raster_loop import (
    ASK,
    BOOK_HEAD,
    DX,
    ENTRY,
    KIND_BITS,
    KIND_MASK,
    MORE,
    OUT,
    REFERENCE_IN,
    REFERENCE_X,
    REFERENCE_Y,
    ROUNDING,
    TILE,
    TILE_BITS,
    TILES_X,
    UNDERFLOW,
    UNSURE,
    VERTICES_AT,
    WHOLE,
    X0,
    Fill,
)
from models.columns import F64, I32, I64, Mask

# A batch of no more points is faster point by point, and no more doubts are faster left to shapely.
FEW_POINTS = 32
FEW_NEAR = 64
FEWEST_PAIRS = 64  # room in the answer of a small batch; a large one starts with two pairs a point


class Found(NamedTuple):
    """Pairs sorted by row, then zone. An unsure pair has ~zone in place of the zone; `unsure` is how many have."""

    rows: I64
    zones: I64
    unsure: int


@dataclass(frozen=True, eq=False)
class Raster:
    """Both back ends read the same two arrays."""

    frame: F64
    book: I32

    @property
    def nbytes(self) -> int:
        return self.frame.nbytes + self.book.nbytes

    @cached_property
    def parts(self) -> Parts:
        _, tiles, starts, entries, covers = self.places
        table = self.book[entries:covers].reshape(-1, ENTRY)
        return Parts(
            self.book[tiles:starts:2],
            self.book[tiles + 1 : starts : 2],
            self.book[starts:entries],
            table[:, 0],
            table[:, 1],
            table[:, 2],
            self.book[covers:],
            self.frame[VERTICES_AT::2],
            self.frame[VERTICES_AT + 1 :: 2],
        )

    @cached_property
    def places(self) -> list[int]:
        """The head of the book."""
        places: list[int] = self.book[:BOOK_HEAD].tolist()
        return places

    @cached_property
    def numbers(self) -> memoryview:
        """The book, faster to read one by one."""
        return self.book.data

    def find_with(self, fill: Fill, lon: F64, lat: F64) -> Found:
        """Every point's zones by the compiled loop; points off the raster and NaN have none."""
        if len(lon) != len(lat):  # the loop would read on behind the shorter
            raise ValueError(f"{len(lon)} longitudes, but {len(lat)} latitudes")
        lon, lat = np.ascontiguousarray(lon, dtype=np.float64), np.ascontiguousarray(lat, dtype=np.float64)
        pairs = np.empty((2, max(2 * len(lon), FEWEST_PAIRS)), dtype=np.int64)
        row, found, unsure = fill(lon, lat, self.frame, self.book, pairs, 0, 0, 0)
        while row < len(lon):
            pairs = np.concatenate([pairs, np.empty_like(pairs)], axis=1)
            row, found, unsure = fill(lon, lat, self.frame, self.book, pairs, row, found, unsure)
        return Found(pairs[0, :found], pairs[1, :found], unsure)

    def find(self, lon: F64, lat: F64) -> Found:
        """The same without numba."""
        return self._find_few(lon, lat) if len(lon) <= FEW_POINTS else self._find_many(lon, lat)

    def _find_many(self, lon: F64, lat: F64) -> Found:
        west, south, east, north, x0, y0, per_dx, per_dy = self.frame[:DX].tolist()
        rows = np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north))
        if not len(rows):
            return NOTHING
        parts = self.parts
        x, y = lon[rows], lat[rows]
        column, line = ((x - x0) * per_dx).astype(np.int64), ((y - y0) * per_dy).astype(np.int64)
        tile = (line >> TILE_BITS) * self.places[TILES_X] + (column >> TILE_BITS)
        cell = parts.first_cell[tile] + (((line & (TILE - 1)) << TILE_BITS) | (column & (TILE - 1)))
        point, entry = expand(parts.first_entry[cell], parts.first_entry[cell + 1])
        covered, cover = expand(parts.first_cover[tile], parts.first_cover[tile + 1])
        code = parts.code[entry]
        zones = (code >> KIND_BITS).astype(np.int64)
        kind = code & KIND_MASK
        keep = kind == WHOLE
        near = np.flatnonzero(~keep)
        unsure = 0
        if len(near):
            at = point[near]
            if len(near) > FEW_NEAR:
                side = self._sides(x[at], y[at], column[at], line[at], entry[near], kind[near])
            else:
                side = np.where(kind[near] == MORE, OUT, UNSURE)
            keep[near] = side != OUT
            doubt = near[side == UNSURE]
            unsure = len(doubt)
            zones[doubt] = ~zones[doubt]
        point, zones = point[keep], zones[keep]
        if len(cover):
            point, zones = merged(point, zones, covered, parts.covers[cover])
        return Found(rows[point], zones, unsure)

    def _find_few(self, lon: F64, lat: F64) -> Found:
        """Point by point; a boundary in its cell leaves it unsure."""
        west, south, east, north, x0, y0, per_dx, per_dy = self.frame[:DX].tolist()
        rows: list[int] = []
        zones: list[int] = []
        for row, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
            if west <= x <= east and south <= y <= north:
                here = self._listed(int((x - x0) * per_dx), int((y - y0) * per_dy))
                rows += [row] * len(here)
                zones += here
        if not rows:
            return NOTHING
        return Found(np.array(rows), np.array(zones), sum(zone < 0 for zone in zones))

    def _listed(self, column: int, line: int) -> list[int]:
        """The zones listed by a cell and its tile, sorted; ~zone where only near."""
        book = self.numbers
        tiles_x, tiles, starts, entries, covers = self.places
        tile = tiles + 2 * ((line >> TILE_BITS) * tiles_x + (column >> TILE_BITS))
        cell = starts + book[tile] + ((line & (TILE - 1)) << TILE_BITS) + (column & (TILE - 1))
        zones: list[int] = []
        for entry in range(book[cell], book[cell + 1]):
            code = book[entries + ENTRY * entry]
            kind = code & KIND_MASK
            if kind != MORE:
                zones.append(code >> KIND_BITS if kind == WHOLE else ~(code >> KIND_BITS))
        first, end = book[tile + 1], book[tile + 3]
        if first < end:
            zones = sorted([*zones, *book[covers + first : covers + end]], key=lambda zone: max(zone, ~zone))
        return zones

    def _sides(self, x: F64, y: F64, column: I64, line: I64, entry: I64, kind: I32) -> I64:
        """IN, OUT or UNSURE for each entry at its point; OUT for those that only go on another."""
        parts = self.parts
        x0, y0, _, _, dx, dy = self.frame[X0:VERTICES_AT].tolist()
        head = np.flatnonzero(kind != MORE)
        group = np.cumsum(kind != MORE) - 1
        owner, vertex = expand(parts.first_vertex[entry], parts.first_vertex[entry] + parts.edges[entry])
        reference_x, reference_y = x0 + (column + REFERENCE_X) * dx, y0 + (line + REFERENCE_Y) * dy
        px, py, qx, qy = x[owner], y[owner], reference_x[owner], reference_y[owner]
        wx, wy = qx - px, qy - py
        ax, ay = parts.x[vertex] - px, parts.y[vertex] - py
        bx, by = parts.x[vertex + 1] - px, parts.y[vertex + 1] - py
        side_a, doubt = cross(wx, wy, ax, ay)
        side_b, doubt_b = cross(wx, wy, bx, by)
        doubt |= doubt_b
        cut = np.flatnonzero((side_a > 0) != (side_b > 0))
        side_p, doubt_p = cross(ax[cut], ay[cut], bx[cut], by[cut])
        vertex, qx, qy = vertex[cut], qx[cut], qy[cut]
        side_q, doubt_q = cross(
            parts.x[vertex] - qx, parts.y[vertex] - qy, parts.x[vertex + 1] - qx, parts.y[vertex + 1] - qy
        )
        doubt[cut] |= doubt_p | doubt_q
        of_edge = group[owner]
        crossings = np.bincount(of_edge[cut[(side_p > 0) != (side_q > 0)]], minlength=len(head))
        doubts = np.bincount(of_edge[doubt], minlength=len(head))
        first = kind[head]
        inside = (crossings & 1) ^ (first == REFERENCE_IN)
        side = np.zeros(len(entry), dtype=np.int64)
        side[head] = np.where((doubts > 0) | (first == ASK), UNSURE, inside)
        return side


class Parts(NamedTuple):
    """Views into frame and book."""

    first_cell: I32
    first_cover: I32
    first_entry: I32
    code: I32
    first_vertex: I32
    edges: I32
    covers: I32
    x: F64
    y: F64


def cross(ax: F64, ay: F64, bx: F64, by: F64) -> tuple[F64, Mask]:
    """ax·by − ay·bx, and where its sign cannot be trusted. A NaN cannot either."""
    left, right = ax * by, ay * bx
    value = left - right
    doubt: Mask = ~(np.abs(value) > ROUNDING * (np.abs(left) + np.abs(right)) + UNDERFLOW)
    return value, doubt


def expand(first: I32 | I64, end: I32 | I64) -> tuple[I64, I64]:
    """All numbers of the ranges first ≤ n < end: (which range, n)."""
    count = (end - first).astype(np.int64)
    owner = np.repeat(np.arange(len(count)), count)
    shift = first - (np.cumsum(count) - count)
    return owner, np.arange(len(owner)) + shift[owner]


def merged(point: I64, zones: I64, covered: I64, covers: I32) -> tuple[I64, I64]:
    """Both lists of (point, zone) as one, sorted; an unsure zone counts as the zone it is."""
    point, zones = np.concatenate([point, covered]), np.concatenate([zones, covers])
    order = np.lexsort((np.maximum(zones, ~zones), point))
    return point[order], zones[order]


EMPTY = np.empty(0, dtype=np.int64)
NOTHING = Found(EMPTY, EMPTY, 0)
