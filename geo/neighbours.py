"""What only shows beside the others: places with swapped axes where both ways are on earth, and places far away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor
from typing import NamedTuple

import numpy as np

from geo.distance import distance_m

FAR_APART_DEG = 5.0  # no city is as wide: what is this far from the others is misplaced or has its axes swapped
FAR_DEG = 0.2  # squares of some 20 km; between groups that do not even touch by their corners lies at least one
WIDEST = 50  # squares that a shape is entered in on each axis: no zone of a city is wider

Box = tuple[float, float, float, float]
"""west, south, east, north"""


def swapped_among(centres: Sequence[tuple[float, float]]) -> list[int]:
    """Which places lie far from the others, and would lie among them with their axes exchanged."""
    if len(centres) < 2:
        return []
    lon, lat = (sorted(axis)[len(axis) // 2] for axis in zip(*centres, strict=True))
    return [
        number
        for number, (x, y) in enumerate(centres)
        if max(abs(x - lon), abs(y - lat)) > FAR_APART_DEG > max(abs(y - lon), abs(x - lat))
    ]


class Group(NamedTuple):
    """Places beside each other and `away_m` from the most; `members` in their order."""

    members: list[int]
    away_m: float


def far_groups(boxes: Sequence[Box]) -> list[Group]:
    """All groups but the one with the most members; of two as large the first is taken for the city."""
    groups = grouped(boxes)
    if len(groups) < 2:
        return []
    main = max(groups, key=len)
    return [Group(group, gap_m(box_of(boxes, group), box_of(boxes, main))) for group in groups if group is not main]


def grouped(boxes: Sequence[Box]) -> list[list[int]]:
    """Numbers of boxes that hang together by squares that touch."""
    members: dict[tuple[int, int], list[int]] = {}
    for number, box in enumerate(boxes):
        for square in squares_of(box):
            members.setdefault(square, []).append(number)
    squares_left = dict.fromkeys(members)
    groups: list[list[int]] = []
    while squares_left:
        open_squares, found = [squares_left.popitem()[0]], set[int]()
        while open_squares:
            i, j = open_squares.pop()
            found.update(members[i, j])
            for beside in [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]:
                if beside in squares_left:
                    del squares_left[beside]
                    open_squares.append(beside)
        groups.append(sorted(found))
    return sorted(groups)


def squares_of(box: Box) -> Iterator[tuple[int, int]]:
    west, south, east, north = (floor(side / FAR_DEG) for side in box)
    for i in range(west, min(east, west + WIDEST) + 1):
        for j in range(south, min(north, south + WIDEST) + 1):
            yield i, j


def box_of(boxes: Sequence[Box], members: Sequence[int]) -> Box:
    sides = np.array([boxes[number] for number in members])
    west, south = sides[:, :2].min(axis=0).tolist()
    east, north = sides[:, 2:].max(axis=0).tolist()
    return west, south, east, north


def gap_m(a: Box, b: Box) -> float:
    """Metres between two boxes; 0 where they meet."""
    lon_a, lon_b = nearest_ends(a[0], a[2], b[0], b[2])
    lat_a, lat_b = nearest_ends(a[1], a[3], b[1], b[3])
    return distance_m(lon_a, lat_a, lon_b, lat_b)


def nearest_ends(low_a: float, high_a: float, low_b: float, high_b: float) -> tuple[float, float]:
    if high_a < low_b:
        return high_a, low_b
    if high_b < low_a:
        return low_a, high_b
    return max(low_a, low_b), max(low_a, low_b)
