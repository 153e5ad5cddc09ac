"""`near`: one that fulfils `where` and another that fulfils `of` are close to each other for a time.

    metres   40   12   9   8   10   11   55        within 15
                  |<---- for ---->|                raised; cleared by the fix that shows them apart

Held against each other are the newest fixes, not older than `max_gap`. A pair is one condition, whichever is first in
its key. Where one of them is silent for longer than `max_gap`, a pair that is not raised yet is forgotten; one that is
becomes unknown, and is cleared when it has been missed (`close.absent_for`) while its source was watching.
"""

from __future__ import annotations

from functools import cached_property
from math import floor

from geo.distance import distance_m
from rules.detection.condition import Condition, Hit
from rules.detection.looks import FIRST, SECOND
from rules.detection.memory import Fix
from rules.detection.missed import MissedWatch
from rules.detection.watch import ROLE, ConditionKey, Surroundings
from rules.language.model import Near, Rule

MOVER, PAIR = "mover", "pair"
METRES_PER_DEGREE_LAT, METRES_PER_DEGREE_LON = 110_500.0, 55_000.0
"""Never more than a degree has, of longitude up to 60° north: so what is near is in a neighbouring cell."""
MOST_MET = 1_000
"""Movers a fix is held against: a crowd of more within a cell is no matter of pairs. The others are counted."""
Cell = tuple[str, int, int]


