"""What stands around a hit, as bits of its signal; and what a run of hits must have found of it to be raised.

Bits 0 to 2 are the rule's boxes, as written; bit 3 says that the ground ahead is in view, bit 4 that stopping is usual
there. A condition counts how many of its hits had each (`met`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.columns import F64, I8, I64
from rules.detection.rows import ASKED, HALF, IN_VIEW, SLACK, USUAL, Rows
from rules.detection.tracks import Released
from rules.detection.tracks_loop import Loops
from rules.language.model import Box, Neighbours


def signals(asked: Neighbours, hits: Rows, released: Released, aheads: F64, loops: Loops) -> I8:
    """The bits of each hit of one rule."""
    rows: I64 = hits["row"].astype(np.int64)
    bits = np.zeros(len(rows), dtype=np.int8)
    for place, box in enumerate(asked.boxes):
        bits |= box_met(box, rows, released, loops) << np.int8(place)
    if asked.in_view is not None:
        far = int(np.searchsorted(aheads, asked.in_view.ahead_m))
        bits |= (1 - (released.ends[rows] >> far & 1)) << np.int8(IN_VIEW)
    if asked.usual_stop is not None:
        bits |= released.usual[rows] << np.int8(USUAL)
    bits[np.isnan(hits["lon"])] = 0  # what stands around it is unknown
    return bits


def box_met(box: Box, rows: I64, released: Released, loops: Loops) -> I8:
    batch, found = released.batch, np.zeros(len(rows), dtype=np.int8)
    there = box.where.mask(batch) & released.real
    loops.look_around(
        rows, released.first[rows], released.last[rows], there, batch.numbers("lon"), batch.numbers("lat"),
        batch.numbers("heading_deg"), box.ahead_m, box.behind_m, box.abeam_m, found,
    )  # fmt: skip
    return found if box.kind == "some" else 1 - found


def bits_of(signal: int) -> list[int]:
    """One number for each thing that can be asked."""
    return [signal >> place & 1 for place in range(ASKED)]


def needs_of(asked: Neighbours | None) -> list[float]:
    """The share of its hits that must have each of boxes and view (0: not asked); then `wait_us` (0: none) and whether
    anything is asked."""
    if asked is None:
        return [0.0] * (ASKED + 1)
    shares = [box.at_least for box in asked.boxes]
    shares += [0.0] * (IN_VIEW - len(shares))
    shares.append(0.0 if asked.in_view is None else asked.in_view.at_least)
    return [*shares, 0.0 if asked.usual_stop is None else float(asked.usual_stop.wait_us), 1.0]


def fulfilled(needs: Sequence[float], met: Sequence[int], points: int) -> bool:
    return all(met[place] >= needs[place] * points - SLACK for place in range(USUAL))


def waits_us(needs: Sequence[float], met: Sequence[int], points: int) -> int:
    """How long a run must last where stopping is usual; 0 where it is not."""
    return round(needs[USUAL]) if met[USUAL] >= HALF * points else 0
