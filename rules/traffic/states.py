"""Measurements of one partition to the state of each segment, minute by minute.

    end of a measurement   .   . .     |  .         (which minute it belongs to)
                           <- minute ->|
                                       state, once the watermark has passed the minute's end

The mean travel speed is distance over time of all vehicles: each source's speed counts with its vehicles, by its time
for a kilometre. Sums do not ask for an order, so that shuffled, doubled and cut measurements give the same states. A
minute without a speed has no state: no data is neither free nor congested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from geo.registry import Segment
from models.times import HOUR_US, SECOND_US
from models.traffic import FreeFlowBasis, StateQuality, TrafficState
from rules.tables.model import TrafficTable

PERIOD_US = 60 * SECOND_US
STANDING_KMH = 1.0
"""What nothing moved faster than in an interval counts as: no travel time is without end."""
FORGET_AFTER_US = 24 * HOUR_US
MILLI = 1000
ROUND_SPEED, ROUND_TTI = 1, 2
ROUND_SHARE = 6
"""Finer than any bound, coarser than what whole microseconds leave open."""


class Measurement(NamedTuple):
    """`end_us`: when its interval ended; `samples`: its vehicles, None where the source does not count."""

    segment_id: str
    area: str
    source: str
    end_us: int
    speed_kmh: float | None
    samples: float | None
    offset: int


class Made(NamedTuple):
    """A state, where it is, when its interval ended, and the greatest offset of a measurement in it."""

    state: TrafficState
    area: str
    end_us: int
    offset: int


class Sums(msgspec.Struct, array_like=True):
    """Of one segment in one interval. Whole numbers, whose sums don't depend on the order: thousandths of vehicles, and
    the microseconds they all take for a kilometre."""

    weight_milli: int = 0
    travel_us: int = 0
    samples_milli: int = 0
    newest_us: int = 0
    offset: int = -1
    area: str = ""
    sources: list[str] = []


class StatesKept(msgspec.Struct, array_like=True):
    """What is remembered: open intervals by their end and segment, and when each segment had its last state."""

    open: dict[int, dict[str, Sums]]
    last: dict[str, int]


class SegmentStates:
    """`segment_of`: what the registry knows of a segment, None where it knows nothing."""

    def __init__(
        self, table: TrafficTable, segment_of: Callable[[str], Segment | None], format_time: Callable[[int], str]
    ) -> None:
        self.table, self.segment_of, self.format_time = table, segment_of, format_time
        self.kept = StatesKept({}, {})

    def add(self, one: Measurement) -> None:
        """Take one measurement, in any order, before the watermark has passed it."""
        if one.speed_kmh is None:
            return
        end_us = -(-one.end_us // PERIOD_US) * PERIOD_US
        sums = self.kept.open.setdefault(end_us, {}).setdefault(one.segment_id, Sums())
        samples = one.samples or 0.0
        weight = max(1.0, samples)
        sums.weight_milli += round(weight * MILLI)
        sums.travel_us += round(weight * HOUR_US / max(one.speed_kmh, STANDING_KMH))
        sums.samples_milli += round(samples * MILLI)
        sums.newest_us = max(sums.newest_us, one.end_us)
        sums.offset = max(sums.offset, one.offset)
        sums.area = max(sums.area, one.area)
        if one.source not in sums.sources:
            sums.sources.append(one.source)

    def close(self, watermark_us: int) -> list[Made]:
        """The states of the intervals that have ended, in the order of time and segment."""
        if not self.kept.open or min(self.kept.open) > watermark_us:
            return []
        ended = sorted(end_us for end_us in self.kept.open if end_us <= watermark_us)
        made = [one for end_us in ended for one in self._of(end_us, self.kept.open.pop(end_us))]
        self._forget(watermark_us)
        return made

    def next_us(self) -> int | None:
        """The watermark that ends the next interval."""
        return min(self.kept.open, default=None)

    def _of(self, end_us: int, segments: dict[str, Sums]) -> Iterator[Made]:
        for segment_id, sums in sorted(segments.items()):
            yield Made(self._state(segment_id, end_us, sums), sums.area, end_us, sums.offset)
            self.kept.last[segment_id] = end_us

    def _state(self, segment_id: str, end_us: int, sums: Sums) -> TrafficState:
        speed = sums.weight_milli * HOUR_US / (MILLI * sums.travel_us)
        free_flow, basis = self._free_flow(segment_id)
        before_us = self.kept.last.get(segment_id, end_us - PERIOD_US)
        return TrafficState(
            segment_id=segment_id,
            end_time=self.format_time(end_us),
            period_s=PERIOD_US / SECOND_US,
            revision=1,
            provisional=False,
            speed_kmh=round(speed, ROUND_SPEED),
            free_flow_kmh=free_flow,
            free_flow_basis=basis,
            tti=round(max(1.0, free_flow / speed), ROUND_TTI),
            level=self.table.level_of(round(speed / free_flow, ROUND_SHARE)),
            quality=StateQuality(
                samples=round(sums.samples_milli / MILLI),
                sources=len(sums.sources),
                age_s=(end_us - sums.newest_us) / SECOND_US,
                gaps=max(0, (end_us - before_us) // PERIOD_US - 1),
            ),
        )

    def _free_flow(self, segment_id: str) -> tuple[float, FreeFlowBasis]:
        segment = self.segment_of(segment_id)
        if segment is not None and segment.limit_kmh:
            return float(segment.limit_kmh), "limit"
        return self.table.free_flow_of(None if segment is None else segment.road_class), "default"

    def _forget(self, watermark_us: int) -> None:
        gone = [name for name, end_us in self.kept.last.items() if end_us < watermark_us - FORGET_AFTER_US]
        for name in gone:
            del self.kept.last[name]

    def snapshot(self) -> bytes:
        """Sums are kept to the bit, so that going on from here makes the same states."""
        return msgspec.msgpack.encode(self.kept)

    def restore(self, saved: bytes) -> None:
        self.kept = msgspec.msgpack.decode(saved, type=StatesKept) if saved else StatesKept({}, {})
