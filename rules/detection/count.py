"""`count`: so many different values in the last `window`, looked at every `slide`, each there for some time.

    values   a  b a   b  c     a        each counts once, however often it is seen
    looks  |     |      |      |        on a grid of UTC; the rows of (look - window, look]
    count        2      3      2        raised at the look that finds `at_least`

`each_present`: from a value's first row in the window to its last. It ends when the count has been below `close.below`
(else `at_least`) for `close.for`, in windows that its source watched (`close.min_coverage`): no data is no emptiness.
"""

from __future__ import annotations

from math import gcd

from rules.detection.condition import Condition, Hit
from rules.detection.memory import FAR_US, Sightings
from rules.detection.windowed import WindowedWatch, border
from rules.language.model import Count

MOST_VALUES = 10_000
"""Different values a window tells apart: at some 200 bytes each 2 MB. Beyond, a new one is noted, not counted."""


class CountWatch(WindowedWatch):
    def limits(self, condition: Condition) -> Count:
        detect = self.variant(condition).detect
        assert isinstance(detect, Count)
        return detect

    def observe(self, hit: Hit) -> None:
        value = self.value(hit)
        if value is None or not hit.inside:
            return
        condition = self.open.get(self.slot(hit))
        if condition is None:
            condition = self.idle(hit, Sightings())
            condition.value = None
        else:
            self.newest(condition, hit)
        memory, limits = condition.memory, self.limits(condition)
        assert isinstance(memory, Sightings)
        self.see(memory, value, hit.time_us, bucket_us(limits))
        if memory.next_us == FAR_US:
            memory.next_us = border(hit.time_us, limits.slide_us)
        self.remember(condition, memory.next_us)

    def value(self, hit: Hit) -> str | None:
        """What tells this row from others; None where a field of it is null."""
        detect = self.rule.variants[hit.variant].detect
        assert isinstance(detect, Count)
        if not detect.distinct:
            return f"{hit.print_[0]:x}.{hit.print_[1]:x}.{hit.ordinal}"
        cells = [hit.attributes.get(name) for name in detect.distinct]
        if None in cells:
            return None
        return "\x1f".join(str(cell["token"] if isinstance(cell, dict) else cell) for cell in cells)

    def see(self, memory: Sightings, value: str, time_us: int, width_us: int) -> None:
        seen = memory.values.get(value)
        if seen is None:
            if len(memory.values) >= MOST_VALUES:
                self.evicted += 1
                return
            seen = memory.values[value] = []
        bucket = border(time_us, width_us)
        if seen and seen[-1][0] == bucket:
            seen[-1] = (bucket, seen[-1][1], time_us)
        else:
            seen.append((bucket, time_us, time_us))

    def awake(self, condition: Condition, now_us: int) -> None:
        memory = condition.memory
        assert isinstance(memory, Sightings)
        if condition.opened_us is not None and memory.next_us == FAR_US:
            memory.next_us = border(now_us, self.limits(condition).slide_us)
        if memory.next_us <= now_us:
            self.look(condition, memory, now_us)
        if self.open.get(self.slot(condition)) is not condition:
            return
        if condition.opened_us is not None:
            self.tend(condition, now_us)
        else:
            self.look_at(condition, FAR_US)

    def look(self, condition: Condition, memory: Sightings, now_us: int) -> None:
        """How many there are now, and what that changes."""
        limits = self.limits(condition)
        count = self.count(memory, now_us, limits)
        watching = self.lane.coverage.end_of_span(condition.source, now_us) is not None
        goes_on = bool(memory.values) or (condition.opened_us is not None and watching)
        memory.next_us = border(now_us + 1, limits.slide_us) if goes_on else FAR_US
        if count >= limits.at_least:
            self.enough(condition, count, now_us)
        elif condition.opened_us is not None:
            self.fewer(condition, count, now_us)
        elif self.current(condition) is not None or not memory.values:
            self.drop(condition)

    def enough(self, condition: Condition, count: int, now_us: int) -> None:
        if self.current(condition) is None:
            condition.since_us = now_us
        condition.last_us, condition.value, condition.closing_us = now_us, float(count), None
        if condition.opened_us is None:
            raised_us = self.raised_at(condition, 0)
            if raised_us <= now_us:
                self.raise_(condition, raised_us, condition.evidence[-1])
        else:
            self.back_at(condition, now_us)
        if condition.opened_us is not None:
            self.tell_stages(condition, now_us)

    def fewer(self, condition: Condition, count: int, now_us: int) -> None:
        """It ends when the count has been low for long enough, in windows that were watched."""
        close, from_us = self.variant(condition).close, now_us - self.limits(condition).window_us
        condition.value = float(count)
        watching = self.lane.coverage.share(condition.source, from_us, now_us) >= close.min_coverage
        below = self.limits(condition).at_least if close.below is None else close.below
        if not watching or count >= below:
            condition.closing_us = None
            if watching:
                self.back_at(condition, now_us)
            return
        condition.unknown = False
        if condition.closing_us is None:
            condition.closing_us = now_us
        cleared_us = condition.closing_us + close.for_us
        if now_us >= cleared_us:
            self.tell_stages(condition, cleared_us)
            self.clear(condition, cleared_us)

    @staticmethod
    def count(memory: Sightings, now_us: int, limits: Count) -> int:
        """The values of the window, without those too short; what is before the window is forgotten."""
        from_us, count = now_us - limits.window_us, 0
        for value, seen in list(memory.values.items()):
            while seen and seen[0][0] <= from_us:
                del seen[0]
            if not seen:
                del memory.values[value]
            elif seen[-1][2] - seen[0][1] >= limits.each_present_us:
                count += 1
        return count

    def seems_there(self, condition: Condition, at_us: int) -> bool:
        vouched = self.lane.coverage.end_of_span(condition.source, at_us) is not None
        return vouched and condition.closing_us is None


def bucket_us(limits: Count) -> int:
    """Wide enough to be few, and so that every window begins at a border."""
    return gcd(limits.window_us, limits.slide_us)
