"""The short notations of test files: times and series of values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rules.language.units import DURATIONS_US
from rules.testing.model import Plain

PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SEVERAL = re.compile(rf"(?:{PART.pattern})+")
ITEM = re.compile(r"(_|true|false|-?\d+(?:\.\d+)?)(?:\.\.(-?\d+(?:\.\d+)?))?(?:x(\d+))?")
MOST_VALUES = 100_000
"""Of one series: a day of one a second, and no slip of the pen may fill memory."""


def moment_us(text: str) -> int | None:
    """Microseconds of `90s` or `2m05s`; None for anything else."""
    if len(text) > 40 or SEVERAL.fullmatch(text) is None:
        return None
    return sum(round(float(amount) * DURATIONS_US[unit]) for amount, unit in PART.findall(text))


def series(text: str) -> tuple[Plain, ...] | None:
    """`0x3 20x10` is three times 0, then ten times 20; `0..30x4` goes from 0 to 30 in four; `_` is none. None: it is
    no series."""
    found: list[Plain] = []
    for item in text.split():
        match = ITEM.fullmatch(item)
        times = int(match[3] or 1) if match else 0
        if match is None or not 0 < times <= MOST_VALUES - len(found) or (match[2] and not is_number(match[1])):
            return None
        found += ramp(float(match[1]), float(match[2]), times) if match[2] else [value_of(match[1])] * times
    return tuple(found) or None


def is_number(text: str) -> bool:
    return text not in ("_", "true", "false")


def value_of(text: str) -> Plain:
    if is_number(text):
        return float(text)
    return None if text == "_" else text == "true"


def ramp(first: float, last: float, steps: int) -> Iterator[float]:
    for step in range(steps):
        yield first + (last - first) * step / max(1, steps - 1)
