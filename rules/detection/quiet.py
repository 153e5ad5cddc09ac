"""The quiet part of deciding, in compiled loops: most hits raise nothing and change nothing that anybody is told.

A run of matches lives here until it is long enough; then a watch takes it over as a Condition, and what is here of it
only takes in the matches that tell nothing: from the same source, before the next moment the watch is to look at it.
A Condition is brought up to date (`catch_up`) before its watch looks at it, and handed back after.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from models.columns import I32, I64, Spans
from rules.detection.condition import Condition, Hit
from rules.detection.dwell import DwellWatch
from rules.detection.rows import DWELL, EVENT, GONE, HIT, HOLD, LIMITS, NONE, OPEN, PENDING, RUN, WATCHED, Rows
from rules.detection.runs import Runs
from rules.detection.watch import Watch
from rules.language.model import Dwell, Event

if TYPE_CHECKING:
    from rules.detection.lane import Lane

HELD_ROWS = 1 << 16
"""Rows of batches that are kept because the newest match of an open condition may stand in them; beyond, the conditions
are brought up to date and the oldest batches let go."""
NEVER_US = -(1 << 62)


class Quiet:
    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.runs = Runs([watch.forgotten_after_us for watch in lane.watches])
        self.limits = limits_of(lane.watches)
        self.open_at: dict[int, tuple[Watch, Condition]] = {}
        self.touched: list[int] = []
        self.followed: deque[tuple[I32, I32, list[int], int]] = deque()
        self.held_rows = 0
        self._make_scratch(256)

    def _make_scratch(self, room: int) -> None:
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
        return self.runs.nbytes

    # deciding

    def decide(self, watermark_us: int) -> list[Hit]:
        """Decide what is quiet of the hits up to the watermark; gives the others, for their watches."""
        lane, kernels, book = self.lane, self.runs.kernels, self.book
        waiting = lane.waiting[0] if len(lane.waiting) == 1 else np.concatenate(lane.waiting)
        count = len(waiting)
        if count > len(self.due):
            self._make_scratch(2 * count)
            book = self.book
        if not self.runs.has_room(count):
            self._moved(self.runs.make_room(count, lane.earliest_us))
        book[kernels.RUNS_USED], book[kernels.WAITING] = self.runs.used, count
        kernels.decide(
            waiting, watermark_us, self.due, self.order, self.spare, self.limits, self.runs.rows, self.runs.table,
            book, self.deferred, self.deferred_run, self.quietly,
        )  # fmt: skip
        used, left, _, deferred, quietly = book[:5].tolist()
        self.runs.used = used
        lane.wait_for(waiting[:left])
        if quietly:
            slots = self.quietly[:quietly].copy()
            self.followed.append((slots, self.runs.rows["batch"][slots], [], 0))
        if not deferred:
            return []
        places = self.deferred_run[:deferred]
        hits = lane.hits_of(self.due[self.deferred[:deferred]], places)
        self.touched = sorted(set(places.tolist()) - {NONE})
        for run in self.touched:
            self._adopt(run)
        return hits

    def _adopt(self, run: int) -> None:
        """Let the watch of a run have it as a Condition, up to date."""
        if run in self.open_at:
            self.catch_up(self.open_at[run][1])
            return
        row = self.runs.rows[run]
        watch = self.lane.watches[int(row["rule"])]
        if isinstance(watch, DwellWatch):
            condition = self.lane.condition_of(row)
            if watch.slot(condition) not in watch.open:
                condition.run = run
                watch.open[watch.slot(condition)] = condition

    def hand_back(self) -> None:
        """After the watches: what they keep of the runs they saw goes on here."""
        lane, rows = self.lane, self.runs.rows
        touched, self.touched = self.touched, []
        for run in touched:
            row = rows[run]
            rule = int(row["rule"])
            watch = lane.watches[rule]
            key = lane.selector.key_texts(rule, (int(row["k0"]), int(row["k1"]), int(row["k2"])), lane.words)
            zone = int(row["slot_zone"])
            condition = watch.open.get((key, lane.paths[zone] if zone >= 0 else ""))
            if condition is None:
                row["state"] = GONE
                self.open_at.pop(run, None)
                continue
            condition.run = run
            if condition.opened_us is None and isinstance(watch, DwellWatch):
                self._put(row, condition)
                del watch.open[watch.slot(condition)]
                self.open_at.pop(run, None)
            else:
                self.open_at[run] = (watch, condition)
                self.settle(watch, condition)

    def _put(self, row: np.void, condition: Condition) -> None:
        """A pending condition back into its run."""
        lane = self.lane
        row["since_us"], row["last_us"], row["points"] = condition.since_us, condition.last_us, condition.points
        row["anchor_lon"], row["anchor_lat"] = condition.anchor_lon, condition.anchor_lat
        row["first_offset"], row["source"] = condition.evidence[0], condition.source
        row["zone"] = lane.atlas.index.numbers[condition.zone] if condition.zone else NONE
        area = lane.words.intern(Spans.of([condition.area.encode()]))
        row["area"], row["variant"], row["state"] = int(area[0]), condition.variant, PENDING
        row["batch"] = row["row"] = NONE

    def settle(self, watch: Watch, condition: Condition) -> None:
        """Say up to when matches of an open condition need no watch."""
        if condition.run < 0 or condition.run in self.touched:
            return
        row = self.runs.rows[condition.run]
        if not isinstance(watch, DwellWatch) or condition.opened_us is None:
            row["state"] = WATCHED
            return
        row["state"], row["batch"], row["row"] = OPEN, NONE, NONE
        row["last_us"], row["points"], row["source"] = condition.last_us, condition.points, condition.source
        row["anchor_lon"], row["anchor_lat"] = condition.anchor_lon, condition.anchor_lat
        row["variant"] = condition.variant
        row["quiet_until_us"] = NEVER_US if condition.unknown else min(condition.wake_us, watch.tells_at(condition) - 1)

    def catch_up(self, condition: Condition) -> None:
        """Take over what an open condition's run has seen since."""
        if condition.run < 0:
            return
        row = self.runs.rows[condition.run]
        batch = int(row["batch"])
        if batch == NONE:
            return
        at = int(row["row"])
        condition.last_us, condition.points = int(row["last_us"]), int(row["points"])
        rule = int(row["rule"])
        cells = self.lane.cells(rule, batch, at)
        condition.lon, condition.lat, condition.error_m, condition.value, condition.attributes = cells
        row["batch"] = NONE

    def catch_up_all(self) -> None:
        for _, condition in self.open_at.values():
            self.catch_up(condition)

    def release(self, condition: Condition) -> None:
        """Its watch has let it go."""
        if condition.run >= 0:
            if condition.run not in self.touched:
                self.runs.rows["state"][condition.run] = GONE
                self.open_at.pop(condition.run, None)
            condition.run = NONE

    # batches

    def let_go(self, done: list[int]) -> None:
        """No hit waits in these batches any more; they stay while the newest match of an open condition may be there."""
        if not self.followed:
            for number in done:
                del self.lane.batches[number]
            return
        size = sum(len(self.lane.batches[number]) for number in done)
        slots, batches, numbers, rows = self.followed[-1]
        self.followed[-1] = (slots, batches, [*numbers, *done], rows + size)
        self.held_rows += size
        while self.followed and self.held_rows > HELD_ROWS:
            slots, batches, numbers, rows = self.followed.popleft()
            stale = slots[self.runs.rows["batch"][slots] == batches]
            for run in stale.tolist():
                if run in self.open_at:
                    self.catch_up(self.open_at[run][1])
            for number in numbers:
                del self.lane.batches[number]
            self.held_rows -= rows

    # places and names that change

    def _moved(self, moved: I32) -> None:
        self.open_at = {int(moved[run]): held for run, held in self.open_at.items()}
        for run, (_, condition) in self.open_at.items():
            condition.run = run
        self.followed = deque((moved[slots], batches, numbers, rows) for slots, batches, numbers, rows in self.followed)

    def renamed(self) -> None:
        """Words have other numbers now: keys lie elsewhere in the table."""
        self.runs.kernels.index_runs(self.runs.rows, self.runs.used, self.runs.table)

    # stop and go on

    def pending(self) -> Rows:
        rows = self.rows
        pending: Rows = rows[rows["state"] == PENDING]
        return pending

    def restore(self, runs: Rows) -> None:
        """Pending runs of a snapshot, and a place for each condition that the watches have."""
        lane = self.lane
        taken: list[tuple[Watch, Condition]] = []
        for watch in lane.watches:
            if self.limits["kind"][watch.number, -1] == EVENT:
                continue
            for condition in list(watch.open.values()):
                if condition.zone and condition.zone not in lane.atlas.index.numbers:
                    continue
                taken.append((watch, condition))
                if condition.opened_us is None and isinstance(watch, DwellWatch):
                    del watch.open[watch.slot(condition)]
        rows = np.zeros(len(taken), dtype=RUN)
        for row, (watch, condition) in zip(rows, taken, strict=True):
            keys = lane.words.intern(Spans.of(lane.selector.key_bytes(watch.number, condition.key)))
            row["rule"], row["k0"], row["k1"], row["k2"] = watch.number, *[*keys.tolist(), NONE, NONE, NONE][:3]
            self._put(row, condition)
            row["slot_zone"] = row["zone"] if watch.by_zone else NONE
        pending = runs[runs["state"] == PENDING]
        self.runs.rows = np.concatenate([rows, pending, np.zeros(256, dtype=RUN)])
        self.runs.used = len(rows) + len(pending)
        self.runs.make_room(256, NEVER_US)
        for run, (watch, condition) in enumerate(taken):
            if condition.opened_us is not None or not isinstance(watch, DwellWatch):
                condition.run = run
                self.open_at[run] = (watch, condition)
                self.settle(watch, condition)


def limits_of(watches: list[Watch]) -> Rows:
    """A row a rule, a column a variant, the base last."""
    width = max((len(watch.rule.variants) for watch in watches), default=1)
    limits: Rows = np.zeros((len(watches), width), dtype=LIMITS)
    for watch in watches:
        for at, variant in enumerate(watch.rule.variants):
            row = limits[watch.number, at if at < len(watch.rule.variants) - 1 else width - 1]
            detect = variant.detect
            row["by_zone"] = watch.by_zone
            if isinstance(detect, Dwell):
                stages = variant.stages
                row["kind"], row["max_move_m"], row["max_gap_us"] = DWELL, detect.max_move_m, detect.max_gap_us
                row["min_points"] = detect.min_points
                row["raise_after_us"] = max(detect.for_us, stages[0].at_us) if stages else detect.for_us
                row["absent_us"] = DwellWatch.absent_us(variant)
            else:
                row["kind"] = EVENT if isinstance(detect, Event) else HOLD
    return limits