class NearWatch(MissedWatch):
    def __init__(self, rule: Rule, number: int, lane: Surroundings, unit: str | None) -> None:
        super().__init__(rule, number, lane, unit)
        self.cells: dict[Cell, dict[ConditionKey, Condition]] = {}
        self.cell_of: dict[ConditionKey, Cell] = {}
        self.pairs_of: dict[ConditionKey, dict[ConditionKey, Condition]] = {}

    def limits(self, condition: Condition) -> Near:
        detect = self.variant(condition).detect
        assert isinstance(detect, Near)
        return detect

    @cached_property
    def side_m(self) -> float:
        return max(v.detect.within_m for v in self.rule.variants if isinstance(v.detect, Near))

    def restored(self) -> None:
        for condition in self.open.values():
            if condition.role == MOVER:
                self.place(condition)
            elif condition.role == PAIR:
                self.join(condition)

    # movers

    def observe(self, hit: Hit) -> None:
        """Take a fix; all of a moment are there before any is held against others."""
        if hit.lon != hit.lon or not hit.inside:
            return
        mover = Condition.begin(hit)
        mover.role = MOVER
        known = self.open.get(self.slot(mover))
        if known is None:
            mover.memory = Fix(0)
        else:
            mover = known
            self.unplace(mover)
            mover.follow(hit)
            mover.source, mover.area, mover.evidence = hit.source, hit.area, [hit.offset]
        mover.memory = Fix(hit.signal & (FIRST | SECOND))
        self.place(mover)
        self.remember(mover, hit.time_us)
        if mover.wake_us != hit.time_us:
            self.look_at(mover, hit.time_us)

    def place(self, mover: Condition) -> None:
        slot = self.slot(mover)
        cell = (
            mover.zone if self.by_zone else "",
            floor(mover.lon * METRES_PER_DEGREE_LON / self.side_m),
            floor(mover.lat * METRES_PER_DEGREE_LAT / self.side_m),
        )
        self.cell_of[slot] = cell
        self.cells.setdefault(cell, {})[slot] = mover

    def unplace(self, mover: Condition) -> None:
        slot = self.slot(mover)
        cell = self.cell_of.pop(slot)
        del self.cells[cell][slot]
        if not self.cells[cell]:
            del self.cells[cell]

    def forget(self, condition: Condition) -> None:
        if condition.role == MOVER:
            self.unplace(condition)
        elif condition.role == PAIR:
            self.part(condition)
        super().forget(condition)

    def awake(self, condition: Condition, now_us: int) -> None:
        if condition.role == PAIR:
            self.see_to(condition, now_us)
            return
        if now_us == condition.last_us:
            self.meet(condition, now_us)
        until_us = condition.last_us + self.limits(condition).max_gap_us
        if now_us > until_us:
            self.forget(condition)
        else:
            self.look_at(condition, until_us + 1)

    def meet(self, mover: Condition, now_us: int) -> None:
        """Hold its fix against the others'."""
        limits = self.limits(mover)
        met: set[ConditionKey] = set()
        for other in self.around(mover):
            if now_us - other.last_us > limits.max_gap_us or not may_pair(mover, other):
                continue
            if distance_m(mover.lon, mover.lat, other.lon, other.lat) <= limits.within_m:
                met.add(self.together(mover, other, now_us))
        for slot, pair in list(self.pairs_of.get(self.slot(mover), {}).items()):
            known = self.open.get(self.other(pair, mover))
            if slot not in met and known is not None and now_us - known.last_us <= limits.max_gap_us:
                self.apart(pair, now_us)

    def around(self, mover: Condition) -> list[Condition]:
        zone, x, y = self.cell_of[self.slot(mover)]
        cells = [self.cells.get((zone, x + dx, y + dy), {}) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        found = sorted(
            (other for cell in cells for other in cell.values() if other is not mover), key=lambda c: c.key
        )  # fmt: skip
        self.evicted += max(0, len(found) - MOST_MET)
        return found[:MOST_MET]

    # pairs

    def pair_slot(self, a: Condition, b: Condition) -> ConditionKey:
        first, second = sorted((a.key, b.key))
        return (*first, *second), f"{a.zone if self.by_zone else ''}{ROLE}{PAIR}"

    def join(self, pair: Condition) -> None:
        for slot in self.movers(pair):
            self.pairs_of.setdefault(slot, {})[self.slot(pair)] = pair

    def movers(self, pair: Condition) -> tuple[ConditionKey, ConditionKey]:
        zone, half = f"{pair.zone if self.by_zone else ''}{ROLE}{MOVER}", len(pair.key) // 2
        return (pair.key[:half], zone), (pair.key[half:], zone)

    def other(self, pair: Condition, mover: Condition) -> ConditionKey:
        first, second = self.movers(pair)
        return second if first == self.slot(mover) else first

    def part(self, pair: Condition) -> None:
        for slot in self.movers(pair):
            pairs = self.pairs_of[slot]
            del pairs[self.slot(pair)]
            if not pairs:
                del self.pairs_of[slot]

    def drop(self, condition: Condition) -> None:
        if condition.role == PAIR:
            self.part(condition)
        super().drop(condition)

    def together(self, mover: Condition, other: Condition, now_us: int) -> ConditionKey:
        """They are near each other now; which pair they are."""
        slot = self.pair_slot(mover, other)
        pair, limits = self.open.get(slot), self.limits(mover)
        if pair is not None and pair.opened_us is None and now_us - pair.last_us > limits.max_gap_us:
            self.drop(pair)
            pair = None
        if pair is None:
            pair = Condition.begin_as(mover, slot[0], PAIR)
            pair.zone, pair.since_us = mover.zone, now_us
            self.keep(pair, now_us + limits.max_gap_us + 1)
            self.join(pair)
        self.goes_on(pair, mover, min(now_us, other.last_us))
        raised_us = self.raised_at(pair, limits.for_us)
        if pair.opened_us is not None:
            self.back_at(pair, now_us)
            self.tell_stages(pair, now_us)
        elif raised_us <= now_us:
            self.raise_(pair, raised_us, mover.evidence[-1])
            self.tell_stages(pair, now_us)
            self.look_at(pair, now_us)
        return slot

    @staticmethod
    def goes_on(pair: Condition, mover: Condition, seen_us: int) -> None:
        """`seen_us`: the older of their fixes."""
        pair.last_us, pair.source, pair.variant = seen_us, mover.source, mover.variant
        pair.lon, pair.lat, pair.error_m = mover.lon, mover.lat, mover.error_m
        pair.value, pair.attributes = mover.value, mover.attributes

    def apart(self, pair: Condition, now_us: int) -> None:
        if pair.opened_us is None:
            self.drop(pair)
        else:
            self.tell_stages(pair, now_us)
            self.clear(pair, now_us)

    def see_to(self, pair: Condition, now_us: int) -> None:
        """A pair of which nothing came for a time."""
        silent_us = pair.last_us + self.limits(pair).max_gap_us + 1
        if pair.opened_us is None:
            if silent_us <= now_us:
                self.drop(pair)
            else:
                self.look_at(pair, silent_us)
            return
        if silent_us <= now_us and not pair.unknown and self.rule.no_data == "unknown":
            pair.unknown = True
            self.tell("unknown", pair, silent_us - 1, None)
        self.tend_or_miss(pair, now_us)
        if self.slot(pair) in self.open and not pair.unknown and silent_us < pair.wake_us:
            self.look_at(pair, max(now_us + 1, silent_us))

    def named_key(self, condition: Condition) -> dict[str, str]:
        names = [*self.key_fields, *(f"other_{name}" for name in self.key_fields)]
        return dict(zip(names, condition.key, strict=True))


def may_pair(a: Condition, b: Condition) -> bool:
    assert isinstance(a.memory, Fix)
    assert isinstance(b.memory, Fix)
    return bool(
        (a.memory.sides & FIRST and b.memory.sides & SECOND) or (a.memory.sides & SECOND and b.memory.sides & FIRST)
    )
