"""The sources a lane has seen: a number for each, what the registry knows of it, and what it vouches for."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from geo.atlas import Atlas, Registered
from models.columns import F64, I32, Mask, Spans
from models.words import Words
from rules.detection.coverage import Coverage, CoverageState
from rules.detection.rows import grown


class SourcesState(msgspec.Struct, array_like=True):
    names: tuple[bytes, bytes]
    coverage: CoverageState


class Sources:
    """Numbers in order of first appearance. `areas` are the areas of the registered ones, by source."""

    def __init__(self, atlas: Atlas, topic: str, reach_us: Callable[[str], int], *, compiled: bool) -> None:
        self.find = atlas.register(topic)
        self.reach_us = reach_us
        self.names = Words(compiled)
        self.coverage = Coverage(compiled=compiled)
        self.known: Mask = np.empty(0, dtype=np.bool_)
        self.lon: F64 = np.empty(0)
        self.lat: F64 = np.empty(0)
        self.areas: list[str | None] = []
        self._area_words: I32 = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return self.coverage.count

    @property
    def nbytes(self) -> int:
        return self.names.nbytes + self.coverage.nbytes + 17 * len(self.known) + 8 * len(self.areas)

    def numbers(self, source: Spans) -> I32:
        """The number of each, NONE where there is none; new ones are looked up in the registry."""
        numbers = self.names.intern(source)
        self.catch_up()
        return numbers

    def catch_up(self) -> None:
        """Look up those of which only the name is held."""
        if len(self.names) > len(self):
            self._add([self.names.text(number) for number in range(len(self), len(self.names))])

    def _add(self, names: list[str]) -> None:
        count, first = len(self) + len(names), len(self)
        if count > len(self.known):
            room = max(16, count, 2 * first)
            self.known, self.lon, self.lat = (grown(a, first, room) for a in (self.known, self.lon, self.lat))
        for number, name in enumerate(names, first):
            entry: Registered | None = None if self.find is None else self.find(name)
            self.known[number] = entry is not None
            self.lon[number], self.lat[number] = (np.nan, np.nan) if entry is None else (entry.lon, entry.lat)
            self.areas.append(None if entry is None else entry.area)
        self.coverage.add_sources([self.reach_us(name) for name in names])

    def area_words(self, words: Words) -> I32:
        """The area of each source as a word, NONE where the registry has none."""
        if len(self._area_words) < len(self.areas):
            named = self.areas[len(self._area_words) :]
            more = words.intern(Spans.of([None if area is None else area.encode() for area in named]))
            self._area_words = np.append(self._area_words, more)
        return self._area_words

    def forget_area_words(self) -> None:
        """The words have other numbers now."""
        self._area_words = np.empty(0, dtype=np.int32)

    def keep(self, wanted: Mask) -> I32:
        """Forget the others; gives the new number of each old one, NONE where it is gone."""
        moved = self.names.keep(wanted)
        self.coverage.keep(wanted, moved)
        for facts in (self.known, self.lon, self.lat):
            facts[: len(self)] = facts[: len(wanted)][wanted]
        self.forget_area_words()
        self.areas = [area for area, kept in zip(self.areas, wanted.tolist(), strict=True) if kept]
        return moved

    def snapshot(self) -> SourcesState:
        return SourcesState(self.names.snapshot(), self.coverage.snapshot())

    def restore(self, saved: SourcesState) -> None:
        """Of an empty one; what the registry knows is looked up anew."""
        self.names.restore(*saved.names)
        self._add([self.names.text(number) for number in range(len(self.names))])
        self.coverage.restore(saved.coverage)
