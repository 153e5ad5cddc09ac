"""What is published of a segment's traffic, on `traffic.states`."""

from __future__ import annotations

from typing import Literal

import msgspec

FreeFlowBasis = Literal["learned", "limit", "default"]


class StateQuality(msgspec.Struct, frozen=True, kw_only=True):
    """`samples`: vehicles counted; `sources`: how many told of them; `age_s`: of the newest measurement at the end of
    the interval; `gaps`: intervals without any since the last state."""

    samples: int
    sources: int
    age_s: float
    gaps: int


class TrafficState(msgspec.Struct, frozen=True, kw_only=True):
    """One segment in one interval of `period_s` that ended at `end_time`. `level` 1 is free, 5 heavily congested; `tti`
    is the travel time over that of free flow, at least 1. A higher `revision` replaces a lower one."""

    segment_id: str
    end_time: str
    period_s: float
    revision: int
    provisional: bool
    speed_kmh: float
    free_flow_kmh: float
    free_flow_basis: FreeFlowBasis
    tti: float
    level: int
    quality: StateQuality
