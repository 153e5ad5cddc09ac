"""Hits that wait for the watermark of their lane, in no order, and the batches they stand in."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from rules.detection.rows import HIT, Rows, raw, room_for, taken

LEAST_ROOM = 256
MOST_SPARE = 1 << 14
"""Room that is kept even if nothing needs it any more: some 1.5 MB."""
LATEST_US = 1 << 62


class Waiting:
    """How many wait is bounded by the lateness of the stream: a later hit is not taken, an earlier one decided."""

    def __init__(self, *, compiled: bool) -> None:
        self._kernels: Any = import_module("rules.detection.kernels") if compiled else None
        self._room: Rows = np.zeros(LEAST_ROOM, dtype=HIT)
        self.count = 0
        self.earliest_us = LATEST_US

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        return self._room.nbytes

    @property
    def rows(self) -> Rows:
        """The memory itself."""
        return self._room[: self.count]

    def add(self, hits: Rows) -> int:
        """Gives the latest event time among them."""
        count = self.count + len(hits)
        if count > len(self._room):
            self._room = room_for(self._room, self.count, 2 * count)
        if self._kernels is None:
            raw(self._room)[self.count : count] = raw(hits)
            earliest_us, latest_us = int(hits["time_us"].min()), int(hits["time_us"].max())
        else:
            earliest_us, latest_us = self._kernels.put_in(self._room, self.count, hits)
        self.count = count
        self.earliest_us = min(self.earliest_us, earliest_us)
        return latest_us

    def left(self, count: int, earliest_us: int) -> None:
        """Only the first so many still wait: a loop has moved them there. The earliest of them, LATEST_US of none."""
        self.count = count
        if len(self._room) > MOST_SPARE and 8 * count < len(self._room):
            self._room = room_for(self._room, count, max(LEAST_ROOM, 2 * count))
        self.earliest_us = earliest_us

    def take_due(self, watermark_us: int) -> Rows:
        """The hits up to the watermark; they wait no more."""
        due = self.rows["time_us"] <= watermark_us
        hits, rest = taken(self.rows, due), taken(self.rows, ~due)
        raw(self._room)[: len(rest)] = raw(rest)
        self.left(len(rest), int(rest["time_us"].min()) if len(rest) else LATEST_US)
        return hits
