"""Readings of one sensor to alarms: a value further out than what this sensor has shown so far explains.

Both tails of what was seen are taken as exponential beyond their outermost twentieth (peaks over a threshold: few
assumptions, two figures a side, as good for speeds as for travel times). A reading's surprise is how many tenfolds
rarer than every reading it is under that tail. What surprises is not learned, so that tomorrow's queue is found as
today's was, unless it goes on for so long that it is how things are now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.times import HOUR_US

TAIL = 0.05
"""The share of readings a tail is learned from."""
FLAT = 1e-9
"""What a tail of equal readings counts as being wide."""


@dataclass(frozen=True, slots=True)
class AnomalySettings:
    """One configuration for all sensors. `surprise`: 3.5 is one reading in some 3,000, at five minutes one in eleven
    days. `quiet_us`: an alarm follows no other while readings surprise at most this far apart. `accept_us`: what
    surprises without a break for longer is learned. `learn`, `keep`: how many readings before the first alarm, and how
    many are remembered (at five minutes, 17 hours and 17 days)."""

    surprise: float = 3.5
    quiet_us: int = 12 * HOUR_US
    accept_us: int = 3 * HOUR_US
    learn: int = 200
    keep: int = 5000


class SensorAnomalies:
    """Of one sensor, in the order of time. Knows nothing of later readings."""

    def __init__(self, settings: AnomalySettings | None = None) -> None:
        self.settings = settings or AnomalySettings()
        self._seen: NDArray[np.float64] = np.empty(self.settings.keep)
        self._count = 0
        self._hot_since_us: int | None = None
        self._last_hot_us: int | None = None

    def add(self, at_us: int, value: float) -> bool:
        """Whether this reading raises an alarm. A reading that is no finite number is passed over."""
        if not math.isfinite(value):
            return False
        if self.surprise(value) < self.settings.surprise:
            self._hot_since_us = None
            self._learn(value)
            return False
        if self._hot_since_us is None:
            self._hot_since_us = at_us
        if at_us - self._hot_since_us > self.settings.accept_us:
            self._learn(value)
        alarm = self._last_hot_us is None or at_us - self._last_hot_us > self.settings.quiet_us
        self._last_hot_us = at_us
        return alarm

    def surprise(self, value: float) -> float:
        """Of a value now, in tenfolds; 0 within what is usual and while too little was seen."""
        if self._count < self.settings.learn:
            return 0.0
        seen = self._seen[: min(self._count, self.settings.keep)]
        low, high = np.quantile(seen, (TAIL, 1 - TAIL))
        if low <= value <= high:
            return 0.0
        beyond = seen[seen > high] - high if value > high else low - seen[seen < low]
        width = max(float(beyond.mean()) if beyond.size else 0.0, FLAT)
        excess = value - high if value > high else low - value
        return -math.log10(TAIL) + float(excess) / width / math.log(10)

    def _learn(self, value: float) -> None:
        self._seen[self._count % self.settings.keep] = value
        self._count += 1
