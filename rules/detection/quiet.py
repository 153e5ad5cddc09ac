"""The quiet part of deciding, in compiled loops: most hits raise nothing and change nothing that anybody is told.

A run of matches lives here until it is long enough; then a watch takes it over as a Condition, and what is here of it
only takes in the matches that tell nothing: from the same source, before the next moment the watch is to look at it.
A Condition is brought up to date (`catch_up`) before its watch looks at it, and handed back after.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from geo.atlas import Atlas
from models.columns import F64, I32, I64, Batch, Spans
from models.words import Words
from rules.detection.carried import Cells, Kept
from rules.detection.condition import Condition, Hit
from rules.detection.coverage import NEVER_US, Coverage
from rules.detection.dwell import DwellWatch
from rules.detection.looks import closes_by_rows, is_plain_hold
from rules.detection.memory import FAR_US
from rules.detection.neighbours import needs_of
from rules.detection.rows import (
    ASKED,
    DWELL,
    EVENT,
    GONE,
    HIT,
    HOLD,
    LIMITS,
    NONE,
    OPEN,
    PENDING,
    RUN,
    WATCHED,
    Rows,
    joined,
    taken,
)
from rules.detection.runs import Runs
from rules.detection.select import Selector
from rules.detection.sources import Sources
from rules.detection.waiting import LEAST_ROOM, MOST_SPARE, Waiting
from rules.detection.watch import ConditionKey, Watch
from rules.language.model import Dwell, Rule

HELD_BYTES = 1 << 21
"""Of batches that are kept because the newest match of an open condition may stand in them; beyond, the conditions are
brought up to date and the oldest batches let go. A worker has some dozens of lanes."""
BATCH_BYTES = 4096  # what a batch takes beside its columns


class Surroundings(Protocol):
    """What it works on of its lane."""

    atlas: Atlas
    paths: list[str]
    words: Words
    watches: list[Watch]
    coverage: Coverage
    sources: Sources
    waiting: Waiting
    batches: dict[int, Batch | Kept]
    selector: Selector
    watermark_us: int

    def cells(self, rule: int, batch: int, row: int) -> Cells: ...
    def hits_of(self, rows: Rows, runs: I32 | None) -> list[Hit]: ...
    def condition_of(self, run: np.void, met: I32, key: tuple[str, ...]) -> Condition: ...


class Quiet:
    def __init__(self, lane: Surroundings) -> None:
        self.lane = lane
        asked = any(watch.rule.neighbours is not None for watch in lane.watches)
        self.runs = Runs([watch.forgotten_after_us for watch in lane.watches], asked=asked)
        self.limits = limits_of(lane.watches)
        self.needs: F64 = np.array([needs_of(watch.rule.neighbours) for watch in lane.watches]).reshape(-1, ASKED + 1)
        self.absent_us: list[list[int]] = self.limits["absent_us"].tolist()
        self.open_at: dict[int, tuple[Watch, Condition]] = {}
        self.touched: dict[int, tuple[Watch, ConditionKey]] = {}
        self.followed: deque[tuple[I32, I32, list[int], int]] = deque()
        self.held_bytes = 0
        self.resting: I32 = np.empty(64, dtype=np.int32)
        self.rest = 0
        self._make_scratch(LEAST_ROOM)

    def _make_scratch(self, room: int) -> None:
        room = max(room, LEAST_ROOM)
        self.due: Rows = np.empty(room, dtype=HIT)
        self.order, self.spare, self.deferred, self.deferred_run, self.quietly = (
            np.empty(room, dtype=np.int32) for _ in range(5)
        )
        self.book: I64 = np.zeros(8, dtype=np.int64)

    @property
    def rows(self) -> Rows:
        return self.runs.rows[: self.runs.used]

    @property
    def nbytes(self) -> int:
        return self.runs.nbytes + self.due.nbytes + 5 * self.order.nbytes

    # deciding

    def decide(self, watermark_us: int) -> list[Hit]:
        """Decide what is quiet of the hits up to the watermark; gives the others, for their watches."""
        lane, kernels, book = self.lane, self.runs.kernels, self.book
        waiting = lane.waiting.rows
        count = len(waiting)
        if count > len(self.due) or (len(self.due) > MOST_SPARE and 8 * count < len(self.due)):
            self._make_scratch(2 * count)
            book = self.book
        if not self.runs.has_room(count):
            self._moved(self.runs.make_room(count, lane.waiting.earliest_us))
        book[kernels.RUNS_USED], book[kernels.WAITING] = self.runs.used, count
        kernels.decide(
            waiting, watermark_us, self.due, self.order, self.spare, self.limits, self.needs, self.runs.rows,
            self.runs.met, self.runs.table, lane.sources.cameras, lane.coverage.start_us, book, self.deferred,
            self.deferred_run, self.quietly,
        )  # fmt: skip
        self.runs.used, left, _, deferred, quietly, _, earliest_us = book[:7].tolist()
        lane.waiting.left(left, earliest_us)
        if quietly:
            slots = self.quietly[:quietly].copy()
            self.followed.append((slots, self.runs.facts["batch"][slots], [], 0))
        if not deferred:
            return []
        hits = lane.hits_of(taken(self.due, self.deferred[:deferred]), self.deferred_run[:deferred])
        for hit in hits:
            if hit.run != NONE and hit.run not in self.touched:
                watch = lane.watches[hit.rule]
                self.touched[hit.run] = watch, watch.slot(hit)
                self._adopt(hit.run, watch, hit)
        return hits

    def _adopt(self, run: int, watch: Watch, hit: Hit) -> None:
        """Let the watch of a run have it as a Condition, up to date."""
        if run in self.open_at:
            _, condition = self.open_at[run]
            self.catch_up(condition)
            if self.runs.facts["resting"][run]:
                self._plan(watch, condition)
        elif isinstance(watch, DwellWatch) and watch.slot(hit) not in watch.open:
            condition = self.lane.condition_of(self.runs.rows[run], self.runs.met[run], hit.key)
            condition.run = run
            watch.open[watch.slot(hit)] = condition

    def hand_back(self) -> None:
        """After the watches: what they keep of the runs they saw goes on here."""
        facts = self.runs.facts
        touched, self.touched = self.touched, {}
        for run, (watch, slot) in touched.items():
            condition = watch.open.get(slot)
            if condition is None:
                facts["state"][run] = GONE
                self.open_at.pop(run, None)
                continue
            condition.run = run
            if condition.opened_us is None and isinstance(watch, DwellWatch):
                self._put(run, condition)
                del watch.open[slot]
                self.open_at.pop(run, None)
            else:
                self.open_at[run] = (watch, condition)
                self.settle(watch, condition)

    def _put(self, run: int, condition: Condition) -> None:
        """A pending condition back into its run."""
        lane, facts = self.lane, self.runs.facts
        self._fill(run, condition)
        facts["since_us"][run], facts["first_offset"][run] = condition.since_us, condition.evidence[0]
        facts["zone"][run] = lane.atlas.index.numbers[condition.zone] if condition.zone else NONE
        facts["area"][run] = lane.words.intern(Spans.of([condition.area.encode()]))[0]
        facts["state"][run] = PENDING
        if condition.met:
            self.runs.met[run] = condition.met

    def _fill(self, run: int, condition: Condition) -> None:
        facts = self.runs.facts
        facts["last_us"][run], facts["points"][run] = condition.last_us, condition.points
        facts["anchor_lon"][run], facts["anchor_lat"][run] = condition.anchor_lon, condition.anchor_lat
        facts["source"][run], facts["variant"][run] = condition.source, condition.variant
        facts["batch"][run] = facts["row"][run] = NONE
        facts["resting"][run] = 0

    def settle(self, watch: Watch, condition: Condition) -> None:
        """Say up to when matches of an open condition need no watch."""
        run = condition.run
        if run < 0 or run in self.touched:
            return
        if not isinstance(watch, DwellWatch) or condition.opened_us is None:
            self.runs.facts["state"][run] = WATCHED
            return
        self._fill(run, condition)
        self.runs.facts["state"][run] = OPEN
        self._quiet_until(watch, condition, NEVER_US if condition.unknown else condition.wake_us)

    def _quiet_until(self, watch: Watch, condition: Condition, wake_us: int) -> None:
        self.runs.facts["quiet_until_us"][condition.run] = min(wake_us, watch.tells_at(condition) - 1)

    def still_quiet(self, watch: Watch, condition: Condition) -> bool:
        """Whether matches came since it was planned to look at an open condition. Then it may rest: loops see whether
        it is missed or its source falls silent."""
        run, facts = condition.run, self.runs.facts
        if run < 0 or condition.unknown or facts["batch"][run] == NONE or facts["state"][run] != OPEN:
            return False
        soonest_us = self._soonest(watch, condition)
        if soonest_us <= condition.wake_us:
            return False
        if soonest_us <= self.lane.watermark_us:
            self._look_at(watch, condition, soonest_us)
            return True
        ends_us = watch.times_out_at(condition)
        look_at_us = condition.still_us if ends_us is None else min(condition.still_us, ends_us)
        condition.wake_us = FAR_US
        facts["look_at_us"][run], facts["resting"][run] = look_at_us, 1
        self._quiet_until(watch, condition, look_at_us)
        self._add_resting(run)
        return True

    def _add_resting(self, run: int) -> None:
        if self.rest == len(self.resting):
            self.resting = np.append(self.resting, np.empty_like(self.resting))
        self.resting[self.rest] = run
        self.rest += 1

    def _soonest(self, watch: Watch, condition: Condition) -> int:
        """The first moment at which something may be told of an open condition if nothing more is seen of it."""
        last_us = int(self.runs.facts["last_us"][condition.run])
        silent_us = self.lane.coverage.end_of_span(condition.source, last_us)
        ends_us = watch.times_out_at(condition)
        gone_us = last_us + self.absent_us[watch.number][condition.variant]
        return min(
            condition.still_us,
            gone_us,
            last_us if silent_us is None else silent_us,
            FAR_US if ends_us is None else ends_us,
        )

    def rouse(self, watermark_us: int) -> None:
        """Plan to look at the resting conditions of which something may be told by now."""
        if not self.rest:
            return
        coverage = self.lane.coverage
        roused = np.empty(self.rest, dtype=np.int32)
        count = self.runs.kernels.rouse(
            self.resting, self.rest, self.runs.rows, self.limits, coverage.start_us, coverage.end_us, watermark_us,
            roused, self.book,
        )  # fmt: skip
        self.rest = int(self.book[self.runs.kernels.RESTING])
        for run in roused[:count].tolist():
            self._plan(*self.open_at[run])

    def _plan(self, watch: Watch, condition: Condition) -> None:
        """It rests no more: its watch looks at it when something may be told of it."""
        self.runs.facts["resting"][condition.run] = 0
        self._look_at(watch, condition, self._soonest(watch, condition))

    def _look_at(self, watch: Watch, condition: Condition, wake_us: int) -> None:
        watch.look_at(condition, wake_us)
        self._quiet_until(watch, condition, wake_us)

    def catch_up(self, condition: Condition) -> None:
        """Take over what an open condition's run has seen since."""
        run, facts = condition.run, self.runs.facts
        if run < 0 or (batch := int(facts["batch"][run])) == NONE:
            return
        condition.last_us, condition.points = int(facts["last_us"][run]), int(facts["points"][run])
        cells = self.lane.cells(int(facts["rule"][run]), batch, int(facts["row"][run]))
        condition.lon, condition.lat, condition.error_m, condition.value, condition.attributes = cells
        facts["batch"][run] = NONE

    def catch_up_all(self) -> None:
        """Bring all up to date; none rests."""
        for run, (watch, condition) in self.open_at.items():
            self.catch_up(condition)
            if self.runs.facts["resting"][run]:
                self._plan(watch, condition)
        self.rest = 0

    def release(self, condition: Condition) -> None:
        """Its watch has let it go."""
        if condition.run >= 0:
            if condition.run not in self.touched:
                self.runs.facts["state"][condition.run] = GONE
                self.open_at.pop(condition.run, None)
            condition.run = NONE

    # batches

    def let_go(self, done: list[int]) -> None:
        """No hit waits in these batches any more; they stay while an open condition's newest match may be there."""
        if not self.followed:
            for number in done:
                del self.lane.batches[number]
            return
        size = sum(self.lane.batches[number].nbytes + BATCH_BYTES for number in done)
        slots, batches, numbers, before = self.followed[-1]
        self.followed[-1] = (slots, batches, [*numbers, *done], before + size)
        self.held_bytes += size
        while self.followed and self.held_bytes > HELD_BYTES:
            slots, batches, numbers, size = self.followed.popleft()
            stale = slots[self.runs.facts["batch"][slots] == batches]
            for run in stale.tolist():
                if run in self.open_at:
                    self.catch_up(self.open_at[run][1])
            for number in numbers:
                del self.lane.batches[number]
            self.held_bytes -= size

    # places and names that change

    def _moved(self, moved: I32) -> None:
        self.open_at = {int(moved[run]): held for run, held in self.open_at.items()}
        for run, (_, condition) in self.open_at.items():
            condition.run = run
        self.rest = 0
        for run in self.open_at:
            if self.runs.facts["resting"][run]:
                self._add_resting(run)
        self.followed = deque((moved[slots], batches, numbers, size) for slots, batches, numbers, size in self.followed)

    def renamed(self) -> None:
        """Words have other numbers now: keys lie elsewhere in the table."""
        self.runs.kernels.index_runs(self.runs.rows, self.runs.used, self.runs.table)

    # stop and go on

    def pending(self) -> tuple[Rows, I32]:
        """The pending runs, and what they have met."""
        pending = self.rows["state"] == PENDING
        return taken(self.rows, pending), self.runs.met[: len(pending)][pending]

    def restore(self, runs: Rows, met: I32) -> None:
        """Pending runs of a snapshot, and a place for each condition that the watches have."""
        lane = self.lane
        held: list[tuple[Watch, Condition]] = []
        for watch in lane.watches:
            if self.limits["kind"][watch.number, -1] == EVENT:
                continue
            for condition in list(watch.open.values()):
                if condition.zone and condition.zone not in lane.atlas.index.numbers:
                    continue
                held.append((watch, condition))
                if condition.opened_us is None and isinstance(watch, DwellWatch):
                    del watch.open[watch.slot(condition)]
        nothing, room = self.runs.nothing_met(len(held)), self.runs.nothing_met(256)
        self.runs.have(
            joined([np.zeros(len(held), dtype=RUN), runs, np.zeros(256, dtype=RUN)], RUN),
            np.concatenate([nothing, met[:, : self.runs.asked], room]),
        )
        self.runs.used, facts = len(held) + len(runs), self.runs.facts
        for run, (watch, condition) in enumerate(held):
            keys = lane.words.intern(Spans.of(lane.selector.key_bytes(watch.number, condition.key)))
            facts["rule"][run] = watch.number
            facts["k0"][run], facts["k1"][run], facts["k2"][run] = [*keys.tolist(), NONE, NONE, NONE][:3]
            self._put(run, condition)
            facts["slot_zone"][run] = facts["zone"][run] if watch.by_zone else NONE
            if condition.opened_us is not None or not isinstance(watch, DwellWatch):
                condition.run = run
                self.open_at[run] = (watch, condition)
                self.settle(watch, condition)
        self._moved(self.runs.make_room(256, NEVER_US))


