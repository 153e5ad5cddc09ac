"""Times on the wire and inside. Inside: microseconds UTC as integers. In: RFC 3339 with an offset or epoch
milliseconds. Out: RFC 3339, milliseconds, the operator's offset.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
EARLIEST_MS, LATEST_MS = 0, 4_102_444_800_000  # 1970 to 2100: outside it a stamp is a broken clock


class BadTime(ValueError):
    """A stamp that is no instant."""


def parse_time_us(value: float | str) -> int:
    """An instant in microseconds UTC from RFC 3339 text with an offset or from integer epoch milliseconds.

    Raises BadTime for local times, fractions of a millisecond as a number, and impossible dates.
    """
    if isinstance(value, str):
        return parse_rfc3339_us(value)
    if isinstance(value, bool) or value != int(value):
        raise BadTime(f"{value!r} is not a whole number of milliseconds")
    if not EARLIEST_MS <= value <= LATEST_MS:
        raise BadTime(f"{value!r} ms is outside 1970..2100")
    return int(value) * 1000


@lru_cache(maxsize=4096)
def parse_rfc3339_us(text: str) -> int:
    """Digits beyond microseconds are cut. The pattern keeps out the many other forms that Python reads."""
    if RFC3339.fullmatch(text) is None:
        raise BadTime(f"{text!r} is not RFC 3339 with an offset")
    try:
        time_us = (datetime.fromisoformat(text.upper()) - EPOCH) // MICROSECOND
    except ValueError as why:
        raise BadTime(f"{text!r}: {why}") from None
    if not EARLIEST_MS * 1000 <= time_us <= LATEST_MS * 1000:
        raise BadTime(f"{text!r} is outside 1970..2100")
    return time_us


@lru_cache(maxsize=8)
def zone_info(name: str) -> tzinfo:
    """The operator's time zone; a fixed +08:00 where the machine has no zone database and it is China's."""
    try:
        return ZoneInfo(name)
    except KeyError:
        if name == "Asia/Shanghai":
            return timezone(timedelta(hours=8))
        raise


def local(time_us: int, zone: tzinfo) -> datetime:
    """The local wall time of an instant."""
    return (EPOCH + timedelta(microseconds=time_us)).astimezone(zone)


def instant_us(moment: datetime) -> int:
    """Microseconds UTC of an aware datetime, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def format_time(time_us: int, zone: tzinfo) -> str:
    """RFC 3339 with milliseconds (rounded down) and the zone's offset."""
    return local(time_us, zone).isoformat(timespec="milliseconds")
