"""`event`: something happens, once or several times within a span. It never clears by itself: a person verifies it.

a single one          every match raises at its own moment, at once, before the watermark: order can't change it
repeat n within t     x   x x    raised at the n-th match within t; matches at most t apart go on with the same one
"""

from __future__ import annotations

from functools import cached_property

from rules.detection.condition import Condition, Hit
from rules.detection.watch import Watch
from rules.language.model import Event, Rule


def decided_at_once(rule: Rule) -> bool:
    """Whether no other observation can change what a match means."""
    return all(isinstance(v.detect, Event) and v.detect.times == 1 for v in rule.variants)


class EventWatch(Watch):
    @cached_property
    def longest_us(self) -> int:
        """After which no match could go on with a burst, whatever override it falls under."""
        return max(self.limits(n).within_us for n in range(len(self.rule.variants)))

    def limits(self, variant: int) -> Event:
        detect = self.rule.variants[variant].detect
        assert isinstance(detect, Event)
        return detect

    def observe(self, hit: Hit) -> None:
        detect = self.limits(hit.variant)
        if detect.times == 1:
            self.raise_(Condition.begin(hit), hit.time_us, hit.offset)
            return
        condition = self.open.get(self.slot(hit))
        if condition is not None and hit.time_us - condition.last_us > detect.within_us:
            self.drop(condition)
            condition = None
        if condition is None:
            condition = Condition.begin(hit)
            self.keep(condition, hit.time_us + self.longest_us)
        else:
            self.follow(condition, hit)
        if condition.opened_us is None:
            first_us = hit.time_us - detect.within_us
            condition.times = [t for t in condition.times if t >= first_us] + [hit.time_us]
            if len(condition.times) >= detect.times:
                condition.since_us = condition.times[0]
                self.raise_(condition, hit.time_us, hit.offset)

    def awake(self, condition: Condition, now_us: int) -> None:
        quiet_us = condition.last_us + self.longest_us
        if quiet_us <= now_us:
            self.drop(condition)
        else:
            self.look_at(condition, quiet_us)