def is_quiet(rule: Rule) -> bool:
    """Whether the loops know what is quiet of it; of the others its watch sees every hit, as it does of events."""
    known = isinstance(rule.base.detect, Dwell) or is_plain_hold(rule.base.detect)
    return known and rule.flap is None and not closes_by_rows(rule)


def limits_of(watches: list[Watch]) -> Rows:
    """A row a rule, a column a variant, the base last."""
    width = max((len(watch.rule.variants) for watch in watches), default=1)
    limits: Rows = np.zeros((len(watches), width), dtype=LIMITS)
    for watch in watches:
        for at, variant in enumerate(watch.rule.variants):
            row = limits[watch.number, at if at < len(watch.rule.variants) - 1 else width - 1]
            detect = variant.detect
            row["by_zone"] = watch.by_zone
            if isinstance(detect, Dwell) and is_quiet(watch.rule):
                stages = variant.stages
                row["kind"], row["max_move_m"], row["max_gap_us"] = DWELL, detect.max_move_m, detect.max_gap_us
                row["min_points"] = detect.min_points
                row["raise_after_us"] = max(detect.for_us, stages[0].at_us) if stages else detect.for_us
                row["absent_us"] = DwellWatch.absent_us(variant)
            else:
                row["kind"] = HOLD if is_quiet(watch.rule) else EVENT
    return limits
