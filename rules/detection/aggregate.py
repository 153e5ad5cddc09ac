"""What a window of samples says: exact, and the same in whatever order equal times came."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, fsum, inf

from models.times import SECOND_US
from rules.language.model import Aggregate

MOST_SAMPLES = 10_000
"""Samples a window keeps, some 0.5 MB: three a second for an hour. Beyond, the oldest go and are counted."""
SHARES = {"median": 0.5, "p85": 0.85, "p95": 0.95}


def aggregate(over: Aggregate, times: Sequence[int], values: Sequence[float]) -> float | None:
    """The value of a window whose samples are in order of time; None where it says nothing.

    `rate` is the change a second from the oldest to the newest sample; a share lies between the two nearest samples.
    """
    count = len(values)
    if count < max(1, over.min_samples):
        return None
    match over.fn:
        case "count":
            return float(count)
        case "sum":
            value = fsum(values)
        case "mean":
            value = fsum(values) / count
        case "min":
            value = min(values)
        case "max":
            value = max(values)
        case "rate":
            span_us = times[-1] - times[0]
            if span_us == 0:
                return None
            value = (values[-1] - values[0]) / (span_us / SECOND_US)
        case _:
            value = at_share(sorted(values), SHARES[over.fn])
    return value if -inf < value < inf else None


def at_share(ordered: Sequence[float], share: float) -> float:
    """Below this lies such a share of the values."""
    place = share * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
