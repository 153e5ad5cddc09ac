"""A lane is one topic of one partition: its own order, its own watermark, its own conditions.

What depends on order waits here until the watermark passes and is then decided in event-time order, ties by content. So
disorder within the lateness, the size of batches and doubled records change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import msgspec
import numpy as np

from geo.atlas import Atlas
from models.columns import I64, Mask, RawRecord
from models.decode import Decoder
from models.detections import Detection
from models.observations import DecodeFailure
from models.streams import STREAMS
from models.ticks import tick_us
from models.times import HOUR_US, MINUTE_US, SECOND_US
from rules.detection.condition import BASE, Condition, Hit
from rules.detection.coverage import Coverage
from rules.detection.dwell import DwellWatch
from rules.detection.event import EventWatch, decided_at_once
from rules.detection.hold import HoldWatch
from rules.detection.select import Selector
from rules.detection.watch import Watch
from rules.language.model import Dwell, Hold, Rule

DEDUPE_FOR_US = 2 * MINUTE_US
"""How long behind the watermark a doubled record is still known as one; older ones count as late."""
FORGET_SOURCE_AFTER_US = 24 * HOUR_US
NEVER_US = -(1 << 62)

REACH_OF_INTERVALS = 3
"""A source vouches for three of its expected intervals: GA practice calls a device offline beyond that."""
REACH_DEFAULT_US = {
    "camera.tracks": 10 * SECOND_US,
    "camera.events": 10 * SECOND_US,
    "traffic.measurements": 3 * MINUTE_US,
    "sensor.readings": 15 * MINUTE_US,
}
"""Where the registry states no interval."""


class Late(NamedTuple):
    record: int
    late_by_us: int


class LaneOutcome(NamedTuple):
    """What became of the records fed: every one is in exactly one bin. Indexes are into the list that was fed."""

    detections: list[Detection]
    dead: list[DecodeFailure]
    late: list[Late]
    used: int
    filtered: int
    duplicate: int
    late_rows: int
    unknown_fields: int


class LaneState(msgspec.Struct, array_like=True):
    """All a lane remembers. Conditions are kept by rule id and fingerprint, an edit of another moves nothing."""

    watermark_us: int
    pending: list[tuple[str, Hit]]
    conditions: dict[str, list[Condition]]
    coverage: dict[str, tuple[list[int], list[int]]]
    seen: dict[int, list[bytes]]


def rule_key(rule: Rule) -> str:
    return f"{rule.id}/{rule.fingerprint}"


def variant_of_today(rule: Rule, variant: int) -> int:
    """The variant of a snapshot, whose overrides may be gone since; the next match says which applies."""
    return variant if variant < len(rule.variants) - 1 else BASE


class Lane:
    def __init__(
        self,
        topic: str,
        partition: int,
        rules: Sequence[Rule],
        atlas: Atlas,
        decoder: Decoder,
        *,
        lateness_us: int,
        accept_unregistered: bool,
        format_time: Callable[[int], str],
    ) -> None:
        self.topic, self.partition, self.atlas, self.decoder = topic, partition, atlas, decoder
        self.lateness_us, self.accept_unregistered, self.format_time = lateness_us, accept_unregistered, format_time
        self.rules = tuple(sorted(rules, key=lambda r: r.id))
        self.selector = Selector(topic, self.rules, [zone.path for zone in atlas.zones], atlas.index)
        self.coverage = Coverage(self._reach_us)
        self.watches = [self._watch(rule, number) for number, rule in enumerate(self.rules)]
        self.at_once = [decided_at_once(rule) for rule in self.rules]
        self.watermark_us = NEVER_US
        self.pending: list[tuple[tuple[Any, ...], Hit]] = []
        self.timers: list[tuple[int, int, tuple[str, ...], str]] = []
        self.seen: dict[int, set[bytes]] = {}
        self.told: list[Detection] = []

    def _watch(self, rule: Rule, number: int) -> Watch:
        detect = rule.base.detect
        if isinstance(detect, Dwell):
            return DwellWatch(rule, number, self, "s")
        if isinstance(detect, Hold):
            return HoldWatch(rule, number, self, STREAMS[self.topic].fields[detect.value_field].unit)
        return EventWatch(rule, number, self, None)

    def _reach_us(self, source: str) -> int:
        device = None if self.atlas.registry is None else self.atlas.registry.devices.get(source)
        if device is None or device.expected_every_s is None:
            return REACH_DEFAULT_US[self.topic]
        return round(REACH_OF_INTERVALS * device.expected_every_s * SECOND_US)

    # the two ways in

    def feed(self, records: Sequence[RawRecord]) -> LaneOutcome:
        """Take records in log order; clock records among them count where they stand."""
        ticks = {i: at for i, r in enumerate(records) if r.value is None and (at := tick_us(r)) is not None}
        place = [i for i in range(len(records)) if i not in ticks] if ticks else range(len(records))
        data = [records[i] for i in place] if ticks else records
        decoded = self.decoder.decode(self.topic, data)
        placed = self.atlas.place(decoded, [r.key for r in data], self.accept_unregistered)
        failures = [*decoded.failures, *placed.failures]
        failed = np.zeros(len(data), dtype=np.bool_)
        failed[[f.record for f in failures]] = True
        before, watermark_us = self._watermarks(len(records), place, decoded.record_time_us, failed, ticks)
        late, doubled = self._bins(decoded.record_time_us, decoded.natural_keys, failed, before)
        dropped = failed | doubled

        batch = placed.batch
        fresh = (batch.time_us > before[batch.record]) & ~dropped[batch.record]
        anyhow = ~dropped[batch.record]
        usable = {n: anyhow if once else fresh for n, once in enumerate(self.at_once)}
        offsets = [r.offset for r in data]
        hits = self.selector.hits(batch, decoded.source, placed.areas, usable, decoded.natural_keys, offsets) if self.rules else []
        seen = (batch.seen_time_us > before[batch.seen_record]) & ~dropped[batch.seen_record]
        self.coverage.see(decoded.source.take(batch.seen_record[seen]), batch.seen_time_us[seen])

        taken = self._take(hits, offsets)
        self._settle(watermark_us)
        too_late = [
            Late(int(place[i]), int(before[i] + self.lateness_us - decoded.record_time_us[i]))
            for i in np.flatnonzero(late).tolist()
            if offsets[i] not in taken
        ]
        dead = [f._replace(record=int(place[f.record])) for f in failures]
        used = len(taken)
        filtered = len(data) - len(dead) - int(doubled.sum()) - len(too_late) - used
        late_rows = int((anyhow & ~fresh).sum())
        return LaneOutcome(
            self._told(), dead, too_late, used, filtered, int(doubled.sum()), late_rows, decoded.unknown_fields
        )

    def advance(self, to_us: int) -> list[Detection]:
        """The clock says `to_us`: a silent lane's watermark follows it, less the lateness."""
        self._settle(max(self.watermark_us, to_us - self.lateness_us))
        return self._told()

    # bins

    def _watermarks(
        self, count: int, place: Sequence[int], time_us: I64, failed: Mask, ticks: dict[int, int]
    ) -> tuple[I64, int]:
        """The watermark each data record met on arrival, and the one after all of them."""
        lifts = np.full(count + 1, NEVER_US, dtype=np.int64)
        lifts[0] = self.watermark_us
        at = np.asarray(place, dtype=np.int64)
        lifts[at[~failed] + 1] = time_us[~failed] - self.lateness_us
        for i, tick in ticks.items():
            lifts[i + 1] = tick - self.lateness_us
        risen = np.maximum.accumulate(lifts)
        return risen[at], int(risen[-1])

    def _bins(self, time_us: I64, keys: Sequence[bytes | None], failed: Mask, before: I64) -> tuple[Mask, Mask]:
        """Which records are late and which are doubled (never both)."""
        late, doubled = (time_us <= before) & ~failed, np.zeros(len(failed), dtype=np.bool_)
        known = (time_us > before - DEDUPE_FOR_US) & ~failed
        for i, (minute, key, may_be_known) in enumerate(
            zip((time_us // MINUTE_US).tolist(), keys, known.tolist(), strict=True)
        ):
            if may_be_known and key is not None:
                bucket = self.seen.get(minute)
                if bucket is None:
                    bucket = self.seen[minute] = set()
                if key in bucket:
                    doubled[i] = True
                else:
                    bucket.add(key)
        return late & ~doubled, doubled

    def _take(self, hits: list[Hit], offsets: Sequence[int]) -> set[int]:
        """Decide at once what order can't change, put the rest where it waits; gives the offsets that were used."""
        at_once = [hit for hit in hits if self.at_once[hit.rule]]
        for hit in sorted(at_once, key=lambda h: h.order):
            self.watches[hit.rule].observe(hit)
        self.pending += [(hit.order, hit) for hit in hits if not self.at_once[hit.rule]]
        return {hit.offset for hit in hits}

    # deciding

    def _settle(self, watermark_us: int) -> None:
        """Decide all hits and moments up to the watermark, in event-time order; hits before moments."""
        if watermark_us <= self.watermark_us:
            return
        self.watermark_us = watermark_us
        self.pending.sort(key=lambda p: p[0])
        timers, done = self.timers, 0
        for order, hit in self.pending:
            if order[0] > watermark_us:
                break
            done += 1
            while timers and timers[0][0] < order[0]:
                self._awake()
            self.watches[hit.rule].observe(hit)
        del self.pending[:done]
        while timers and timers[0][0] <= watermark_us:
            self._awake()
        self._forget()

    def _awake(self) -> None:
        due_us, number, key, zone = heappop(self.timers)
        watch = self.watches[number]
        condition = watch.open.get((key, zone))
        if condition is not None and condition.wake_us == due_us:
            watch.awake(condition, due_us)

    def _forget(self) -> None:
        oldest = (self.watermark_us - DEDUPE_FOR_US) // MINUTE_US
        for minute in [m for m in self.seen if m < oldest]:
            del self.seen[minute]
        stale = self.coverage.silent_since(self.watermark_us - FORGET_SOURCE_AFTER_US)
        if stale:
            stale -= {condition.source for watch in self.watches for condition in watch.open.values()}
            self.coverage.forget(stale)

    # what watches ask of their lane

    def wake(self, watch: Watch, condition: Condition) -> None:
        heappush(self.timers, (condition.wake_us, watch.number, *watch.slot(condition)))

    def tell(self, detection: Detection) -> None:
        self.told.append(detection)

    def _told(self) -> list[Detection]:
        told, self.told = self.told, []
        return told

    # stop and go on

    def snapshot(self) -> LaneState:
        return LaneState(
            self.watermark_us,
            [(rule_key(self.rules[hit.rule]), hit) for _, hit in self.pending],
            {rule_key(w.rule): list(w.open.values()) for w in self.watches if w.open},
            self.coverage.snapshot(),
            {minute: sorted(keys) for minute, keys in self.seen.items()},
        )

    def restore(self, saved: LaneState) -> None:
        numbers = {rule_key(rule): number for number, rule in enumerate(self.rules)}
        self.watermark_us = saved.watermark_us
        self.pending = []
        for name, hit in saved.pending:
            if name in numbers:
                hit.rule = numbers[name]
                hit.variant = variant_of_today(self.rules[hit.rule], hit.variant)
                self.pending.append((hit.order, hit))
        for name, conditions in saved.conditions.items():
            if name in numbers:
                watch = self.watches[numbers[name]]
                watch.open = {watch.slot(c): c for c in conditions}
                for condition in conditions:
                    condition.variant = variant_of_today(watch.rule, condition.variant)
        self.coverage.restore(saved.coverage)
        self.seen = {minute: set(keys) for minute, keys in saved.seen.items()}
        self.timers = [(c.wake_us, w.number, *w.slot(c)) for w in self.watches for c in w.open.values()]
        heapify(self.timers)
