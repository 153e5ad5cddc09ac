"""How the raster of geo/raster.py lies in memory, and its look-up as a plain loop, which numba compiles.

Layout and loop share a file because numba's cache on disk notices only changes of the file a function is in. numba is
imported when `compiled` is called: it takes most of a second, which a short command should not pay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import FunctionType

import numpy as np

from models.columns import F64, I32, I64

TILE_BITS = 4
TILE = 1 << TILE_BITS  # cells along a side
CELLS_BITS = 2 * TILE_BITS

# The reference point within its cell. Odd fractions: zones drawn on a grid have no corner in line with it.
REFERENCE_X, REFERENCE_Y = 0.4142135, 0.6180339

# How a cell lies to a zone: the low bits of an entry's code, the zone's number above them.
WHOLE, REFERENCE_OUT, REFERENCE_IN, ASK, MORE = range(5)
"""Whole: inside everywhere. Reference out, in: the boundary is near. Ask: the reference point is too close to an edge.
More: further edges of the zone before it in the same cell."""
KIND_BITS = 3
KIND_MASK = (1 << KIND_BITS) - 1

# `frame`: floats, then the vertices of all rings as x, y.
WEST, SOUTH, EAST, NORTH, X0, Y0, PER_DX, PER_DY, DX, DY, VERTICES_AT = range(11)
# `book`: places of its parts, then the parts: (first cell, first cover) of each tile, first entry of each cell,
# entries of (code, first vertex, edges), covers.
TILES_X, TILES_AT, STARTS_AT, ENTRIES_AT, COVERS_AT, BOOK_HEAD = range(6)
ENTRY = 3

# The error of (a·b − c·d) over differences of doubles is below this share of |a·b| + |c·d| (Shewchuk's bound for
# orientation); the second is far above what underflow can hide.
ROUNDING = 3.3306690738754716e-16
UNDERFLOW = 1e-280

OUT, IN, UNSURE = range(3)

AHEAD = 64  # points that are looked ahead together: enough for their cache misses to overlap, and the plan stays near
ENTRY_NOW, ENTRY_END, COVER_NOW, COVER_END, COLUMN, LINE, TOUCHED, PLAN = range(8)  # the plan of a point

Fill = Callable[[F64, F64, F64, I32, I64, int, int, int], tuple[int, int, int]]


def fill(
    lon: F64, lat: F64, frame: F64, book: I32, pairs: I64, row: int, found: int, unsure: int
) -> tuple[int, int, int]:
    """Adds the pairs of the points from `row` on; stops before the point whose pairs might not fit.

    Gives the row to go on with, the number of pairs and how many of them are unsure (~zone in place of zone).
    """
    plan = np.empty((min(AHEAD, len(lon)), PLAN), dtype=np.int64)
    while row < len(lon):
        end = min(row + AHEAD, len(lon))
        look_ahead(lon[row:end], lat[row:end], frame, book, plan)
        for point in range(row, end):
            n = point - row
            most = (plan[n, ENTRY_END] - plan[n, ENTRY_NOW]) // ENTRY + plan[n, COVER_END] - plan[n, COVER_NOW]
            if found + most > pairs.shape[1]:
                return point, found, unsure
            if most > 0:
                found, unsure = add(point, lon[point], lat[point], frame, book, plan, n, pairs, found, unsure)
        row = end
    return row, found, unsure


def look_ahead(lon: F64, lat: F64, frame: F64, book: I32, plan: I64) -> None:
    """Where each point's entries and covers are: one step for all points, then the next.

    With many zones every step misses the cache. Here the points wait for nothing of each other, so their misses
    overlap; point by point they would come one after the other.
    """
    west, south, east, north = frame[WEST], frame[SOUTH], frame[EAST], frame[NORTH]
    x0, y0, per_dx, per_dy = frame[X0], frame[Y0], frame[PER_DX], frame[PER_DY]
    tiles_x, tiles, starts = np.int64(book[TILES_X]), np.int64(book[TILES_AT]), np.int64(book[STARTS_AT])
    entries, covers = np.int64(book[ENTRIES_AT]), np.int64(book[COVERS_AT])
    for n in range(len(lon)):
        x, y = lon[n], lat[n]
        if west <= x <= east and south <= y <= north:  # a NaN is not
            column, line = np.int64((x - x0) * per_dx), np.int64((y - y0) * per_dy)
            tile = tiles + 2 * ((line >> TILE_BITS) * tiles_x + (column >> TILE_BITS))
            plan[n, ENTRY_NOW] = starts + book[tile] + ((line & (TILE - 1)) << TILE_BITS) + (column & (TILE - 1))
            plan[n, COVER_NOW], plan[n, COVER_END] = covers + book[tile + 1], covers + book[tile + 3]
            plan[n, COLUMN], plan[n, LINE] = column, line
        else:
            plan[n, ENTRY_NOW], plan[n, COVER_NOW], plan[n, COVER_END] = starts, 0, 0  # the first cell is empty
    for n in range(len(lon)):
        cell = plan[n, ENTRY_NOW]
        plan[n, ENTRY_NOW] = entries + ENTRY * np.int64(book[cell])
        plan[n, ENTRY_END] = entries + ENTRY * np.int64(book[cell + 1])
    # The rest computes nothing; it fetches what `add` will read.
    for n in range(len(lon)):
        plan[n, TOUCHED] = book[plan[n, ENTRY_NOW]] if plan[n, ENTRY_NOW] < plan[n, ENTRY_END] else 0
    for n in range(len(lon)):
        touched = 0.0
        for entry in range(plan[n, ENTRY_NOW], min(plan[n, ENTRY_END], plan[n, ENTRY_NOW] + 3 * ENTRY), ENTRY):
            vertex = VERTICES_AT + 2 * np.int64(book[entry + 1])
            touched += frame[vertex] + frame[vertex + 2 * np.int64(book[entry + 2])]
        plan[n, TOUCHED] = np.int64(touched)


def add(
    point: int, x: float, y: float, frame: F64, book: I32, plan: I64, n: int, pairs: I64, found: int, unsure: int
) -> tuple[int, int]:
    """Adds one point's zones in order: those of the cell and those that cover its tile are two sorted lists."""
    entry, cover = plan[n, ENTRY_NOW], plan[n, COVER_NOW]
    while entry < plan[n, ENTRY_END]:
        code = np.int64(book[entry])
        zone = code >> KIND_BITS
        if code & KIND_MASK == WHOLE:
            side, entry = IN, entry + ENTRY
        else:
            qx = frame[X0] + (plan[n, COLUMN] + REFERENCE_X) * frame[DX]
            qy = frame[Y0] + (plan[n, LINE] + REFERENCE_Y) * frame[DY]
            side, entry = side_of(frame, book, entry, plan[n, ENTRY_END], x, y, qx, qy)
            if side == OUT:
                continue
        while cover < plan[n, COVER_END] and book[cover] < zone:
            pairs[0, found], pairs[1, found] = point, book[cover]
            cover, found = cover + 1, found + 1
        pairs[0, found], pairs[1, found] = point, zone if side == IN else ~zone
        found += 1
        unsure += side == UNSURE
    while cover < plan[n, COVER_END]:
        pairs[0, found], pairs[1, found] = point, book[cover]
        cover, found = cover + 1, found + 1
    return found, unsure


