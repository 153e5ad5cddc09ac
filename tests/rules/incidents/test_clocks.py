"""Deadlines on both clocks. Working periods 08:00-12:00 and 14:00-18:00, Monday to Friday."""

from __future__ import annotations

from datetime import date

import pytest

from models.times import HOUR_US, MINUTE_US, format_time, parse_time_us
from rules.incidents.clocks import deadline_us, of_day_us
from rules.tables import MissingYear
from tests.rules.incidents.city import ZONE, tables


def ends(start: str, minutes: int, clock) -> str:
    start_us = parse_time_us(f"{start}:00+08:00")
    due_us = deadline_us(start_us, minutes * MINUTE_US, clock, tables().working, ZONE)
    return format_time(due_us, ZONE)[:16]


@pytest.mark.parametrize(
    ("start", "hours", "clock", "due"),
    [
        # research/domain.md §2.4
        ("2018-11-02T17:30", 4, "working", "2018-11-05T11:30"),
        ("2018-11-02T17:30", 2, "urgent", "2018-11-02T19:30"),
        ("2018-11-02T17:30", 8, "working", "2018-11-05T17:30"),  # 1 工作日, read as 8 hours
        ("2018-11-02T11:30", 1, "working", "2018-11-02T14:30"),
        ("2018-11-03T03:00", 2, "working", "2018-11-05T10:00"),
        ("2018-11-02T12:30", 4, "working", "2018-11-02T18:00"),
        # make-up days and holidays
        ("2018-09-29T15:00", 4, "working", "2018-09-30T09:00"),
        ("2018-09-30T17:00", 4, "working", "2018-10-08T11:00"),
        ("2026-02-14T16:00", 4, "working", "2026-02-24T10:00"),
        ("2025-10-11T17:00", 4, "working", "2025-10-13T11:00"),
        # ends of periods
        ("2018-11-02T08:00", 4, "working", "2018-11-02T12:00"),
        ("2018-11-02T18:00", 1, "working", "2018-11-05T09:00"),
        ("2018-11-02T07:00", 8, "working", "2018-11-02T18:00"),
        ("2026-02-14T16:00", 0, "working", "2026-02-14T16:00"),
        ("2026-10-01T00:00", 2, "urgent", "2026-10-01T02:00"),
    ],
)
def test_a_limit_runs_only_while_its_clock_runs(start, hours, clock, due):
    assert ends(start, hours * 60, clock) == due


def test_a_year_without_its_table_is_an_error():
    with pytest.raises(MissingYear, match="2019"):
        ends("2018-12-31T17:00", 240, "working")


def test_the_urgent_clock_needs_no_table():
    assert ends("2031-01-01T00:00", 90, "urgent") == "2031-01-01T01:30"


def test_a_make_up_saturday_is_worked_and_a_holiday_monday_is_not():
    holidays = tables().working.holidays
    assert holidays.is_workday(date(2018, 9, 29))
    assert holidays.is_workday(date(2026, 2, 28))
    assert not holidays.is_workday(date(2018, 10, 1))
    assert not holidays.is_workday(date(2018, 11, 3))
    assert not holidays.is_workday(date(2026, 2, 23))


def test_the_time_of_day_is_local():
    assert of_day_us(parse_time_us("2026-03-01T23:30:00Z"), ZONE) == 7 * HOUR_US + 30 * MINUTE_US
