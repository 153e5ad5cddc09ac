"""What ends because it is no longer seen: absence is time without a match while the source is watching."""

from __future__ import annotations

from models.times import SECOND_US
from rules.detection.condition import Condition
from rules.detection.watch import Watch
from rules.language.model import Variant

ABSENT_FOR_US = 60 * SECOND_US
"""Where a rule states no `close.absent_for`."""


class MissedWatch(Watch):
    """An open condition clears when it has been absent for `close.absent_for`, of which `min_coverage` was watched."""

    @staticmethod
    def absent_us(variant: Variant) -> int:
        return variant.close.absent_for_us if variant.close.absent_for_us is not None else ABSENT_FOR_US

    def gone_at(self, condition: Condition) -> int | None:
        """The moment the absence since the last match is long enough and watched enough; None if it isn't yet."""
        variant = self.variant(condition)
        absent_us, share = self.absent_us(variant), variant.close.min_coverage
        watched = self.lane.coverage.reached(condition.source, condition.last_us, round(absent_us * share))
        return None if watched is None else max(watched, condition.last_us + absent_us)

    def upcoming(self, condition: Condition, now_us: int) -> int:
        gone_us, tend_us = self.gone_at(condition), super().upcoming(condition, now_us)
        return tend_us if gone_us is None else min(tend_us, gone_us)

    def tend_or_miss(self, condition: Condition, now_us: int) -> None:
        gone_us = self.gone_at(condition)
        if gone_us is not None and gone_us <= now_us:
            self.clear(condition, gone_us)
        else:
            self.tend(condition, now_us)
