"""Calendars read as time tables. One rule of time per test; 2026-01-01 is a holiday, Sunday 2026-01-04 is worked."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.times import instant_us, zone_info
from rules.language.calendars import WEEK, HolidayTable, WeekCalendar, parse_period
from rules.language.load import missing_years
from tests.rules.language.world import HEAD, Holidays2026, codes, loaded, rule_text

SHANGHAI = zone_info("Asia/Shanghai")
WORKED = WEEK[:5]


def calendar(
    days: str, times: str = "00:00-24:00", table: HolidayTable | None = None, zone: tzinfo = SHANGHAI
) -> WeekCalendar:
    periods = tuple(p for text in times.split() if (p := parse_period(text)) is not None)
    return WeekCalendar("c", frozenset(days.split()), periods, zone, table)


def at(text: str, zone: tzinfo = SHANGHAI) -> int:
    return instant_us(datetime.fromisoformat(text).replace(tzinfo=zone))


def covers(of: WeekCalendar, time_us: int) -> bool:
    """One by one, which must be what the mask says."""
    found = of.covers(time_us)
    assert of.mask(np.array([time_us], dtype=np.int64)).tolist() == [found]
    return found


def test_a_period_begins_on_the_microsecond_and_its_end_is_not_in_it() -> None:
    morning = calendar("mon", "07:00-09:30")
    begin, end = at("2026-03-02T07:00"), at("2026-03-02T09:30")
    assert [covers(morning, t) for t in (begin - 1, begin, end - 1, end)] == [False, True, True, False]


def test_several_periods_a_day() -> None:
    school = calendar("mon", "07:00-09:30 16:30-19:30")
    hours = [covers(school, at(f"2026-03-02T{hour:02}:00")) for hour in (6, 8, 12, 17, 20)]
    assert hours == [False, True, False, True, False]


def test_a_period_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    night = calendar("fri", "22:00-06:00")
    assert covers(night, at("2026-03-06T23:00"))  # Friday
    assert covers(night, at("2026-03-07T05:59:59.999999"))
    assert not covers(night, at("2026-03-07T06:00"))
    assert not covers(night, at("2026-03-07T23:00"))  # Saturday
    assert not covers(night, at("2026-03-06T05:00"))  # the night of Thursday


def test_the_whole_day_is_from_midnight_to_midnight() -> None:
    assert [covers(calendar("tue"), at(f"2026-03-0{d}")) for d in (2, 3, 4)] == [False, True, False]
    assert covers(calendar("mon", "18:00-24:00"), at("2026-03-03") - 1)
    assert not covers(calendar("mon", "18:00-24:00"), at("2026-03-03"))


def test_periods_that_meet_or_overlap_are_one() -> None:
    assert covers(calendar("daily", "07:00-09:00 08:00-10:00 10:00-11:00"), at("2026-03-02T10:00"))


def test_without_a_table_the_week_is_plain() -> None:
    assert covers(calendar("mon tue wed thu fri"), at("2026-01-01T08:00"))
    assert not covers(calendar("mon tue wed thu fri"), at("2026-01-04T08:00"))


def test_a_public_holiday_is_no_weekday_and_a_make_up_workday_is_one() -> None:
    week = calendar(" ".join(WORKED), table=Holidays2026())
    days = [covers(week, at(f"2026-01-0{day}T08:00")) for day in range(1, 8)]
    #               Thu    Fri   Sat    Sun    Mon   Tue   Wed
    assert days == [False, True, False, True, True, True, True]


def test_a_single_weekday_is_not_made_up_for() -> None:
    assert not covers(calendar("mon", table=Holidays2026()), at("2026-01-04T08:00"))
    assert not covers(calendar("sun", table=Holidays2026()), at("2026-01-04T08:00"))  # it is worked
    assert covers(calendar("sun", table=Holidays2026()), at("2026-01-11T08:00"))


def test_workday_and_holiday_part_the_year() -> None:
    work, free = calendar("workday", table=Holidays2026()), calendar("holiday", table=Holidays2026())
    for day in range(1, 12):
        moment = at(f"2026-01-{day:02}T08:00")
        assert covers(work, moment) != covers(free, moment)
    assert covers(free, at("2026-01-01T08:00"))
    assert covers(work, at("2026-01-04T08:00"))


def test_daily_asks_no_table() -> None:
    assert covers(calendar("daily", table=Holidays2026()), at("2031-01-01T08:00"))


def test_a_year_without_a_table_goes_by_the_plain_week_and_is_named() -> None:
    week = calendar("mon tue wed thu fri", table=Holidays2026())
    assert covers(week, at("2027-01-01T08:00"))  # a Friday
    assert week.missing_years([2025, 2026, 2027]) == (2025, 2027)
    bundle = loaded(HEAD + rule_text(active="school_gate"))
    assert missing_years(bundle, [2026, 2027]) == (2027,)
    assert missing_years(loaded(HEAD + rule_text()), [2027]) == ()


def test_an_hour_that_does_not_exist_and_one_that_comes_twice() -> None:
    paris = ZoneInfo("Europe/Paris")
    night = calendar("daily", "02:00-03:00", zone=paris)
    spring = [covers(night, at("2026-03-29T00:30", UTC) + n * 1_800_000_000) for n in range(3)]
    assert spring == [False, False, False]
    autumn = [covers(night, at("2026-10-25T00:00", UTC) + n * 1_800_000_000) for n in range(5)]
    assert autumn == [True, True, True, True, False]


def test_times_far_away_are_answered() -> None:
    everyday = calendar("daily", "07:00-09:00")
    times = np.array([at("2199-01-01"), 2**62, -(2**62)], dtype=np.int64)
    assert everyday.mask(times).tolist() == [False, False, False]


def expected(of: WeekCalendar, time_us: int) -> bool:
    """The rule again, by the wall clock: slower and simpler."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).astimezone(of.zone)
    minute = local.hour * 60 + local.minute
    for start, end in of.periods:
        if end > start and start <= minute < end and of.counts(local.date()):
            return True
        if end <= start and minute >= start and of.counts(local.date()):
            return True
        if end <= start and minute < end and of.counts(local.date() - timedelta(days=1)):
            return True
    return False


