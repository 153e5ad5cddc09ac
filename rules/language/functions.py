"""The fixed table of functions: what each takes, what it gives, and how it is computed one by one and by column.

A scalar function is called with arguments that are not null. A column function sees NaN where the row is null and
keeps it. Text functions have no column form: they run once for each distinct word.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rules.language.typed import Kind

Takes = Literal["number", "text", "literal"]
"""`literal`: a quoted text, known when the rule is loaded."""
EARTH_M = 6_371_008.8  # mean radius
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LATER = ("age",)
"""Of the language, and not built: nothing in the streams has an age besides the row itself."""


@dataclass(frozen=True, slots=True)
class Function:
    takes: tuple[Takes, ...]
    gives: Kind
    scalar: Callable[..., Any]
    columns: Callable[..., Any] | None = None
    unit: str | None = None
    same_unit: bool = False
    """All arguments and the result share one unit."""
    at_least: int | None = None
    """Takes any number of the first kind, from this many on."""


def distance_m(from_lon: Any, from_lat: Any, lon: Any, lat: Any) -> Any:
    """Great-circle metres between two points in degrees."""
    a, b = np.radians(from_lat), np.radians(lat)
    across = np.sin((b - a) / 2) ** 2
    along = np.sin((np.radians(lon) - np.radians(from_lon)) / 2) ** 2
    return 2 * EARTH_M * np.arcsin(np.sqrt(np.minimum(1.0, across + np.cos(a) * np.cos(b) * along)))


def bearing_deg(from_lon: Any, from_lat: Any, lon: Any, lat: Any) -> Any:
    """Direction from the first point to the second, degrees clockwise from north, 0 to below 360."""
    a, b = np.radians(from_lat), np.radians(lat)
    turn = np.radians(lon) - np.radians(from_lon)
    y = np.sin(turn) * np.cos(b)
    x = np.cos(a) * np.sin(b) - np.sin(a) * np.cos(b) * np.cos(turn)
    return np.mod(np.degrees(np.arctan2(y, x)), 360.0)


def one(columns: Callable[..., Any]) -> Callable[..., float]:
    """The scalar form of a column function, through arrays of one: the same digits either way."""

    def scalar(*arguments: float) -> float:
        return float(columns(*(np.array([a], dtype=np.float64) for a in arguments))[0])

    return scalar


def remainder(a: float, b: float) -> float | None:
    return a % b if b else None


def quotient(a: float, b: float) -> float | None:
    return a / b if b else None


def nearest_whole(a: float) -> float:
    """Halves go to the even neighbour, as numpy has it."""
    return float(round(a)) if math.isfinite(a) else a


def smallest(*columns: Any) -> Any:
    return np.minimum.reduce(np.broadcast_arrays(*columns))


def largest(*columns: Any) -> Any:
    return np.maximum.reduce(np.broadcast_arrays(*columns))


FUNCTIONS: dict[str, Function] = {
    "abs": Function(("number",), "number", abs, np.abs, same_unit=True),
    "round": Function(("number",), "number", nearest_whole, np.rint, same_unit=True),
    "min": Function(("number",), "number", min, smallest, same_unit=True, at_least=2),
    "max": Function(("number",), "number", max, largest, same_unit=True, at_least=2),
    "len": Function(("text",), "number", len),
    "lower": Function(("text",), "text", str.lower),
    "contains": Function(("text", "literal"), "flag", lambda text, part: part in text),
    "starts_with": Function(("text", "literal"), "flag", str.startswith),
    "ends_with": Function(("text", "literal"), "flag", str.endswith),
    "matches": Function(("text", "literal"), "flag", lambda text, pattern: pattern.search(text) is not None),
    "distance": Function(("number", "number"), "number", one(distance_m), distance_m, unit="m"),
    "bearing": Function(("number", "number"), "number", one(bearing_deg), bearing_deg, unit="deg"),
}
PLACED = ("distance", "bearing")
"""Take the row's own lon and lat first."""

OPERATORS: dict[str, Function] = {
    "+": Function(("number", "number"), "number", lambda a, b: a + b, np.add),
    "-": Function(("number", "number"), "number", lambda a, b: a - b, np.subtract),
    "*": Function(("number", "number"), "number", lambda a, b: a * b, np.multiply),
    "/": Function(("number", "number"), "number", quotient, np.divide),
    "%": Function(("number", "number"), "number", remainder, np.mod),
    "minus": Function(("number",), "number", lambda a: -a, np.negative),
}
SPECIAL = ("coalesce", "is_null", "hour", "weekday")
"""Typed by themselves, in `checking.py`."""
NAMES = (*FUNCTIONS, *SPECIAL, *LATER)
