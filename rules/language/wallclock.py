"""Instants → hours and days of a wall clock, one by one and by column."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo

import numpy as np

from models.columns import I64
from models.times import HOUR_US, MINUTE_US, local

DAY_US = 24 * HOUR_US
STEP_US = 15 * MINUTE_US
"""Wall clocks change at whole quarters of an hour UTC."""


def hour(time_us: int, zone: tzinfo) -> int:
    return local(time_us, zone).hour


def weekday(time_us: int, zone: tzinfo) -> int:
    """0 is Monday."""
    return local(time_us, zone).weekday()


def local_us(time_us: I64, zone: tzinfo) -> I64:
    """The wall clock's reading as microseconds since its own 1970."""
    if isinstance(zone, timezone):
        return time_us + zone.utcoffset(None) // timedelta(microseconds=1)
    steps, which = np.unique(time_us // STEP_US, return_inverse=True)
    offsets = np.array([offset_us(int(step) * STEP_US, zone) for step in steps], dtype=np.int64)
    return time_us + (offsets[which] if len(offsets) else 0)


def offset_us(time_us: int, zone: tzinfo) -> int:
    offset = local(time_us, zone).utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)


def hours(time_us: I64, zone: tzinfo) -> I64:
    return local_us(time_us, zone) % DAY_US // HOUR_US


def weekdays(time_us: I64, zone: tzinfo) -> I64:
    return (local_us(time_us, zone) // DAY_US + 3) % 7  # 1970-01-01 was a Thursday
