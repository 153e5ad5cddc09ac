"""`event`: something happens, once or several times within a span. It never clears by itself: a person verifies it.

a single one          every match raises at its own moment, at once, before the watermark: order can't change it
one that goes on      x  x  x      raised at the first; matches at most `within` apart are the same one, told each 30 s
repeat n within t     x   x x      raised at the n-th match within t; matches at most t apart go on with the same one

With `close.when` it stays open until a row closes it, and a match while it is open is the same one.
"""

from __future__ import annotations

from functools import cached_property

from rules.detection.condition import Condition, Hit
from rules.detection.looks import closes_by_rows
from rules.detection.memory import FAR_US
from rules.detection.watch import STILL_EVERY_US, Watch
from rules.language.model import Event, Rule

ONE = Event()


def decided_at_once(rule: Rule) -> bool:
    """Whether no other observation can change what a match means."""
    return all(v.detect == ONE for v in rule.variants) and not closes_by_rows(rule)


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
        if not hit.inside:
            return
        if detect == ONE and not self.closed_by_rows:
            self.raise_(Condition.begin(hit), hit.time_us, hit.offset)
            return
        condition = self.open.get(self.slot(hit))
        if condition is not None and self.is_over(condition, hit.time_us, detect.within_us):
            self.drop(condition)
            condition = None
        if condition is None:
            condition = Condition.begin(hit)
            self.remember(condition, hit.time_us + self.longest_us)
        else:
            self.follow(condition, hit)
        if condition.opened_us is None:
            first_us = hit.time_us - detect.within_us
            condition.times = [t for t in condition.times if t >= first_us] + [hit.time_us]
            if len(condition.times) >= detect.times:
                condition.since_us = condition.times[0]
                self.raise_(condition, hit.time_us, hit.offset)
                self.look_at(condition, self.next_look_us(condition))

    def is_over(self, condition: Condition, now_us: int, within_us: int) -> bool:
        """Whether a match now is another one."""
        lasts = self.closed_by_rows and condition.opened_us is not None
        return not lasts and now_us - condition.last_us > within_us

    def tells_still(self, condition: Condition) -> bool:
        return condition.opened_us is not None and (self.closed_by_rows or self.limits(condition.variant).times == 1)

    def next_look_us(self, condition: Condition) -> int:
        still_us = condition.still_us if self.tells_still(condition) else FAR_US
        ends_us = self.times_out_at(condition) if self.closed_by_rows else None
        quiet_us = FAR_US if self.closed_by_rows and condition.opened_us else condition.last_us + self.longest_us
        return min(still_us, quiet_us, FAR_US if ends_us is None else ends_us)

    def awake(self, condition: Condition, now_us: int) -> None:
        if self.tells_still(condition):
            while condition.still_us <= now_us:
                if self.seems_there(condition, condition.still_us):
                    self.tell("still", condition, condition.still_us, None)
                condition.still_us += STILL_EVERY_US
        if (look_us := self.next_look_us(condition)) > now_us:
            self.look_at(condition, look_us)
        elif self.closed_by_rows and condition.opened_us is not None:
            self.clear(condition, now_us)
        else:
            self.drop(condition)
