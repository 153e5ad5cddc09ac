"""Steps in order: what has been reached of a sequence for one key, and when it is complete.

    within   |<--------------------------------->|
    steps    1 . . 2 2 2 . . not 3 . . . 4        x = reached; 2 is held `for`, 3 must not come before 4
             first                       complete at 4; where the last step is negated, at first + within

One open match a key: the first start wins, what else could begin is passed over until this one is complete, broken or
out of time; then it begins anew. Sightings come in order of time, equal times in the order of the caller; one sighting
serves one step. What is not within `near_m` of the first counts for nothing, nor does what has no place.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from geo.distance import distance_m
from rules.language.model import InSequence

NEVER_US = -(1 << 62)


class Sighting(msgspec.Struct, array_like=True, frozen=True):
    """Something that is a step. `ref` is the caller's: which record or detection it was."""

    time_us: int
    lon: float
    lat: float
    ref: int | str


class Held(msgspec.Struct, array_like=True):
    """A step that is being held: the first of its sightings, and the newest's time."""

    first: Sighting
    last_us: int


class Progress(msgspec.Struct, array_like=True):
    """What is known of one key: plain data, so that a snapshot is its copy.

    reached   the sighting that reached each step so far, negated ones left out
    held      by step, what is not reached yet but held
    barred_us when a negated step before the first was last seen
    """

    reached: list[Sighting] = []
    held: dict[int, Held] = {}
    barred_us: int = NEVER_US
    first_us: int = 0


class Match(NamedTuple):
    """A sequence that is complete at `time_us`; it began with the first sighting, at `since_us`."""

    time_us: int
    since_us: int
    reached: list[Sighting]


class Sequence:
    """The automaton of one sequence, without state of its own."""

    def __init__(self, sequence: InSequence) -> None:
        self.sequence, self.steps = sequence, sequence.steps
        self.wanted = [n for n, step in enumerate(self.steps) if not step.negated]
        if not self.wanted:
            raise ValueError("a sequence of negated steps alone never begins")
        self.waits = self.steps[-1].negated
        self.numbers = {step.name: n for n, step in enumerate(self.steps)}

    def feed(self, progress: Progress, steps: Collection[str], seen: Sighting) -> list[Match]:
        """Take a sighting that is each of these steps (names); the matches that are complete by it."""
        found = self.advance(progress, seen.time_us - 1)
        numbers = sorted(self.numbers[name] for name in steps)
        complete = self._take(progress, numbers, seen)
        return found if complete is None else [*found, complete]

    def advance(self, progress: Progress, time_us: int) -> list[Match]:
        """Nothing more comes up to this time."""
        if not progress.reached or self.ends_us(progress) > time_us:
            return []
        return self._out_of_time(progress)

    def due_us(self, progress: Progress) -> int | None:
        """When `advance` is to be called at the latest; None: there is nothing to wait for."""
        return self.ends_us(progress) if progress.reached else None

    def forgettable_us(self, progress: Progress) -> int:
        """From when on this key may be forgotten if nothing more comes."""
        held_us = max((held.last_us for held in progress.held.values()), default=NEVER_US) + self.sequence.max_gap_us
        ends_us = self.ends_us(progress) if progress.reached else NEVER_US
        return max(held_us, ends_us, progress.barred_us + self.sequence.within_us) + 1

    def ends_us(self, progress: Progress) -> int:
        return progress.first_us + self.sequence.within_us

    def _take(self, progress: Progress, numbers: list[int], seen: Sighting) -> Match | None:
        if progress.reached and not self._near(progress, seen):
            return None
        if self._broken(progress, numbers, seen):
            self._reset(progress)
        next_ = self._next(progress)
        if next_ is None or next_ not in numbers:
            return None
        if next_ == self.wanted[0] and progress.barred_us >= seen.time_us - self.sequence.within_us:
            return None
        since = self._held_since(progress, next_, seen)
        if since is None:
            return None
        if not progress.reached:
            progress.first_us = since.time_us
        step_us = since.time_us + self.steps[next_].for_us
        if step_us > self.ends_us(progress):
            self._reset(progress)
            return None
        progress.reached.append(msgspec.structs.replace(seen, time_us=step_us))
        progress.held = {}
        if len(progress.reached) < len(self.wanted) or self.waits:
            return None
        return self._complete(progress, step_us)

    def _broken(self, progress: Progress, numbers: list[int], seen: Sighting) -> bool:
        """Whether a step that must not come now has come; before the first it bars the beginning."""
        for n in numbers:
            if not self.steps[n].negated or not self._awaited(progress, n):
                continue
            if self._held_since(progress, n, seen) is None:
                continue
            if progress.reached:
                return True
            progress.barred_us = seen.time_us
            progress.held = {}
        return False

    def _awaited(self, progress: Progress, negated: int) -> bool:
        """Whether a negated step stands between the newest step that was reached and the next one."""
        before = self.wanted[len(progress.reached) - 1] if progress.reached else -1
        next_ = self._next(progress)
        return before < negated < (len(self.steps) if next_ is None else next_)

    def _next(self, progress: Progress) -> int | None:
        return self.wanted[len(progress.reached)] if len(progress.reached) < len(self.wanted) else None

    def _held_since(self, progress: Progress, n: int, seen: Sighting) -> Sighting | None:
        """The first sighting of a step once it has held for long enough; None until then."""
        held = progress.held.get(n)
        if held is None or seen.time_us - held.last_us > self.sequence.max_gap_us:
            held = Held(seen, seen.time_us)
            progress.held = {**progress.held, n: held}
        held.last_us = seen.time_us
        return held.first if seen.time_us - held.first.time_us >= self.steps[n].for_us else None

    def _near(self, progress: Progress, seen: Sighting) -> bool:
        first, near_m = progress.reached[0], self.sequence.near_m
        return near_m is None or distance_m(first.lon, first.lat, seen.lon, seen.lat) <= near_m

    def _out_of_time(self, progress: Progress) -> list[Match]:
        if self.waits and len(progress.reached) == len(self.wanted):
            return [self._complete(progress, self.ends_us(progress))]
        self._reset(progress)
        return []

    def _complete(self, progress: Progress, at_us: int) -> Match:
        match = Match(at_us, progress.first_us, progress.reached)
        self._reset(progress)
        return match

    @staticmethod
    def _reset(progress: Progress) -> None:
        progress.reached, progress.held = [], {}
