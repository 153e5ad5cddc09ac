"""Quantities: durations, lengths and shares as rule files write them, and units inside expressions.

Conversions go through fractions, so 15cm is 0.15 m and not its neighbour.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

QUANTITY = re.compile(r"(-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))([A-Za-z°%]+(?:/[a-z]+)?)?")
MAX_QUANTITY = 30  # characters; a longer one is no quantity

DURATIONS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
LENGTHS_M = {"mm": Fraction(1, 1000), "cm": Fraction(1, 100), "m": Fraction(1), "km": Fraction(1000)}
MAX_DURATION_US = 366 * DURATIONS_US["d"]  # no rule waits longer than a year
MAX_LENGTH_M = 1_000_000  # longer than any city

# How a unit may be written in an expression: what it measures, and its size in that measure's base.
SPEED, LENGTH, ANGLE, SHARE, TIME, OTHER = "speed", "length", "angle", "share", "time", "other"
WRITTEN: dict[str, tuple[str, Fraction]] = {
    "mps": (SPEED, Fraction(1)), "m/s": (SPEED, Fraction(1)),
    "kmh": (SPEED, Fraction(5, 18)), "km/h": (SPEED, Fraction(5, 18)),
    "mm": (LENGTH, Fraction(1, 1000)), "cm": (LENGTH, Fraction(1, 100)), "m": (LENGTH, Fraction(1)),
    "km": (LENGTH, Fraction(1000)),
    "deg": (ANGLE, Fraction(1)), "°": (ANGLE, Fraction(1)),
    "%": (SHARE, Fraction(1)), "pct": (SHARE, Fraction(1)),
    "ms": (TIME, Fraction(1, 1000)), "s": (TIME, Fraction(1)), "min": (TIME, Fraction(60)),
    "h": (TIME, Fraction(3600)), "d": (TIME, Fraction(86400)),
    **{unit: (OTHER, Fraction(1)) for unit in ("C", "°C", "ppm", "dB", "Pa", "hPa", "kPa", "V", "A", "W", "kW", "lux")},
}  # fmt: skip
MINUTE = (TIME, Fraction(60))


class NoSuchUnit(ValueError):
    """The text is no unit at all."""


class WrongMeasure(ValueError):
    """The unit measures something else than the field."""


@lru_cache(maxsize=1024)
def duration_us(text: str) -> int | None:
    """Microseconds of `90s`, `3m`, `1.5h`; None where it is no duration (or more than a year)."""
    amount = quantity(text)
    if amount is None or amount[1] not in DURATIONS_US:
        return None
    micros = amount[0] * DURATIONS_US[amount[1]]
    return int(micros) if 0 <= micros <= MAX_DURATION_US and micros.denominator == 1 else None


@lru_cache(maxsize=1024)
def length_m(text: str) -> float | None:
    """Metres of `12m`, `1.5km`; None where it is no length."""
    amount = quantity(text)
    if amount is None or amount[1] not in LENGTHS_M:
        return None
    metres = amount[0] * LENGTHS_M[amount[1]]
    return float(metres) if 0 <= metres <= MAX_LENGTH_M else None


@lru_cache(maxsize=1024)
def share(text: str) -> float | None:
    """0 to 1 of `80%`; None where it is no share."""
    amount = quantity(text)
    if amount is None or amount[1] != "%" or not 0 <= amount[0] <= 100:
        return None
    return float(amount[0] / 100)


def quantity(text: str) -> tuple[Fraction, str] | None:
    """The number and the unit ('' without one) of a quantity."""
    found = QUANTITY.fullmatch(text) if len(text) <= MAX_QUANTITY else None
    return (Fraction(found[1]), found[2] or "") if found else None


def measure(unit: str) -> tuple[str, Fraction]:
    if unit not in WRITTEN:
        raise NoSuchUnit(unit)
    return WRITTEN[unit]


def converted(amount: str, written: str, unit: str) -> float:
    """`amount` in `written` as a number in `unit`. `m` against a field in seconds is minutes."""
    theirs = measure(unit)
    ours = MINUTE if written == "m" and theirs[0] == TIME else measure(written)
    if ours[0] != theirs[0]:
        raise WrongMeasure(f"{written} is no unit of {theirs[0]}")
    return float(Fraction(amount) * ours[1] / theirs[1])


def amount(text: str) -> tuple[str, str] | None:
    """The digits and the unit ('' without one) of a number as written; None where it is none."""
    found = QUANTITY.fullmatch(text) if len(text) <= MAX_QUANTITY else None
    return (found[1], found[2] or "") if found else None
