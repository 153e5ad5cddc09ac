"""The sources a lane has seen: a number for each, what the registry knows of it, and what it vouches for.

A camera that can turn is a source for each of its presets, unless the registry says at which one its zones hold: what
it sees at another place vouches for nothing there.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from geo.atlas import Atlas, Registered
from geo.registry import Device
from models.columns import F64, I32, Mask, Spans
from models.words import Words
from rules.detection.coverage import Coverage, CoverageState
from rules.detection.rows import NONE, grown

TURNED = "\x1f"  # between a camera and its preset in the name of a source; in no id, whose characters are printable


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
        self.home: F64 = np.empty(0)
        self.cameras: I32 = np.empty(0, dtype=np.int32)
        self.areas: list[str | None] = []
        self._turned: dict[tuple[int, float], int] = {}
        self._area_words: I32 = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return self.coverage.count

    @property
    def nbytes(self) -> int:
        return self.names.nbytes + self.coverage.nbytes + 29 * len(self.known) + 8 * len(self.areas)

    def numbers(self, source: Spans) -> I32:
        """The number of each, NONE where there is none; new ones are looked up in the registry."""
        numbers = self.names.intern(source)
        self.catch_up()
        return numbers

    def catch_up(self) -> None:
        """Look up those of which only the name is held."""
        if len(self.names) > len(self):
            self._add([self.names.text(number) for number in range(len(self), len(self.names))])

    def at_presets(self, sources: I32, presets: F64) -> tuple[I32, Mask]:
        """The source that each is at its preset (NaN: not told), and which look away from where the registry has
        them."""
        away = np.zeros(len(sources), dtype=np.bool_)
        if np.isnan(presets).all():
            return sources, away
        sources = sources.copy()
        for record in np.flatnonzero(~np.isnan(presets) & (sources != NONE)).tolist():
            source, preset = int(sources[record]), float(presets[record])
            if self.home[source] == self.home[source]:
                away[record] = self.home[source] != preset
            else:
                sources[record] = self._turned_to(source, preset)
        return sources, away

    def _turned_to(self, camera: int, preset: float) -> int:
        number = self._turned.get((camera, preset))
        if number is None:
            name = f"{self.names.text(camera)}{TURNED}{preset + 0.0!r}"
            number = self._turned[camera, preset] = int(self.numbers(Spans.of([name.encode()]))[0])
        return number

    def other_view(self, source: int, other: int) -> bool:
        """Whether they are one camera that looks elsewhere."""
        return source != other and bool(self.cameras[source] == self.cameras[other] != NONE)

    def _add(self, names: list[str]) -> None:
        count, first = len(self) + len(names), len(self)
        if count > len(self.known):
            room = max(16, count, 2 * first)
            self.known, self.lon, self.lat, self.home, self.cameras = (
                grown(facts, first, room) for facts in (self.known, self.lon, self.lat, self.home, self.cameras)
            )
        for number, turned in enumerate(names, first):
            name, *preset = turned.split(TURNED)
            entry: Registered | None = None if self.find is None else self.find(name)
            home = entry.ptz_preset if isinstance(entry, Device) else None
            self.home[number] = np.nan if home is None else home
            self.cameras[number] = NONE
            if preset:
                camera = int(self.names.find(Spans.of([name.encode()]))[0])
                self.cameras[camera] = self.cameras[number] = camera
            self.known[number] = entry is not None
            self.lon[number], self.lat[number] = (np.nan, np.nan) if entry is None else (entry.lon, entry.lat)
            self.areas.append(None if entry is None else entry.area)
        self.coverage.add_sources([self.reach_us(name.split(TURNED)[0]) for name in names])

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
        """Forget the others, but no camera of which a view is wanted; gives the new number of each old one, NONE where
        it is gone."""
        cameras = self.cameras[: len(self)]
        wanted = wanted.copy()
        wanted[cameras[wanted & (cameras != NONE)]] = True
        moved = self.names.keep(wanted)
        self._turned.clear()
        self.coverage.keep(wanted, moved)
        for facts in (self.known, self.lon, self.lat, self.home, self.cameras):
            facts[: len(self)] = facts[: len(wanted)][wanted]
        cameras = self.cameras[: len(self)]
        cameras[:] = np.append(moved, np.int32(NONE))[cameras]
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
