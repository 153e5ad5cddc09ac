"""What a lane keeps in arrays: hits that wait for the watermark, runs of matches that are not raised yet, limits.

A row of each is a record of numbers. Texts are ids of the lane's words, sources ids of its sources, zones numbers of
the atlas; a batch is named by its number on the lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.void]

NONE = -1
MOST_BOXES, IN_VIEW, USUAL, ASKED = 3, 3, 4, 5
"""What a rule asks of a hit's surroundings, as bits of its signal: its boxes, the view, whether stopping is usual."""
SLACK = 1e-6
"""Of a hit, where a share of hits is due: 7 % of 100 is 7, though as a product of reals it is a hair more."""
HALF = 0.5
"""A stop is at a usual place when half of its hits were."""
MOST_KEY_FIELDS = 3
"""Fields of a key that have a place of their own in a row. A rule `by` more has the rest joined in the last."""

FRESH, ANYHOW, MENDED = range(3)
"""Of the masks of a batch: rows in time; rows of use to a rule that is decided at once, late or not; rows of mended
tracks. A rule looks at one of them."""

HIT = np.dtype(
    [
        ("time_us", "i8"),
        ("print_a", "u8"),  # what the record is, with print_b: see models.prints
        ("print_b", "u8"),
        ("offset", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("ordinal", "i4"),  # orders rows of one record
        ("rule", "i4"),
        ("k0", "i4"),
        ("k1", "i4"),
        ("k2", "i4"),
        ("zone", "i4"),
        ("source", "i4"),
        ("area", "i4"),
        ("batch", "i4"),
        ("row", "i4"),
        ("variant", "i2"),
        ("inside", "i1"),
        ("signal", "i4"),
    ],
    align=True,
)
"""One observation that passed a rule's stateless part."""

RUN = np.dtype(
    [
        ("since_us", "i8"),
        ("last_us", "i8"),
        ("quiet_until_us", "i8"),  # an open one: up to here a match changes nothing but what it was last seen as
        ("look_at_us", "i8"),  # an open one: when its watch looks at it at the latest
        ("anchor_lon", "f8"),
        ("anchor_lat", "f8"),
        ("first_offset", "i8"),
        ("rule", "i4"),
        ("k0", "i4"),
        ("k1", "i4"),
        ("k2", "i4"),
        ("slot_zone", "i4"),  # NONE where the rule is not by zone
        ("zone", "i4"),
        ("source", "i4"),
        ("area", "i4"),
        ("points", "i4"),
        ("batch", "i4"),  # of an open one: where the newest match stands; NONE when it is known
        ("row", "i4"),
        ("variant", "i2"),
        ("state", "i1"),
        (
            "resting",
            "i1",
        ),  # an open one: nothing is to be told before it is missed, its source falls silent, or look_at
    ],
    align=True,
)
"""A condition of one rule for one key and zone, before it is raised. Once it is, a Condition has it and the run only
takes in what changes nothing."""

GONE, PENDING, OPEN, WATCHED = range(4)
"""Gone: forgotten, its place is free. Pending: here. Open: a Condition, that follows plain matches from here. Watched:
a Condition that sees every match itself."""

DWELL, HOLD, EVENT = range(3)

LIMITS = np.dtype(
    [
        ("raise_after_us", "i8"),
        ("max_move_m", "f8"),
        ("max_gap_us", "i8"),
        ("absent_us", "i8"),  # a match that comes sooner finds the condition still there
        ("min_points", "i4"),
        ("kind", "i4"),
        ("by_zone", "i4"),
    ],
    align=True,
)
"""What the loop needs to know of a variant of a rule; a row a rule, a column a variant, the base last."""


def raw(rows: Rows) -> Rows:
    """The same memory as rows without fields: numpy copies those fifty times as fast."""
    return rows.view(f"V{rows.dtype.itemsize}")


def taken(rows: Rows, which: npt.NDArray[Any] | slice) -> Rows:
    """A copy of some of the rows."""
    copy: Rows = raw(rows)[which].copy() if isinstance(which, slice) else raw(rows)[which]
    return copy.view(rows.dtype)


def joined(parts: Sequence[Rows], dtype: np.dtype[np.void]) -> Rows:
    """Rows of one kind behind each other; none make an empty array."""
    if not parts:
        return np.empty(0, dtype=dtype)
    whole: Rows = np.concatenate([raw(part) for part in parts])
    return whole.view(dtype)


def room_for(rows: Rows, count: int, room: int) -> Rows:
    """Rows with so much room, the first `count` as they are and nothing known of the others."""
    wider: Rows = np.zeros(room, dtype=rows.dtype)
    raw(wider)[:count] = raw(rows)[:count]
    return wider


def grown(facts: npt.NDArray[Any], count: int, room: int) -> npt.NDArray[Any]:
    """The same of an array of numbers, whatever there is of each."""
    wider = np.empty((room, *facts.shape[1:]), dtype=facts.dtype)
    wider[:count] = facts[:count]
    return wider


def plain_bytes(rows: Rows) -> bytes:
    """The rows as bytes that depend on nothing but what their fields say: what lies between fields is zero."""
    clean: Rows = np.zeros(len(rows), dtype=rows.dtype)
    for name in rows.dtype.names or ():
        clean[name] = rows[name]
    return clean.tobytes()
