"""`dwell`: a key stands in one place for a time.

    match  x  x  x     x  x  x  x        x = a row that fulfils where and zones, at most max_gap apart, within max_move
           |<------ for ------->|        of the first one
         since                raised at since + for, decided by the first match at or after it

A row that doesn't match says nothing by itself; absence is time without a match while the source is watching. An open
condition clears when it has been absent for `close.absent_for`, of which `close.min_coverage` was watched.
"""

from __future__ import annotations

import math
from functools import cached_property

from geo.distance import distance_m
from models.times import SECOND_US
from rules.detection.condition import Condition, Hit
from rules.detection.missed import MissedWatch
from rules.detection.neighbours import bits_of, fulfilled, needs_of, waits_us
from rules.language.model import Dwell, Neighbours


class DwellWatch(MissedWatch):
    @cached_property
    def forgotten_after_us(self) -> int:
        return max(self.limits(n).max_gap_us for n in range(len(self.rule.variants)))

    def observe(self, hit: Hit) -> None:
        condition = self.open.get(self.slot(hit))
        if condition is not None and self.elsewhere(condition, hit):
            return
        if condition is not None and condition.opened_us is not None:
            gone_us = self.gone_at(condition)
            if gone_us is not None and gone_us <= hit.time_us:
                self.clear(condition, gone_us)
                condition = None
        if condition is None:
            if hit.inside:
                self.begin(hit)
        elif condition.opened_us is None:
            self.lengthen(condition, hit)
        elif self.in_place(condition, hit):
            self.follow(condition, hit)
            self.back(condition, hit)
            self.tell_stages(condition, hit.time_us)

    def lengthen(self, condition: Condition, hit: Hit) -> None:
        """A pending run goes on with this match, or begins anew with it."""
        limits = self.limits(hit.variant)
        if hit.time_us - condition.last_us > limits.max_gap_us or not self.in_place(condition, hit):
            self.drop(condition)
            if hit.inside:
                self.begin(hit)
            return
        before_us = condition.last_us
        self.follow(condition, hit)
        raised_us = self.raised_at(condition, limits.for_us)
        if self.asked is not None:
            add(condition.met, bits_of(hit.signal))
            raised_us = max(raised_us, condition.since_us + waits_us(self.needs, condition.met, condition.points))
            if not fulfilled(self.needs, condition.met, condition.points):
                return
        if hit.time_us < raised_us or condition.points < limits.min_points:
            return
        late = condition.points == limits.min_points or (self.asked is not None and before_us >= raised_us)
        self.raise_(condition, max(raised_us, hit.time_us) if late else raised_us, hit.offset)
        self.go_on(condition, hit)

    def elsewhere(self, condition: Condition, hit: Hit) -> bool:
        """Whether the camera looks elsewhere: what it calls the same there is another thing."""
        if not self.lane.sources.other_view(hit.source, condition.source):
            return False
        return condition.opened_us is not None or hit.time_us - condition.last_us <= self.limits(hit.variant).max_gap_us

    def begin(self, hit: Hit) -> None:
        condition = Condition.begin(hit)
        if self.asked is not None:
            condition.met = bits_of(hit.signal)
        self.keep(condition, hit.time_us + self.forgotten_after_us)

    @cached_property
    def asked(self) -> Neighbours | None:
        return self.rule.neighbours

    @cached_property
    def needs(self) -> list[float]:
        return needs_of(self.asked)

    def in_place(self, condition: Condition, hit: Hit) -> bool:
        most_m = self.limits(hit.variant).max_move_m
        moved_m = distance_m(condition.anchor_lon, condition.anchor_lat, hit.lon, hit.lat)
        return most_m == math.inf or moved_m <= most_m

    def limits(self, variant: int) -> Dwell:
        detect = self.rule.variants[variant].detect
        assert isinstance(detect, Dwell)
        return detect

    def awake(self, condition: Condition, now_us: int) -> None:
        if condition.opened_us is None:
            due_us = condition.last_us + self.forgotten_after_us
            if due_us <= now_us:
                self.drop(condition)
            else:
                self.look_at(condition, due_us)
            return
        self.tend_or_miss(condition, now_us)

    def measured(self, condition: Condition, at_us: int) -> tuple[float, str]:
        return round((at_us - condition.opened_since_us) / SECOND_US, 3), "s"


def add(met: list[int], bits: list[int]) -> None:
    for place, bit in enumerate(bits):
        met[place] += bit