def side_of(frame: F64, book: I32, entry: int, end: int, x: float, y: float, qx: float, qy: float) -> tuple[int, int]:
    """IN, OUT or UNSURE for the zone whose entries begin here, and where those of the next begin.

    How often the way from the point to the reference point q crosses the zone's edges near this cell.
    """
    kind = book[entry] & KIND_MASK
    wx, wy = qx - x, qy - y
    inside, sure = kind == REFERENCE_IN, kind != ASK
    while True:
        at = VERTICES_AT + 2 * np.int64(book[entry + 1])
        last = at + 2 * np.int64(book[entry + 2])
        ax, ay = frame[at] - x, frame[at + 1] - y
        left, right = wx * ay, wy * ax
        side_a = left - right
        sure &= abs(side_a) > ROUNDING * (abs(left) + abs(right)) + UNDERFLOW
        while at < last:
            at += 2
            bx, by = frame[at] - x, frame[at + 1] - y
            left, right = wx * by, wy * bx
            side_b = left - right
            sure &= abs(side_b) > ROUNDING * (abs(left) + abs(right)) + UNDERFLOW
            if (side_a > 0) != (side_b > 0):
                left, right = ax * by, ay * bx
                side_p = left - right
                sure &= abs(side_p) > ROUNDING * (abs(left) + abs(right)) + UNDERFLOW
                left = (frame[at - 2] - qx) * (frame[at + 1] - qy)
                right = (frame[at - 1] - qy) * (frame[at] - qx)
                side_q = left - right
                sure &= abs(side_q) > ROUNDING * (abs(left) + abs(right)) + UNDERFLOW
                inside ^= (side_p > 0) != (side_q > 0)
            ax, ay, side_a = bx, by, side_b
        entry += ENTRY
        if entry >= end or book[entry] & KIND_MASK != MORE:
            return (UNSURE if not sure else IN if inside else OUT), entry


@cache
def compiled() -> Fill | None:
    """`fill` as machine code, from the cache on disk where it has it; None without numba."""
    try:
        numba = import_module("numba")
    except ImportError:
        return None
    names = dict(globals())  # what the compiled function finds by name
    inlined = numba.njit(inline="always")  # calls would cost a third: each array is passed as seven arguments
    for function in (side_of, add, look_ahead):
        names[function.__name__] = inlined(FunctionType(function.__code__, names))
    # With the types named nothing is compiled later, under way.
    integer, real = numba.int64, numba.float64
    points = numba.types.Array(real, 1, "C", readonly=True)
    signature = numba.types.UniTuple(integer, 3)(
        points, points, real[::1], numba.int32[::1], integer[:, ::1], integer, integer, integer
    )
    whole = FunctionType(fill.__code__, names)
    try:
        ready: Fill = numba.njit(signature, cache=True, nogil=True)(whole)
    except RuntimeError:  # no folder to write to
        ready = numba.njit(signature, nogil=True)(whole)
    return ready
