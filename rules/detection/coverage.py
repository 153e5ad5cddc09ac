"""How much of a span a source vouched for. One sighting vouches for the `reach` after it, never for what was before it.

So the covered part of a span up to some moment depends on sightings up to that moment alone: later ones change nothing
about it, and sightings may come in any order. Times in microseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

from models.columns import I64, Texts

MOST_SPANS = 256
"""Spans kept a source: at a gap a minute that is over four hours, longer than any condition looks back."""


class Coverage:
    """Per source, the union of `[sighting, sighting + reach]` as sorted disjoint spans."""

    def __init__(self, reach_us: Callable[[str], int]) -> None:
        self.reach_us = reach_us
        self.spans: dict[str, tuple[list[int], list[int]]] = {}

    def see(self, source: Texts, time_us: I64) -> None:
        """Add sightings, one entry each."""
        words, spans = source.words, self.spans
        reaches = [self.reach_us(word) for word in words]
        for code, at_us in zip(source.codes.tolist(), time_us.tolist(), strict=True):
            span = spans.get(words[code])
            if span is not None and span[0][-1] <= at_us <= span[1][-1]:
                if at_us + reaches[code] > span[1][-1]:  # the usual case: the newest span goes on
                    span[1][-1] = at_us + reaches[code]
            else:
                self._add(words[code], at_us, at_us + reaches[code])

    def _add(self, source: str, start: int, end: int) -> None:
        spans = self.spans.get(source)
        if spans is None:
            self.spans[source] = ([start], [end])
            return
        starts, ends = spans
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
        if len(starts) > MOST_SPANS:
            del starts[0], ends[0]

    def covered_us(self, source: str, from_us: int, to_us: int) -> int:
        """How much of `[from_us, to_us]` is covered."""
        spans = self.spans.get(source)
        if spans is None or to_us <= from_us:
            return 0
        starts, ends = spans
        total, at = 0, max(0, bisect_right(starts, from_us) - 1)
        while at < len(starts) and starts[at] < to_us:
            total += max(0, min(ends[at], to_us) - max(starts[at], from_us))
            at += 1
        return total

    def share(self, source: str, from_us: int, to_us: int) -> float:
        """The covered share of a span; 1 of an empty one."""
        return self.covered_us(source, from_us, to_us) / (to_us - from_us) if to_us > from_us else 1.0

    def reached(self, source: str, from_us: int, need_us: int) -> int | None:
        """The first moment at which `need_us` of the time since `from_us` is covered; None when it isn't yet."""
        starts, ends = self.spans.get(source, ([], []))
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

    def end_of_span(self, source: str, at_us: int) -> int | None:
        """Until when the source vouches on from `at_us` without a gap; None where `at_us` itself isn't covered."""
        starts, ends = self.spans.get(source, ([], []))
        at = bisect_right(starts, at_us) - 1
        return ends[at] if at >= 0 and at_us < ends[at] else None

    def reaches_beyond(self, source: str, at_us: int) -> bool:
        """Whether it vouches for anything after `at_us`."""
        spans = self.spans.get(source)
        return spans is not None and spans[1][-1] > at_us

    def snapshot(self) -> dict[str, tuple[list[int], list[int]]]:
        return {source: (list(starts), list(ends)) for source, (starts, ends) in self.spans.items()}

    def restore(self, saved: dict[str, tuple[list[int], list[int]]]) -> None:
        self.spans = {source: (list(starts), list(ends)) for source, (starts, ends) in saved.items()}

    def silent_since(self, time_us: int) -> set[str]:
        """The sources that vouch for nothing after `time_us`."""
        return {source for source, (_, ends) in self.spans.items() if ends[-1] < time_us}

    def forget(self, sources: Iterable[str]) -> None:
        for source in sources:
            del self.spans[source]
