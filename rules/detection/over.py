"""`hold` over a window: the value is not a row's own but what the rows of the last `window` say together.

    rows     x  x x   x    x  x          NaN and null are no sample; an empty window is no value, never a zero
    looks  |      |      |      |        every `slide`, on a grid of UTC; the rows of (look - window, look]
    value         v1     v2     v3       nothing from fewer than `min_samples`

Each look that has a value is a reading to the hold, at the moment of the look.
"""

from __future__ import annotations

from bisect import bisect_right

from rules.detection.aggregate import MOST_SAMPLES, aggregate
from rules.detection.condition import Condition, Hit
from rules.detection.hold import CLOSES, OPENS, HoldWatch
from rules.detection.memory import FAR_US, Window
from rules.detection.windowed import WindowedWatch, border
from rules.language.model import Aggregate


class OverWatch(WindowedWatch, HoldWatch):
    def over(self, condition: Condition) -> Aggregate:
        over = self.limits(condition).over
        assert over is not None
        return over

    def observe(self, hit: Hit) -> None:
        condition = self.open.get(self.slot(hit))
        if condition is None:
            if not hit.inside:
                return
            condition = self.idle(hit, Window())
        else:
            self.newest(condition, hit)
        memory = condition.memory
        assert isinstance(memory, Window)
        value = 1.0 if self.over(condition).fn == "count" else hit.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return
        memory.times.append(hit.time_us)
        memory.values.append(float(value))
        if len(memory.times) > MOST_SAMPLES:
            del memory.times[0], memory.values[0]
            self.evicted += 1
        if memory.next_us == FAR_US:
            memory.next_us = border(hit.time_us, self.over(condition).slide_us)
        self.remember(condition, memory.next_us)

    def awake(self, condition: Condition, now_us: int) -> None:
        if self.next_us(condition) <= now_us:
            self.look(condition, now_us)
        if self.open.get(self.slot(condition)) is not condition:
            return
        if self.current(condition) is None:
            self.look_at(condition, FAR_US)
        else:
            super().awake(condition, now_us)

    def look(self, condition: Condition, now_us: int) -> None:
        """What the window says now."""
        memory, over = condition.memory, self.over(condition)
        assert isinstance(memory, Window)
        gone = bisect_right(memory.times, now_us - over.window_us)
        del memory.times[:gone], memory.values[:gone]
        memory.next_us = border(now_us + 1, over.slide_us) if memory.times else FAR_US
        value = aggregate(over, memory.times, memory.values)
        if value is not None:
            self.read(self.reading(condition, now_us, value), self.current(condition))
        elif not memory.times and self.current(condition) is None:
            self.forget(condition)

    def reading(self, condition: Condition, now_us: int, value: float) -> Hit:
        """What the window says, as a row would say it."""
        return Hit(
            time_us=now_us, rule=self.number, key=condition.key, zone=condition.zone, print_=(0, 0), ordinal=0,
            source=condition.source, area=condition.area, offset=condition.evidence[-1], variant=condition.variant,
            inside=True, signal=self.says(condition, value), lon=condition.lon, lat=condition.lat,
            error_m=condition.error_m, value=value, attributes=condition.attributes,
        )  # fmt: skip

    def says(self, condition: Condition, value: float) -> int:
        limits = self.limits(condition)
        record = {limits.value_field or "value": value, "value": value}
        if limits.open_when.value(record) is True:
            return OPENS
        return CLOSES if limits.close_when.value(record) is True else 0

    def begin(self, hit: Hit) -> Condition:
        condition = self.open[self.slot(hit)]
        condition.since_us = condition.last_us = hit.time_us
        condition.value, condition.points = hit.value, 1
        return condition
