"""Which days are worked. A year without its table is an error: guessing it would move every deadline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from rules.language.calendars import MissingYear

__all__ = ["Holidays", "MissingYear", "WorkingTime", "Year"]


@dataclass(frozen=True, slots=True)
class Year:
    """Days off and weekend days worked instead."""

    off: frozenset[date]
    work: frozenset[date]


@dataclass(frozen=True, slots=True)
class Holidays:
    """The public holidays and make-up workdays, year by year."""

    years: Mapping[int, Year]
    weekdays: frozenset[int] = frozenset(range(5))
    """Worked days of a plain week, Monday 0."""

    def is_workday(self, day: date) -> bool:
        """Raises MissingYear where no table says."""
        year = self.years.get(day.year)
        if year is None:
            raise MissingYear(f"rules/tables/calendars.yaml has no year {day.year}")
        if day in year.work:
            return True
        return day not in year.off and day.weekday() in self.weekdays


@dataclass(frozen=True, slots=True)
class WorkingTime:
    """The working clock: periods of a workday in microseconds from local midnight, in order, none over midnight."""

    periods: tuple[tuple[int, int], ...]
    holidays: Holidays
