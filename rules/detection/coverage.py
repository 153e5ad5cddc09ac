"""How much of a span a source vouched for. One sighting vouches for the `reach` after it, never for what was before it.

So the covered part of a span up to some moment depends on sightings up to that moment alone: later ones change nothing
about it, and sightings may come in any order. Times in microseconds; sources are numbers.

Nearly all sightings lengthen the newest span of their source, so that one stands in arrays; older ones, which only a
look further back asks for, in lists.
"""

from __future__ import annotations

from bisect import bisect_right
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from models.columns import I32, I64, Mask
from rules.detection.rows import grown

MOST_SPANS = 256
"""Spans kept a source: at a gap a minute that is over four hours, longer than any condition looks back."""
NEVER_US = -(1 << 62)


class CoverageState(msgspec.Struct, array_like=True):
    start_us: bytes
    end_us: bytes
    older: dict[int, tuple[list[int], list[int]]]


class Coverage:
    """Per source, the union of `[sighting, sighting + reach]` as sorted disjoint spans."""

    def __init__(self, *, compiled: bool = False) -> None:
        self.count = 0
        self.reach_us, self.start_us, self.end_us = (np.empty(0, dtype=np.int64) for _ in range(3))
        self.older: dict[int, tuple[list[int], list[int]]] = {}
        self._kernels: Any = import_module("rules.detection.kernels") if compiled else None

    @property
    def nbytes(self) -> int:
        lists = sum(16 * len(starts) + 200 for starts, _ in self.older.values())
        return 3 * self.reach_us.nbytes + lists

    def add_sources(self, reach_us: list[int]) -> None:
        """The next numbers, and how long a sighting of each vouches."""
        count = self.count + len(reach_us)
        if count > len(self.reach_us):
            room = max(16, count, self.count * 2)
            self.reach_us, self.start_us, self.end_us = (
                grown(a, self.count, room) for a in (self.reach_us, self.start_us, self.end_us)
            )
        self.reach_us[self.count : count] = reach_us
        self.start_us[self.count : count] = self.end_us[self.count : count] = NEVER_US
        self.count = count

    def see(self, source: I32, time_us: I64) -> None:
        """Add sightings, one entry each."""
        if self._kernels is None:
            for one, at_us in zip(source.tolist(), time_us.tolist(), strict=True):
                self._see(one, at_us)
            return
        closed, early = np.empty(len(source), dtype=np.int32), np.empty(len(source), dtype=np.int32)
        starts, ends = np.empty(len(source), dtype=np.int64), np.empty(len(source), dtype=np.int64)
        shut, back = self._kernels.see(
            source, time_us, self.reach_us, self.start_us, self.end_us, closed, starts, ends, early
        )
        for one, start_us, end_us in zip(
            closed[:shut].tolist(), starts[:shut].tolist(), ends[:shut].tolist(), strict=True
        ):
            self._close(one, start_us, end_us)
        for i in early[:back].tolist():
            self._add(int(source[i]), int(time_us[i]))

    def _see(self, source: int, at_us: int) -> None:
        start_us, end_us = int(self.start_us[source]), int(self.end_us[source])
        upto_us = at_us + int(self.reach_us[source])
        if at_us > end_us:
            if end_us > start_us:
                self._close(source, start_us, end_us)
            self.start_us[source], self.end_us[source] = at_us, upto_us
        elif at_us >= start_us:
            self.end_us[source] = max(end_us, upto_us)
        else:
            self._add(source, at_us)

    def _close(self, source: int, start_us: int, end_us: int) -> None:
        starts, ends = self.older.setdefault(source, ([], []))
        starts.append(start_us)
        ends.append(end_us)
        if len(starts) >= MOST_SPANS:
            del starts[0], ends[0]

    def _add(self, source: int, start: int) -> None:
        """A sighting before the newest span began."""
        starts, ends = self.spans(source)
        end = start + int(self.reach_us[source])
        at = bisect_right(starts, start)
        if at and ends[at - 1] >= start:
            at -= 1
            start, end = starts[at], max(ends[at], end)
            del starts[at], ends[at]
        upto = at
        while upto < len(starts) and starts[upto] <= end:
            end = max(end, ends[upto])
            upto += 1
        starts[at:upto], ends[at:upto] = [start], [end]
        self.start_us[source], self.end_us[source] = starts.pop(), ends.pop()
        if starts:
            self.older[source] = starts[-MOST_SPANS + 1 :], ends[-MOST_SPANS + 1 :]
        else:
            self.older.pop(source, None)

    def spans(self, source: int) -> tuple[list[int], list[int]]:
        """All spans of a source, oldest first."""
        starts, ends = self.older.get(source, ((), ()))
        if self.end_us[source] == NEVER_US:
            return [], []
        return [*starts, int(self.start_us[source])], [*ends, int(self.end_us[source])]

    def covered_us(self, source: int, from_us: int, to_us: int) -> int:
        """How much of `[from_us, to_us]` is covered."""
        if to_us <= from_us:
            return 0
        start_us = int(self.start_us[source])
        total = max(0, min(int(self.end_us[source]), to_us) - max(start_us, from_us))
        if from_us >= start_us or source not in self.older:
            return total
        starts, ends = self.older[source]
        at = max(0, bisect_right(starts, from_us) - 1)
        while at < len(starts) and starts[at] < to_us:
            total += max(0, min(ends[at], to_us) - max(starts[at], from_us))
            at += 1
        return total

    def share(self, source: int, from_us: int, to_us: int) -> float:
        """The covered share of a span; 1 of an empty one."""
        return self.covered_us(source, from_us, to_us) / (to_us - from_us) if to_us > from_us else 1.0

    def reached(self, source: int, from_us: int, need_us: int) -> int | None:
        """The first moment at which `need_us` of the time since `from_us` is covered; None when it isn't yet."""
        starts: list[int]
        ends: list[int]
        if from_us >= self.start_us[source]:
            starts, ends = [int(self.start_us[source])], [int(self.end_us[source])]
        else:
            starts, ends = self.spans(source)
        at = max(0, bisect_right(starts, from_us) - 1)
        while at < len(starts):
            begin = max(starts[at], from_us)
            room = ends[at] - begin
            if room > 0:
                if room >= need_us:
                    return begin + need_us
                need_us -= room
            at += 1
        return None

    def end_of_span(self, source: int, at_us: int) -> int | None:
        """Until when the source vouches on from `at_us` without a gap; None where `at_us` itself isn't covered."""
        if at_us >= self.start_us[source]:
            end_us = int(self.end_us[source])
            return end_us if at_us < end_us else None
        if source not in self.older:
            return None
        starts, ends = self.older[source]
        at = bisect_right(starts, at_us) - 1
        return ends[at] if at >= 0 and at_us < ends[at] else None

    def reaches_beyond(self, source: int, at_us: int) -> bool:
        """Whether it vouches for anything after `at_us`."""
        return bool(self.end_us[source] > at_us)

    def silent_since(self, time_us: int) -> Mask:
        """For each source, whether it vouches for nothing after `time_us`."""
        silent: Mask = self.end_us[: self.count] < time_us
        return silent

    def keep(self, wanted: Mask, moved: I32) -> None:
        """Forget the other sources; `moved` gives each old number's new one."""
        count = int(wanted.sum())
        for spans in (self.reach_us, self.start_us, self.end_us):
            spans[:count] = spans[: self.count][wanted]
        self.older = {int(moved[source]): spans for source, spans in self.older.items() if wanted[source]}
        self.count = count

    def snapshot(self) -> CoverageState:
        older = {source: (list(starts), list(ends)) for source, (starts, ends) in sorted(self.older.items())}
        return CoverageState(self.start_us[: self.count].tobytes(), self.end_us[: self.count].tobytes(), older)

    def restore(self, saved: CoverageState) -> None:
        """As many sources as it has now."""
        self.start_us[: self.count] = np.frombuffer(saved.start_us, np.int64)
        self.end_us[: self.count] = np.frombuffer(saved.end_us, np.int64)
        self.older = {source: (list(starts), list(ends)) for source, (starts, ends) in saved.older.items()}
