"""What primitives remember of a key beside its condition: plain data, so that a snapshot is its copy."""

from __future__ import annotations

import msgspec

from rules.patterns.sequence import Progress

FAR_US = 1 << 62
"""A moment that never comes."""


class Window(msgspec.Struct, array_like=True, tag="window"):
    """Samples in order of time, and when the window is looked at next."""

    times: list[int] = []
    values: list[float] = []
    next_us: int = FAR_US


class Sightings(msgspec.Struct, array_like=True, tag="sightings"):
    """Of each value, when it was first and last seen in each bucket of time: (bucket, first, last), in order."""

    values: dict[str, list[tuple[int, int, int]]] = {}
    next_us: int = FAR_US


class Silence(msgspec.Struct, array_like=True, tag="silence"):
    """When a key counts as absent, and whether that was told or is its parent's affair: then nothing is due."""

    due_us: int


class Side(msgspec.Struct, array_like=True):
    """On which side of a zone a key is, since when it seems to be on the other, and whether it came in from outside."""

    inside: bool
    since_us: int | None = None
    came: bool = False


class Way(msgspec.Struct, array_like=True, tag="way"):
    """Of a mover: its side of each zone it is in, the zones of the newest fix (in, or in the buffer), the zone it was
    in last, and the fix before the newest."""

    sides: dict[str, Side] = {}
    now: dict[str, bool] = {}
    zone: str = ""
    before_us: int | None = None
    before_lon: float = 0.0
    before_lat: float = 0.0


class Fix(msgspec.Struct, array_like=True, tag="fix"):
    """A mover's newest fix: which sides of a pair it may be (bits)."""

    sides: int


class Steps(msgspec.Struct, array_like=True, tag="steps"):
    progress: Progress


Memory = Window | Sightings | Silence | Way | Fix | Steps
