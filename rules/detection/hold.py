"""`hold`: a value crosses a level and stays there; it ends only at another level, also held.

    value   close  open  open  open   between  close  close
                   |<-- for -->|               |<-close_for->|
                 since      raised          closing       cleared, at closing + close_for

Both are decided by the first reading at or after the moment, and told with the moment itself. Between the levels
nothing changes once it is open; before that any reading that isn't open begins the wait anew.

What was open when its source fell silent stays open and unknown. An opening level that is seen only after a day of
silence is another condition: nobody can say that it is the same, and whoever saw to the first has long closed it.
"""

from __future__ import annotations

from models.times import HOUR_US
from rules.detection.condition import Condition, Hit
from rules.detection.watch import Watch
from rules.language.model import Hold

OPENS, CLOSES = 1, -1
ANEW_AFTER_US = 24 * HOUR_US


class HoldWatch(Watch):
    def observe(self, hit: Hit) -> None:
        self.read(hit, self.open.get(self.slot(hit)))

    def read(self, hit: Hit, condition: Condition | None) -> None:
        """Take one reading of what is held."""
        if condition is not None and self.is_another(condition, hit):
            self.drop(condition)
            condition = None
        if condition is None:
            if hit.signal == OPENS and hit.inside:
                condition = self.begin(hit)
                self.keep(condition, self.silent_from(condition))
                self.raise_when_due(condition, hit)
        elif condition.opened_us is None:
            if hit.signal != OPENS:
                self.drop(condition)
                return
            self.follow(condition, hit)
            self.raise_when_due(condition, hit)
        else:
            self.follow(condition, hit)
            cleared_us = self.cleared_at(condition, hit)
            if cleared_us is None:
                self.back(condition, hit)
                self.tell_stages(condition, hit.time_us)
            else:
                self.tell_stages(condition, cleared_us)
                self.clear(condition, cleared_us)

    def begin(self, hit: Hit) -> Condition:
        return Condition.begin(hit)

    def is_another(self, condition: Condition, hit: Hit) -> bool:
        """Whether so much time went unseen that this opening level is not the old condition's."""
        long_unseen = condition.unknown and hit.time_us - condition.last_us >= ANEW_AFTER_US
        return long_unseen and hit.signal == OPENS and hit.inside

    def raise_when_due(self, condition: Condition, hit: Hit) -> None:
        raised_us = self.raised_at(condition, self.limits(condition).for_us)
        if hit.time_us >= raised_us:
            self.raise_(condition, raised_us, hit.offset)
            self.go_on(condition, hit)

    def cleared_at(self, condition: Condition, hit: Hit) -> int | None:
        """When it ended, once this reading shows that the closing level has held; None if it doesn't."""
        if hit.signal != CLOSES:
            condition.closing_us = None
            return None
        if condition.closing_us is None:
            condition.closing_us = hit.time_us
        cleared_us = condition.closing_us + self.limits(condition).close_for_us
        return cleared_us if hit.time_us >= cleared_us else None

    def limits(self, condition: Condition) -> Hold:
        detect = self.variant(condition).detect
        assert isinstance(detect, Hold)
        return detect

    def silent_from(self, condition: Condition) -> int:
        """When the source stops vouching if nothing more comes."""
        end_us = self.lane.coverage.end_of_span(condition.source, condition.last_us)
        return condition.last_us if end_us is None else end_us

    def awake(self, condition: Condition, now_us: int) -> None:
        if condition.opened_us is None:
            silent_us = self.silent_from(condition)
            if silent_us <= now_us:
                self.drop(condition)
            else:
                self.look_at(condition, silent_us)
            return
        self.tend(condition, now_us)

    def seems_there(self, condition: Condition, at_us: int) -> bool:
        """While its source vouches and does not say otherwise; `no_data: hold` keeps it open, but says nothing."""
        vouched = self.lane.coverage.end_of_span(condition.source, at_us) is not None
        return vouched and condition.closing_us is None
