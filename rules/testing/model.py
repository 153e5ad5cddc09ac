"""A checked test file. Times are microseconds after the test's start, lengths metres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from models.problems import Place

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
"""What stands in a file, typed as the language types it."""


class Sent(NamedTuple):
    """A record as a source sends it at `at_us` (UTC); without a topic it only moves the clock, without a key it goes
    to the command centre."""

    at_us: int
    topic: str | None = None
    key: str = ""
    value: Mapping[str, Plain] | None = None


class Told(NamedTuple):
    """A record the core published when the clock showed `at_us` (UTC)."""

    at_us: int
    topic: str
    value: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class Waypoint:
    """Where something is at a time: a point, moved by metres."""

    at_us: int
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Feed:
    """One source's records: the same fields at each of `times_us`, on the way along `path`, and of each of `series` the
    next value (None: not sent). `empty`: a camera that sees nothing."""

    topic: str
    fields: Mapping[str, Plain]
    times_us: tuple[int, ...]
    path: tuple[Waypoint, ...] = ()
    series: Mapping[str, tuple[Plain, ...]] | None = None
    dropped: tuple[tuple[int, int], ...] = ()
    delay_us: int = 0
    key: str = ""
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Disturb:
    """What a network does to records: shares of them late by up to `shuffle_us`, doubled, lost; fixed by `seed`."""

    shuffle_us: int = 0
    duplicate: float = 0.0
    drop: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a unit says of the newest order of the newest incident of `rule`, or a person commands."""

    at_us: int
    rule: str
    said: str | None
    command: str | None
    args: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class WhyNot:
    """A rule had not raised for `key` (what is not given is any), stopped at `stage` (`whynot.Verdict`); `contains` is
    in the sentence that says so."""

    rule: str
    key: Mapping[str, str]
    stage: str
    contains: str


class Reason(NamedTuple):
    """Why a rule had not raised: the stage that stopped it, in words of both languages."""

    stage: str
    said: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be so at `at_us`. `lists`: what there must be of each kind, all of it, each as a part of its fields."""

    at_us: int
    place: Place
    rule: str | None
    lists: Mapping[str, tuple[Mapping[str, Plain], ...]]
    counts: Mapping[str, int]
    transitions: tuple[str, ...] | None
    why_not: WhyNot | None = None


@dataclass(frozen=True, slots=True)
class Test:
    name: str
    place: Place
    start_us: int
    feeds: tuple[Feed, ...]
    disturb: Disturb
    answers: tuple[Answer, ...]
    crews: bool
    expected: tuple[Expected, ...]
    same_as: str | None

    @property
    def topics(self) -> frozenset[str]:
        return frozenset(feed.topic for feed in self.feeds)

    @property
    def end_us(self) -> int:
        """After the last expectation and the last record nothing more is looked at."""
        sent = (feed.times_us[-1] + feed.delay_us for feed in self.feeds if feed.times_us)
        return max([*(e.at_us for e in self.expected), *sent], default=0) + self.disturb.shuffle_us


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that no test can kill, and why."""

    rule: str
    path: str
    reason: str
    place: Place


@dataclass(frozen=True, slots=True)
class TestFile:
    name: str
    tests: tuple[Test, ...]
    equivalent: tuple[Equivalent, ...]
