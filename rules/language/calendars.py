"""Calendars: which days, which periods of them. Exact to the microsecond, the end of a period not included.

A period over midnight belongs to the day it begins on. With `holidays: cn_public` the week bends as China's does:
a public holiday is no mon…fri, a make-up workday is no sat or sun, and where all of mon…fri are named it counts as
one of them. `workday` and `holiday` are every day that people work, or do not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Protocol

import numpy as np

from models.columns import I64, Mask
from models.times import instant_us
from rules.language.wallclock import DAY_US

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_WORDS = (*WEEK, "daily", "workday", "holiday")
WHOLE_DAY = (0, 24 * 60)
MAX_KEPT_DAYS = 1024  # of worked-out days; a live stream needs three, a long replay a few hundred
DAY_ZERO = date(1970, 1, 1)
LAST_DAY = (date(2200, 1, 1) - DAY_ZERO).days


class MissingYear(LookupError):
    """The table of public holidays does not have this year."""


class HolidayTable(Protocol):
    """Which days are worked, make-up days included."""

    def is_workday(self, day: date) -> bool:
        """Raises MissingYear where the table does not reach."""


@dataclass(frozen=True, slots=True)
class WeekCalendar:
    """Days and periods on a wall clock. `periods`: minutes from and to; a `to` at or before `from` is the next day's.

    Where the holiday table lacks a year, the plain week applies there: a city does not stop for a missing table.
    `missing_years` tells beforehand.
    """

    name: str
    days: frozenset[str]
    periods: tuple[tuple[int, int], ...]
    zone: tzinfo
    holidays: HolidayTable | None = field(default=None, compare=False)
    _known: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict, compare=False, repr=False)
    """Memory of days already worked out; it changes no answer."""
    _last: dict[tuple[int, ...], tuple[I64, I64]] = field(default_factory=dict, compare=False, repr=False)

    def covers(self, time_us: int) -> bool:
        starts, ends = self.spans([time_us // DAY_US])
        at = bisect_right(starts, time_us) - 1
        return at >= 0 and time_us < ends[at]

    def mask(self, time_us: I64) -> Mask:
        if not len(time_us):
            return np.zeros(0, dtype=np.bool_)
        days = time_us // DAY_US
        one_day = days[0] == days[-1] and bool((days == days[0]).all())
        starts, ends = self.span_arrays((int(days[0]),) if one_day else tuple(np.unique(days).tolist()))
        if not len(starts):
            return np.zeros(len(time_us), dtype=np.bool_)
        at = np.searchsorted(starts, time_us, side="right") - 1
        found: Mask = (at >= 0) & (time_us < ends[at])
        return found

    def span_arrays(self, days: tuple[int, ...]) -> tuple[I64, I64]:
        """The same days come again with every batch, so the last answer is kept."""
        found = self._last.get(days)
        if found is None:
            starts, ends = self.spans(days)
            found = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
            self._last.clear()
            self._last[days] = found
        return found

    def missing_years(self, years: Iterable[int]) -> tuple[int, ...]:
        """Of these years those whose public holidays the calendar asks for and its table lacks."""
        if self.holidays is None:
            return ()
        return tuple(year for year in years if self.lacks(date(year, 7, 1)))

    def lacks(self, day: date) -> bool:
        assert self.holidays is not None
        try:
            self.holidays.is_workday(day)
        except MissingYear:
            return True
        return False

    def spans(self, days: Iterable[int]) -> tuple[list[int], list[int]]:
        """Starts and ends of the covered time around these days (counted in UTC from 1970), merged, in order.

        A wall-clock day can begin a day before its UTC day, and a period can run into the next.
        """
        near = sorted({day + step for day in days for step in (-2, -1, 0, 1)})
        found = sorted(span for day in near for span in self.on(day))
        starts: list[int] = []
        ends: list[int] = []
        for start, end in found:
            if ends and start <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                starts.append(start)
                ends.append(end)
        return starts, ends

    def on(self, day: int) -> tuple[tuple[int, int], ...]:
        """The periods that begin on one day, as instants."""
        found = self._known.get(day)
        if found is None:
            if len(self._known) >= MAX_KEPT_DAYS:
                self._known.clear()
            found = self._known[day] = tuple(self.worked_out(day))
        return found

    def worked_out(self, day: int) -> Iterable[tuple[int, int]]:
        if not 0 <= day <= LAST_DAY or not self.counts(DAY_ZERO + timedelta(days=day)):
            return
        for start, end in self.periods:
            length = (0 if end > start else 24 * 60) + end
            yield self.instant(day, start), self.instant(day, length)

    def instant(self, day: int, minutes: int) -> int:
        """When the wall clock shows this many minutes after midnight."""
        midnight = datetime(1970, 1, 1, tzinfo=self.zone) + timedelta(days=day, minutes=minutes)
        return instant_us(midnight)

    def counts(self, day: date) -> bool:
        """Whether a day is one of the calendar's."""
        if "daily" in self.days:
            return True
        word = WEEK[day.weekday()]
        weekend = word in ("sat", "sun")
        worked = self.is_workday(day)
        if ("workday" if worked else "holiday") in self.days:
            return True
        if self.holidays is None or worked != weekend:
            return word in self.days
        return worked and self.days.issuperset(WEEK[:5])

    def is_workday(self, day: date) -> bool:
        if self.holidays is not None:
            try:
                return self.holidays.is_workday(day)
            except MissingYear:
                pass
        return day.weekday() < 5


def parse_period(text: str) -> tuple[int, int] | None:
    """Minutes from and to of `HH:MM-HH:MM`; None where it is no period."""
    start, dash, end = text.replace(" ", "").partition("-")
    first, last = minutes_of(start, 23), minutes_of(end, 24)
    if not dash or first is None or last is None or first == last or (last == 0 and first == 0):
        return None
    return first, last


def minutes_of(text: str, last_hour: int) -> int | None:
    hours, colon, minutes = text.partition(":")
    if not (colon and len(hours) == 2 == len(minutes) and hours.isascii() and (hours + minutes).isdigit()):
        return None
    total = int(hours) * 60 + int(minutes)
    return total if int(minutes) < 60 and total <= last_hour * 60 + (59 if last_hour < 24 else 0) else None
