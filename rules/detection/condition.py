"""One condition of one rule: pending or open, for one key and zone. Plain data, so that a snapshot is its copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rules.detection.memory import Memory

BASE = -1
"""The variant no override changes. It is the last, and called so by a snapshot whatever overrides come and go."""


class Hit(NamedTuple):
    """One observation that passed a rule's stateless part, for a watch. `signal`: of a hold 1 opens, -1 closes, 0
    neither; of a dwell what stands around it (see `neighbours`); of others what it is to the rule (see `looks`).
    `run`: its place among the lane's runs, -1 where it has none."""

    time_us: int
    rule: int
    key: tuple[str, ...]
    zone: str
    print_: tuple[int, int]
    ordinal: int
    source: int
    area: str
    offset: int
    variant: int
    inside: bool
    signal: int
    lon: float
    lat: float
    error_m: float | None
    value: float | bool | str | None
    attributes: dict[str, Any]
    run: int = -1

    @property
    def order(self) -> tuple[int, int, tuple[str, ...], str, tuple[int, int], int]:
        """Event time first, then content: never arrival."""
        return self[:6]


class Condition(msgspec.Struct, array_like=True):
    """What a watch remembers of one key (and zone).

    source        its number on the lane
    since_us      when the run of matches began
    last_us       the newest match
    shut_us       since when rows fulfil `close.when`; None while they don't
    opened_us     when the rule's condition was raised; None while pending
    stage         how many stages have been told
    closing_us    since when a hold sees its closing level; None while it doesn't
    still_us      when the next `still` is due
    wake_us       when the lane looks at it next
    unknown       the source has stopped vouching
    met           of a pending one whose rule asks what stands around it: how many of its hits had each
    run           its place among the lane's runs, -1 where it has none; of this process alone
    role          what it is to its watch where it is no plain condition of its key, e.g. a mover or a pair
    memory        what its primitive remembers beside
    """

    key: tuple[str, ...]
    zone: str
    source: int
    area: str
    since_us: int
    last_us: int
    anchor_lon: float
    anchor_lat: float
    lon: float
    lat: float
    error_m: float | None
    value: float | bool | str | None
    variant: int
    points: int = 1
    opened_us: int | None = None
    stage: int = 0
    closing_us: int | None = None
    still_us: int = 0
    wake_us: int = 0
    unknown: bool = False
    opened_since_us: int = 0
    attributes: dict[str, Any] = {}
    evidence: list[int] = []
    times: list[int] = []
    met: list[int] = []
    run: int = -1
    role: str = ""
    shut_us: int | None = None
    memory: Memory | None = None

    @classmethod
    def begin(cls, hit: Hit) -> Condition:
        return cls(
            key=hit.key,
            zone=hit.zone,
            source=hit.source,
            area=hit.area,
            since_us=hit.time_us,
            last_us=hit.time_us,
            anchor_lon=hit.lon,
            anchor_lat=hit.lat,
            lon=hit.lon,
            lat=hit.lat,
            error_m=hit.error_m,
            value=hit.value,
            variant=hit.variant,
            attributes=hit.attributes,
            evidence=[hit.offset],
        )

    @classmethod
    def begin_as(cls, other: Condition, key: tuple[str, ...], role: str) -> Condition:
        """Where another is, with a key and a role of its own."""
        return cls(
            key=key,
            zone="",
            source=other.source,
            area=other.area,
            since_us=other.last_us,
            last_us=other.last_us,
            anchor_lon=other.lon,
            anchor_lat=other.lat,
            lon=other.lon,
            lat=other.lat,
            error_m=other.error_m,
            value=other.value,
            variant=other.variant,
            attributes=other.attributes,
            evidence=other.evidence[-1:],
            role=role,
        )

    def follow(self, hit: Hit) -> None:
        """Take over the newest match."""
        self.last_us = hit.time_us
        self.points += 1
        self.lon, self.lat, self.error_m = hit.lon, hit.lat, hit.error_m
        self.value, self.variant, self.attributes = hit.value, hit.variant, hit.attributes
