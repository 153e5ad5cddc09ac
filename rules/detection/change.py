"""`change`: a number rises or falls by so much within a span.

    value   20   20   22   30   38   38   38        over 3 readings, at least 15
                       |<------->|                  raised at 38, the reading that shows it, against 20
                                      cleared when no reading has shown it for `over`

The newest reading is held against the lowest (highest) of the last `over`. A fall to exactly 0 by so much begins the
window of an `up` anew, and is left out: that is a sensor that was replaced or has started again.
"""

from __future__ import annotations

from bisect import bisect_left

from rules.detection.aggregate import MOST_SAMPLES
from rules.detection.condition import Condition, Hit
from rules.detection.memory import FAR_US, Window
from rules.detection.windowed import WindowedWatch
from rules.language.model import Change


class ChangeWatch(WindowedWatch):
    def limits(self, variant: int) -> Change:
        detect = self.rule.variants[variant].detect
        assert isinstance(detect, Change)
        return detect

    def observe(self, hit: Hit) -> None:
        value = hit.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return
        condition, limits = self.open.get(self.slot(hit)), self.limits(hit.variant)
        if condition is None:
            if not hit.inside:
                return
            condition = self.idle(hit, Window())
        elif condition.opened_us is not None:
            self.follow(condition, hit)
        else:
            self.newest(condition, hit)
        memory = condition.memory
        assert isinstance(memory, Window)
        self.forget_before(memory, hit.time_us - limits.over_us)
        if limits.direction == "up" and begins_anew(memory.values, value, limits):
            memory.times, memory.values = [], []
        else:
            self.add(memory, hit.time_us, value)
        memory.next_us = (memory.times[-1] if memory.times else hit.time_us) + limits.over_us
        self.remember(condition, memory.next_us)
        self.judge(condition, hit, memory, limits)

    def judge(self, condition: Condition, hit: Hit, memory: Window, limits: Change) -> None:
        since = shown_since(memory, limits) if memory.times else None
        if condition.opened_us is None:
            if since is None:
                return
            condition.since_us, condition.value = since, hit.value
            condition.times = [hit.time_us]
            self.raise_(condition, hit.time_us, hit.offset)
            self.go_on(condition, hit)
            return
        self.back(condition, hit)
        gone_us = condition.times[-1] + limits.over_us
        if since is not None:
            condition.times = [hit.time_us]
            self.tell_stages(condition, hit.time_us)
        elif hit.time_us >= gone_us:
            self.tell_stages(condition, gone_us)
            self.clear(condition, gone_us)

    def add(self, memory: Window, time_us: int, value: float) -> None:
        memory.times.append(time_us)
        memory.values.append(float(value))
        if len(memory.times) > MOST_SAMPLES:
            del memory.times[0], memory.values[0]
            self.evicted += 1

    @staticmethod
    def forget_before(memory: Window, time_us: int) -> None:
        gone = bisect_left(memory.times, time_us)
        del memory.times[:gone], memory.values[:gone]

    def awake(self, condition: Condition, now_us: int) -> None:
        memory = condition.memory
        assert isinstance(memory, Window)
        if memory.next_us <= now_us:
            self.forget_before(memory, now_us + 1 - self.limits(condition.variant).over_us)
            memory.next_us = FAR_US
        if condition.opened_us is not None:
            self.tend(condition, now_us)
        elif not memory.times:
            self.forget(condition)
        else:
            self.look_at(condition, memory.times[-1] + self.limits(condition.variant).over_us)

    def seems_there(self, condition: Condition, at_us: int) -> bool:
        return self.lane.coverage.end_of_span(condition.source, at_us) is not None


def begins_anew(values: list[float], value: float, limits: Change) -> bool:
    """Whether a sensor has been set back to 0."""
    return value == 0 and bool(values) and differs(values[-1], value, limits)


def differs(before: float, now: float, limits: Change) -> bool:
    """Whether it is a change by so much; of 0 nothing is a share."""
    if limits.relative:
        return before != 0 and abs(now - before) >= limits.at_least * abs(before)
    return abs(now - before) >= limits.at_least


def shown_since(memory: Window, limits: Change) -> int | None:
    """When the newest of the samples began that show the change; None where none does."""
    now = memory.values[-1]
    for time_us, value in zip(reversed(memory.times), reversed(memory.values), strict=True):
        upward = value < now
        if limits.direction == ("down" if upward else "up"):
            continue
        if value != now and differs(value, now, limits):
            return time_us
    return None
