"""What each feed says of places: a sample of its positions as they were sent, small, and the same in any order.

A feed is one source on one topic under one declared system of coordinates. Of its positions those are kept whose hash
is smallest, so the sample is even over the whole recording, doubles change nothing, and two runs keep the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models.columns import F64, U64, Mask
from models.faults import LENIENT
from models.observations import CRS_NAMES, WIRE_TYPES, TrackFrame
from models.streams import STREAMS
from models.times import BadTime, parse_time_us

KEPT = 256
"""Positions of a feed: enough that a tenth of nonsense among them does not matter, 6 kB a feed."""
MOST_FEEDS = 20_000  # of one book; the largest cities have about as many cameras. Further ones are counted.
HOTLINE = "hotline"  # the source of tickets that name no line


class Feed(NamedTuple):
    """`declared` is the system of the records' `crs`, wgs84 where they have none."""

    topic: str
    source: str
    declared: str


class Sighting(NamedTuple):
    """The positions of one record, in degrees as they were sent."""

    feed: Feed
    time_us: int
    lon: F64
    lat: F64


Where = tuple[str, int]
"""A line of a recording: file and number."""


class Sample:
    """Some positions of one feed. `seen` counts all, doubles too; `first` is where the feed began."""

    __slots__ = ("_keys", "_lat", "_least", "_lon", "first", "seen")

    def __init__(self, first: Where) -> None:
        self.first = first
        self.seen = 0
        self._keys: U64 = np.empty(0, dtype=np.uint64)
        self._lon: F64 = np.empty(0)
        self._lat: F64 = np.empty(0)
        self._least: np.uint64 = np.uint64(2**64 - 1)

    def add(self, time_us: int, lon: F64, lat: F64) -> None:
        self.seen += len(lon)
        keys = hashed(time_us, lon, lat)
        wanted: Mask = keys <= self._least
        if not wanted.any():
            return
        self._keys = np.concatenate((self._keys, keys[wanted]))
        self._lon = np.concatenate((self._lon, lon[wanted]))
        self._lat = np.concatenate((self._lat, lat[wanted]))
        if len(self._keys) > 2 * KEPT:
            self._shrink()

    def positions(self) -> tuple[F64, F64]:
        """lon, lat of at most KEPT distinct sightings, in the order of their hashes."""
        self._shrink()
        return self._lon, self._lat

    def _shrink(self) -> None:
        _, at = np.unique(self._keys, return_index=True)
        at = at[:KEPT]
        self._keys, self._lon, self._lat = self._keys[at], self._lon[at], self._lat[at]
        if len(at) == KEPT:
            self._least = self._keys[-1]


def hashed(time_us: int, lon: F64, lat: F64) -> U64:
    """64 bits of a moment and a place, evenly spread (the finaliser of SplitMix64)."""
    bits: U64 = lon.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits ^= lat.view(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    bits ^= np.uint64(time_us * 0x165667B19E3779F9 & 2**64 - 1)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class FeedBook:
    """The samples of all feeds of a recording. `left_out` counts positions of feeds beyond MOST_FEEDS."""

    def __init__(self) -> None:
        self._samples: dict[Feed, Sample] = {}
        self.left_out = 0

    def see(self, topic: str, value: bytes | None, where: Where) -> None:
        """One record, its bytes as they came; what cannot be read or has no position is passed over."""
        found = read_sighting(topic, value)
        if found is None:
            return
        sample = self._samples.get(found.feed)
        if sample is None:
            if len(self._samples) >= MOST_FEEDS:
                self.left_out += len(found.lon)
                return
            sample = self._samples[found.feed] = Sample(where)
        sample.add(found.time_us, found.lon, found.lat)

    def samples(self) -> Mapping[Feed, Sample]:
        """In the order of topics, sources and systems."""
        return dict(sorted(self._samples.items()))


def read_sighting(topic: str, value: bytes | None) -> Sighting | None:
    """The positions of a record, also those that are outside ±180, ±90; None without any."""
    if topic not in WIRE_TYPES or value is None:
        return None
    try:
        said = LENIENT[topic].decode(value)
        time_us = time_of(said, STREAMS[topic].time)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, BadTime):
        return None
    declared = said.crs or "wgs84"
    pairs = [pair for pair in pairs_of(said) if pair[0] is not None and pair[1] is not None]
    if not pairs or declared not in CRS_NAMES:
        return None
    lon, lat = np.array(pairs, dtype=np.float64).T.copy()
    return Sighting(Feed(topic, source_of(said, STREAMS[topic].source), declared), time_us, lon, lat)


def time_of(said: Any, name: str) -> int:
    stamp = getattr(said, name)
    if stamp is None:  # readings in a list have a time each
        stamp = next((item.reading_time for item in said.readings or ()), 0)
    return parse_time_us(stamp) if stamp else 0


def source_of(said: Any, name: str) -> str:
    """A call is of the line it came in by: what is wrong with its place is wrong with that of all."""
    if name == "ticket_id":
        return said.line or HOTLINE
    source: str = getattr(said, name)
    return source


def pairs_of(said: Any) -> list[tuple[float | None, float | None]]:
    if not isinstance(said, TrackFrame):
        return [(said.lon, said.lat)]
    if said.objects is not None:
        return [(track.lon, track.lat) for track in said.objects]
    if said.columns is not None and said.columns.lon is not None and said.columns.lat is not None:
        return list(zip(said.columns.lon, said.columns.lat, strict=False))
    return []
