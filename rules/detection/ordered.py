"""`sequence`: steps in order, of one key; the automaton is `rules.patterns.sequence`.

    steps    1 . . 2 . . . 3       raised at the last step, or, where that is negated, when the time has passed

A match is one moment and never clears: it happened. A person verifies it.
"""

from __future__ import annotations

from functools import cached_property

from rules.detection.condition import Condition, Hit
from rules.detection.memory import Steps
from rules.detection.watch import Watch
from rules.language.model import InSequence
from rules.patterns.sequence import Match, Progress, Sequence, Sighting


class SequenceWatch(Watch):
    @cached_property
    def patterns(self) -> list[Sequence]:
        """Of each variant, the base last."""
        detects = [variant.detect for variant in self.rule.variants]
        return [Sequence(detect) for detect in detects if isinstance(detect, InSequence)]

    def observe(self, hit: Hit) -> None:
        if not hit.inside:
            return
        condition = self.open.get(self.slot(hit))
        if condition is None:
            condition = Condition.begin(hit)
            condition.memory = Steps(Progress())
        pattern, progress = self.patterns[hit.variant], self.progress(condition)
        before = len(progress.reached)
        seen = Sighting(hit.time_us, hit.lon, hit.lat, hit.offset)
        names = [step.name for place, step in enumerate(pattern.steps) if hit.signal >> place & 1]
        matches = pattern.feed(progress, names, seen)
        if matches or len(progress.reached) > before or not before:
            self.follow(condition, hit)
            condition.area, condition.last_us = hit.area, hit.time_us
        self.raise_all(condition, matches)
        self.remember(condition, self.next_look_us(condition))

    def progress(self, condition: Condition) -> Progress:
        assert isinstance(condition.memory, Steps)
        return condition.memory.progress

    def raise_all(self, condition: Condition, matches: list[Match]) -> None:
        for match in matches:
            told = Condition(
                key=condition.key, zone=condition.zone, source=condition.source, area=condition.area,
                since_us=match.since_us, last_us=match.time_us, anchor_lon=condition.lon, anchor_lat=condition.lat,
                lon=condition.lon, lat=condition.lat, error_m=condition.error_m, value=condition.value,
                variant=condition.variant, attributes=condition.attributes,
                evidence=[int(seen.ref) for seen in match.reached],
            )  # fmt: skip
            self.raise_(told, match.time_us, told.evidence[-1])

    def next_look_us(self, condition: Condition) -> int:
        pattern, progress = self.patterns[condition.variant], self.progress(condition)
        due_us, forgettable_us = pattern.due_us(progress), pattern.forgettable_us(progress)
        return forgettable_us if due_us is None else min(due_us, forgettable_us)

    def awake(self, condition: Condition, now_us: int) -> None:
        pattern = self.patterns[condition.variant]
        self.raise_all(condition, pattern.advance(self.progress(condition), now_us))
        if pattern.forgettable_us(self.progress(condition)) <= now_us:
            self.forget(condition)
        else:
            self.look_at(condition, max(now_us + 1, self.next_look_us(condition)))
