"""Instants in and out: what is RFC 3339 with an offset, and what only looks like it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.times import BadTime, format_time, instant_us, parse_time_us, zone_info


@pytest.mark.parametrize(
    ("written", "us"),
    [
        (1772406600000, 1772406600000000),
        (0, 0),
        ("2026-03-02T07:10:00+08:00", 1772406600000000),
        ("2026-03-01T23:10:00Z", 1772406600000000),
        ("2026-03-01t23:10:00z", 1772406600000000),
        ("2026-03-01 23:10:00.5-00:00", 1772406600500000),
        ("2026-03-01T23:10:00.123456789Z", 1772406600123456),
        ("2100-01-01T08:00:00+08:00", 4_102_444_800_000_000),
    ],
)
def test_good_stamps(written: int | str, us: int) -> None:
    assert parse_time_us(written) == us


@pytest.mark.parametrize(
    "written",
    [
        "", "2026-03-02", "2026-03-02T07:10:00", "2026-03-02T07:10+08:00", "20260302T071000Z",
        "2026-03-02T07:10:00+24:00", "2026-03-02T07:10:00+08:60", "2026-02-30T00:00:00Z", "2026-03-02T24:00:01Z",
        "2026-03-02T07:10:60Z", "2026-W10-1T07:10:00Z", "٢٠٢٦-03-02T07:10:00Z", "2026-03-02T07:10:00.Z",
        "2026-03-02T07:10:00+0800", "1772406600000",
        "1969-12-31T23:59:59.999999Z", "2100-01-01T00:00:00.001Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z",
        -1, 4_102_444_800_001, 1.5, True, 10**30,
    ],
)  # fmt: skip
def test_bad_stamps(written: float | str) -> None:
    with pytest.raises(BadTime):
        parse_time_us(written)


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2099, 1, 1)),  # noqa: DTZ001 -- the zone follows
    st.integers(-23 * 60, 23 * 60),
)
def test_what_python_writes_is_read_exactly(moment: datetime, offset_min: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    assert parse_time_us(aware.isoformat()) == instant_us(aware)


@given(st.integers(0, 4_000_000_000_000))
def test_what_is_published_is_read_back_to_the_millisecond(ms: int) -> None:
    assert parse_time_us(format_time(ms * 1000 + 999, zone_info("Asia/Shanghai"))) == ms * 1000
    assert format_time(ms * 1000, UTC).endswith("+00:00")
