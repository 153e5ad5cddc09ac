"""The runs of a lane: an array of RUN rows with a table of their places by key. Only where loops are compiled."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from models.columns import I32, I64
from rules.detection.rows import ASKED, GONE, PENDING, RUN, Rows, grown, raw, room_for

LEAST_RUNS = 256
GROWTH, FULL = 1.35, 1.2
"""Room for a third more; grown again when what is left after a sweep would soon call for the next."""
MOST_PENDING = 1 << 21
"""Pending runs a lane keeps: two million, some 250 MB. Beyond, the half not seen for longest is forgotten and counted:
a city has not so many things that stand, so it is a flood of made-up keys."""


class Runs:
    """`longest_gap_us`: for each rule, after which no match could go on with a pending run. `asked`: whether any rule
    asks what stands around; then `met` has of each run how many of its hits had each."""

    def __init__(self, longest_gap_us: list[int], *, asked: bool) -> None:
        self.longest_gap_us = np.array(longest_gap_us, dtype=np.int64)
        self.kernels: Any = import_module("rules.detection.kernels")
        self.asked = ASKED if asked else 0
        self.have(np.zeros(LEAST_RUNS, dtype=RUN), self.nothing_met(LEAST_RUNS))
        self.table: I32 = np.full(4 * LEAST_RUNS, -1, dtype=np.int32)
        self.used = 0
        self.expired = self.evicted = 0

    def nothing_met(self, count: int) -> I32:
        return np.zeros((count, self.asked), dtype=np.int32)

    def have(self, rows: Rows, met: I32) -> None:
        """`facts`: the fields, each an array; setting one value of a row is twenty times as slow."""
        self.rows, self.met = rows, met
        self.facts: dict[str, npt.NDArray[Any]] = {name: rows[name] for name in RUN.names or ()}

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.met.nbytes + self.table.nbytes

    def has_room(self, more: int) -> bool:
        return self.used + more <= len(self.rows)

    def make_room(self, more: int, watermark_us: int) -> I32:
        """Room for so many more; what has ended goes. Gives the new place of each run, NONE where it is gone."""
        moved = self.sweep(watermark_us)
        need = self.used + more
        if need * FULL > len(self.rows):
            room = max(LEAST_RUNS, int(need * GROWTH))
            self.have(room_for(self.rows, self.used, room), grown(self.met, self.used, room))
            slots = 1 << (2 * len(self.rows) - 1).bit_length()
            self.table = np.empty(max(slots, 4 * LEAST_RUNS), dtype=np.int32)
        self.kernels.index_runs(self.rows, self.used, self.table)
        return moved

    def sweep(self, watermark_us: int) -> I32:
        """Close the gaps that ended runs left. The table is to be filled again."""
        rows = self.rows[: self.used]
        last_us = rows["last_us"]
        pending = rows["state"] == PENDING
        expired = pending & (last_us + self.longest_gap_us[rows["rule"]] < watermark_us)
        keep = (rows["state"] != GONE) & ~expired
        self.expired += int(expired.sum())
        waiting = pending & keep
        if (count := int(waiting.sum())) > MOST_PENDING:
            newest: I64 = np.sort(last_us[waiting])
            stale = waiting & (last_us < newest[count // 2])
            self.evicted += int(stale.sum())
            keep &= ~stale
        moved: I32 = np.cumsum(keep, dtype=np.int32) - 1
        moved[~keep] = -1
        kept = raw(rows)[keep]
        self.used = len(kept)
        raw(self.rows)[: self.used] = kept
        self.met[: self.used] = self.met[: len(keep)][keep]
        return moved