MINUTES = st.integers(0, 24 * 60 - 1)
PERIODS = st.lists(st.tuples(MINUTES, MINUTES).filter(lambda p: p[0] != p[1]), min_size=1, max_size=3).map(tuple)
BASE = instant_us(datetime(2025, 12, 20, tzinfo=UTC))


@settings(max_examples=150, deadline=None)
@given(
    days=st.frozensets(st.sampled_from([*WEEK, "daily", "workday", "holiday"]), min_size=1),
    periods=PERIODS,
    offsets=st.lists(st.integers(0, 40 * 86_400_000_000), min_size=1, max_size=20),
)
def test_mask_and_covers_agree_with_the_wall_clock(
    days: frozenset[str], periods: tuple[tuple[int, int], ...], offsets: list[int]
) -> None:
    of = WeekCalendar("c", days, periods, SHANGHAI, Holidays2026())
    times = [BASE + offset for offset in offsets]
    wanted = [expected(of, t) for t in times]
    assert of.mask(np.array(times, dtype=np.int64)).tolist() == wanted
    assert [of.covers(t) for t in times] == wanted


@pytest.mark.parametrize("text", ["7:00-9:00", "07:00", "07:00-25:00", "24:00-06:00", "07:60-08:00", "08:00-08:00",
                                  "00:00-00:00", "07:00-24:01", "٠٧:00-08:00", "07:00-08:00-09:00", "-"])  # fmt: skip
def test_what_is_no_period(text: str) -> None:
    assert parse_period(text) is None


def test_a_calendar_that_needs_a_table_says_so_when_there_is_none() -> None:
    from rules.language.load import Context

    assert codes(HEAD + rule_text(), Context()) == ["E212"]


def test_days_kept_in_mind_are_bounded() -> None:
    everyday = calendar("daily", "07:00-09:00")
    times = np.arange(0, 5000, dtype=np.int64) * 86_400_000_000
    everyday.mask(times)
    assert len(everyday._known) <= 1024
    assert date(1970, 1, 1).weekday() == 3
