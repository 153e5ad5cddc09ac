"""Deadlines on two clocks: `urgent` (紧急工作时) always runs, `working` (工作时) only in a workday's periods."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

from models.times import instant_us, local
from rules.tables import WorkingTime
from rules.tables.model import Clock

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


def deadline_us(start_us: int, limit_us: int, clock: Clock, working: WorkingTime, zone: tzinfo) -> int:
    """When `limit_us` have run on the clock since `start_us`. Raises MissingYear where no calendar says."""
    if clock == "urgent" or limit_us <= 0:
        return start_us + max(0, limit_us)
    left = limit_us
    moment = local(start_us, zone)
    day = moment.date()
    while True:
        if working.holidays.is_workday(day):
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
            for opens, closes in working.periods:
                start = max(start_us, instant_us(midnight + timedelta(microseconds=opens)))
                end = instant_us(midnight + timedelta(microseconds=closes))
                if end - start >= left:
                    return start + left
                left -= max(0, end - start)
        day += DAY


@lru_cache(maxsize=1024)
def of_day_us(time_us: int, zone: tzinfo) -> int:
    """Microseconds since local midnight."""
    moment = local(time_us, zone)
    return (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)) // MICROSECOND
