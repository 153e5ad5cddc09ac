"""A lane is one topic of one partition: its own order, its own watermark, its own conditions.

What depends on order waits here until the watermark passes and is then decided in event-time order, ties by content. So
disorder within the lateness, the size of batches and doubled records change nothing.

Where loops are compiled, `quiet` sees the hits first and decides those that raise nothing; the watches see the rest.
Without, they see all. What is told is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import msgspec
import numpy as np

from geo.atlas import Atlas
from models.columns import I8, I32, I64, Batch, Mask, RawRecord, Spans
from models.decode import Decoder
from models.detections import Detection
from models.observations import DecodeFailure
from models.seen import Seen
from models.streams import STREAMS
from models.times import HOUR_US, MINUTE_US, SECOND_US
from models.words import Words
from rules.detection.absent import AbsentWatch
from rules.detection.arrival import Arrived, Door, Incoming, incoming
from rules.detection.carried import Carried, Cells, Kept, Piece
from rules.detection.change import ChangeWatch
from rules.detection.condition import BASE, Condition, Hit
from rules.detection.count import CountWatch
from rules.detection.coverage import NEVER_US, Coverage
from rules.detection.dwell import DwellWatch
from rules.detection.event import EventWatch, decided_at_once
from rules.detection.hold import HoldWatch
from rules.detection.looks import value_field
from rules.detection.memory import FAR_US
from rules.detection.near import NearWatch
from rules.detection.neighbours import signals
from rules.detection.ordered import SequenceWatch
from rules.detection.over import OverWatch
from rules.detection.quiet import Quiet
from rules.detection.rows import ANYHOW, ASKED, FRESH, HIT, MENDED, NONE, RUN, Rows, plain_bytes, taken
from rules.detection.select import Fed, Selector
from rules.detection.sources import Sources, SourcesState
from rules.detection.tracks import Released, Tracks, TracksState, fields_asked
from rules.detection.transition import TransitionWatch
from rules.detection.waiting import Waiting
from rules.detection.watch import Watch
from rules.language.model import (
    Absent,
    Change,
    Count,
    Detect,
    Dwell,
    Event,
    Hold,
    InSequence,
    Near,
    Rule,
    Transition,
)

DEDUPE_FOR_US = 2 * MINUTE_US
"""How long behind the watermark a doubled record is still known as one; older ones count as late."""
FORGET_SOURCE_AFTER_US = 24 * HOUR_US
FORGET_EVERY_US = MINUTE_US
"""How often, in the time of the lane, it looks for what it can forget."""

REACH_OF_INTERVALS = 3
"""A source vouches for three of its expected intervals: GA practice calls a device offline beyond that."""
REACH_DEFAULT_US = {
    "camera.tracks": 10 * SECOND_US,
    "camera.events": 10 * SECOND_US,
    "traffic.measurements": 3 * MINUTE_US,
    "traffic.states": 3 * MINUTE_US,
    "sensor.readings": 15 * MINUTE_US,
}
"""Where the registry states no interval."""
MOST_BATCHES = 1 << 30
"""Numbers of batches before they begin anew: long after the batch that had one is gone."""
NOTHING_MET: I32 = np.empty((0, ASKED), dtype=np.int32)
SPARE_WORDS = 4096
"""Words beyond twice those in use after which the others are forgotten."""


class Late(NamedTuple):
    record: int
    late_by_us: int


class Fates(NamedTuple):
    """Of the data records, that is without clock records: offset and arrival, where each stands in the list that was
    fed, and which were used or doubled."""

    offsets: I64
    arrival_us: I64
    place: Sequence[int]
    used: Mask
    doubled: Mask

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fates) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self._fields
        )


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
    fates: Fates


class LaneState(msgspec.Struct, array_like=True):
    """All a lane remembers. `rules` and `zones` name what rows mean by a number; conditions are kept by rule id and
    fingerprint, an edit of another moves nothing. Rows are the bytes of HIT and RUN, of which only pending ones."""

    watermark_us: int
    rules: list[str]
    zones: list[str]
    words: tuple[bytes, bytes]
    sources: SourcesState
    waiting: bytes
    carried: list[Piece]
    runs: bytes
    met: bytes
    tracks: TracksState | None
    conditions: msgspec.Raw
    """By rule, as CONDITIONS reads them."""
    seen: bytes = b""


KINDS: dict[type[Detect], type[Watch]] = {
    Dwell: DwellWatch,
    Hold: HoldWatch,
    Event: EventWatch,
    Count: CountWatch,
    Absent: AbsentWatch,
    Change: ChangeWatch,
    InSequence: SequenceWatch,
    Transition: TransitionWatch,
    Near: NearWatch,
}

CONDITIONS = msgspec.msgpack.Decoder(dict[str, list[Condition]])


class Frozen(NamedTuple):
    """A lane as it was at one moment: copies, and what nobody changes any more. Its state may be made on any thread."""

    watermark_us: int
    rules: list[str]
    paths: list[str]
    words: tuple[bytes, bytes]
    sources: SourcesState
    selector: Selector
    batches: dict[int, Batch | Kept]
    waiting: Rows
    runs: Rows
    met: I32
    tracks: Callable[[], TracksState] | None
    conditions: bytes

    def state(self, seen: bytes = b"") -> LaneState:
        rows, carried = self._carried()
        zones = numbered_anew([rows["zone"], self.runs["zone"], self.runs["slot_zone"]])
        return LaneState(
            self.watermark_us,
            self.rules,
            [self.paths[zone] for zone in zones],
            self.words,
            self.sources,
            plain_bytes(rows),
            [one.packed() for one in carried],
            plain_bytes(self.runs),
            self.met.tobytes(),
            None if self.tracks is None else self.tracks(),
            msgspec.Raw(self.conditions),
            seen,
        )

    def _carried(self) -> tuple[Rows, list[Carried]]:
        """The waiting hits, those of one batch and rule behind each other, and what they carry in that order."""
        rule, batch = self.waiting["rule"].astype(np.int64), self.waiting["batch"].astype(np.int64)
        part = rule.copy()
        for number, held in self.batches.items():
            if isinstance(held, Kept):
                part[batch == number] = held.pieces_of(self.waiting["row"][batch == number])
        order = np.lexsort((part, batch))
        rows, rule, batch, part = taken(self.waiting, order), rule[order], batch[order], part[order]
        firsts = np.flatnonzero(np.diff(batch, prepend=NONE) | np.diff(part, prepend=NONE))
        carried = [
            self._piece(int(batch[some[0]]), int(part[some[0]]), int(rule[some[0]]), rows["row"][some].astype(np.int64))
            for some in np.split(np.arange(len(rows)), firsts[1:])
            if len(some)
        ]
        rows["batch"], rows["row"] = 0, np.arange(len(rows))
        return rows, carried

    def _piece(self, batch: int, part: int, rule: int, rows: I64) -> Carried:
        held = self.batches[batch]
        return held.take(part, rows) if isinstance(held, Kept) else self.selector.carried_of(rule, held, rows)


def rule_key(rule: Rule) -> str:
    return f"{rule.id}/{rule.fingerprint}"


def variant_of_today(rule: Rule, variant: int) -> int:
    """The variant of a snapshot, whose overrides may be gone since; the next match says which applies."""
    return variant if variant < len(rule.variants) - 1 else BASE


def numbered_anew(zones: list[I32]) -> list[int]:
    """Gives the zones that are named, once each and in order; in the arrays their places there stand for them."""
    named = np.unique(np.concatenate(zones))
    named = named[named >= 0]
    for numbers in zones:
        numbers[:] = np.where(numbers >= 0, np.searchsorted(named, numbers), NONE)
    return [int(zone) for zone in named]


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
        compiled: bool,
        made_of: str | None = None,
    ) -> None:
        self.topic, self.partition, self.atlas = topic, partition, atlas
        self.evidence_topic = made_of or topic
        self.lateness_us, self.format_time = lateness_us, format_time
        self.rules = tuple(sorted(rules, key=lambda r: (r.id, r.part)))
        self.paths = [zone.path for zone in atlas.zones]
        self.words = Words(compiled)
        self.sources = Sources(atlas, topic, self._reach_us, compiled=compiled)
        self.coverage: Coverage = self.sources.coverage
        self.door = Door(
            topic, atlas, decoder, self.sources, lateness_us=lateness_us, dedupe_us=DEDUPE_FOR_US,
            accept_unregistered=accept_unregistered, compiled=compiled,
        )  # fmt: skip
        self.at_once = [decided_at_once(rule) for rule in self.rules]
        self.mended = [rule.neighbours is not None for rule in self.rules]
        sees = [
            MENDED if mended else ANYHOW if once else FRESH
            for mended, once in zip(self.mended, self.at_once, strict=True)
        ]
        self.selector = Selector(topic, self.rules, self.paths, atlas.index, sees, compiled=compiled)
        self.watches = [self._watch(rule, number) for number, rule in enumerate(self.rules)]
        self.tracks = self._tracks(compiled) if any(self.mended) else None
        self.quiet = Quiet(self) if compiled else None
        self.watermark_us = NEVER_US
        self.looked_us = NEVER_US
        self.waiting = Waiting(compiled=compiled)
        self.batches: dict[int, Batch | Kept] = {}
        self.upto: list[tuple[int, int]] = []
        self.next_batch = 0
        self.words_kept = 0
        self.key_words: dict[bytes | None, int] = {}
        self.timers: list[tuple[int, int, tuple[str, ...], str]] = []
        self.asleep: list[tuple[int, Watch, Condition]] = []
        self.seen = Seen(compiled)
        self.told: list[Detection] = []
        self.onlooker: Callable[[Batch, Mask, Incoming], None] | None = None
        """Shown each batch and which of its rows are in time, before any rule is."""

    def _watch(self, rule: Rule, number: int) -> Watch:
        detect, fields = rule.base.detect, STREAMS[self.topic].fields
        kind = KINDS[type(detect)]
        if isinstance(detect, Hold) and detect.over is not None:
            kind = OverWatch
        unit = fields[name].unit if (name := value_field(detect)) in fields else None
        return kind(rule, number, self, "s" if isinstance(detect, Dwell) else unit)

    def _tracks(self, compiled: bool) -> Tracks:
        numbers = [number for number, mended in enumerate(self.mended) if mended]
        rules = [self.rules[number] for number in numbers]
        keys = {field for rule in rules for field in rule.by}
        carried = {field for number in numbers for field in self.selector.carried[number]}
        asked = [rule.neighbours for rule in rules if rule.neighbours is not None]
        fields = fields_asked(rules, keys, carried)
        return Tracks(fields, asked, self.words, forget_us=FORGET_SOURCE_AFTER_US, compile_=compiled)

    def _reach_us(self, source: str) -> int:
        device = None if self.atlas.registry is None else self.atlas.registry.devices.get(source)
        if device is None or device.expected_every_s is None:
            return REACH_DEFAULT_US[self.topic]
        return round(REACH_OF_INTERVALS * device.expected_every_s * SECOND_US)

    # the two ways in

    def feed(self, records: Sequence[RawRecord]) -> LaneOutcome:
        """Take records in log order; clock records among them count where they stand."""
        fed = incoming(records)
        return self.take(fed, self.door.open(fed, self.watermark_us))

    def take(self, fed: Incoming, arrived: Arrived) -> LaneOutcome:
        """Take what stands behind the door."""
        before, ask, watermark_us = self._watermarks(len(fed.values) + len(fed.ticks), fed, arrived)
        dropped = doubled = self.seen.add(arrived.prints, arrived.time_us, ask)
        if arrived.failures:
            dropped = arrived.failed | doubled
        used, late_rows = self._sift(fed, arrived, before, dropped)
        self._settle(watermark_us)
        too_late = [] if arrived.late == 0 and not fed.ticks else self._too_late(fed, arrived, before, dropped | used)
        dead = [f._replace(record=fed.place[f.record]) for f in sorted(arrived.failures, key=lambda f: f.record)]
        count, doubles = int(np.count_nonzero(used)), int(np.count_nonzero(doubled))
        filtered = len(fed.values) - len(dead) - doubles - len(too_late) - count
        fates = Fates(fed.offsets, fed.arrival_us, fed.place, used, doubled)
        return LaneOutcome(
            self._told(), dead, too_late, count, filtered, doubles, late_rows, arrived.unknown_fields, fates
        )

    def _too_late(self, fed: Incoming, arrived: Arrived, before: I64, otherwise: Mask) -> list[Late]:
        behind_us = before + self.lateness_us - arrived.time_us
        late = np.flatnonzero((arrived.time_us <= before) & ~otherwise)
        return [Late(fed.place[i], int(behind_us[i])) for i in late.tolist()]

    def advance(self, to_us: int) -> list[Detection]:
        """The clock says `to_us`: a silent lane's watermark follows it, less the lateness."""
        self._settle(max(self.watermark_us, to_us - self.lateness_us))
        return self._told()

    def next_us(self) -> int | None:
        """The earliest that the clock must say for `advance` to tell something, if nothing comes; None: never."""
        if self.quiet is not None and self.quiet.rest:
            return self.watermark_us + self.lateness_us + 1
        held_us = FAR_US if self.tracks is None else self.tracks.earliest_us
        due_us = min(self.waiting.earliest_us, held_us, self.timers[0][0] if self.timers else FAR_US)
        return None if due_us >= FAR_US else due_us + self.lateness_us

    def _watermarks(self, count: int, fed: Incoming, arrived: Arrived) -> tuple[I64, Mask, int]:
        """The watermark each data record met on arrival, whether it may be doubled, and the watermark after all."""
        if arrived.before is not None and arrived.ask is not None and not fed.ticks:
            return arrived.before, arrived.ask, arrived.watermark_us
        lifts = np.full(count + 1, NEVER_US, dtype=np.int64)
        lifts[0] = self.watermark_us
        good = np.where(arrived.failed, NEVER_US, arrived.time_us - self.lateness_us)
        at = np.asarray(fed.place, dtype=np.int64)
        lifts[at + 1] = good
        for i, tick in fed.ticks.items():
            lifts[i + 1] = tick - self.lateness_us
        risen = np.maximum.accumulate(lifts)
        before = risen[at]
        ask = (arrived.time_us > before - DEDUPE_FOR_US) & ~arrived.failed
        return before, ask, int(risen[-1])

    def _sift(self, fed: Incoming, arrived: Arrived, before: I64, dropped: Mask) -> tuple[Mask, int]:
        """Find the hits among the rows: some are decided at once, the others wait. Gives which records were used, and
        how many rows came late."""
        used, late_rows = np.zeros(len(dropped), dtype=np.bool_), 0
        of_records = Fed(fed.offsets, arrived.prints, arrived.sources)
        for batch in arrived.batches:
            masks = self.selector.masks(len(batch))
            late_rows += self._in_time(batch, arrived, before, dropped, masks)
            if self.onlooker is not None:
                self.onlooker(batch, masks[FRESH, : len(batch)], fed)
            if not self.rules or not (len(batch) or self.tracks is not None):
                continue
            if self.tracks is not None:
                masks[MENDED, : len(batch)] = False
                fresh = masks[FRESH, : len(batch)]
                used[batch.record[fresh]] = True
                self._hold(batch, fresh, (arrived.time_us > before) & ~dropped, of_records, fed.keys)
            areas = self.sources.area_words(self.words)
            hits = self.selector.hits(batch, self.next_batch, masks, of_records, self.words, areas)
            if hits:
                for found in hits:
                    used[batch.record[found["row"]]] = True
                    self._fill_areas(found, batch, fed.keys)
                self._keep(batch, hits)
        return used, late_rows

    def _hold(self, batch: Batch, fresh: Mask, timely: Mask, of: Fed, keys: Sequence[bytes | None]) -> None:
        """Rows that rules with neighbours look at wait to be mended in order."""
        assert self.tracks is not None
        areas: I32 = np.full(len(timely), NONE, dtype=np.int32)
        records = np.flatnonzero(timely)
        areas[records] = self._areas_of(self.sources.area_words(self.words)[of.sources[records]], records, keys)
        self.tracks.hold(batch, fresh, timely, of.offsets, of.prints, of.sources, areas)

    def _mend(self, watermark_us: int) -> None:
        """Find the hits of rules with neighbours among the rows up to the watermark; they are due at once."""
        assert self.tracks is not None
        released = self.tracks.release(watermark_us)
        if released is None:
            return
        batch = released.batch
        masks = self.selector.masks(len(batch))
        masks[: MENDED + 1, : len(batch)] = False
        masks[MENDED, : len(batch)] = released.real
        of_records = Fed(released.offsets, released.prints, released.sources)
        areas = self.sources.area_words(self.words)
        hits = self.selector.hits(batch, self.next_batch, masks, of_records, self.words, areas)
        for found in filter(len, hits):
            found["area"] = released.areas[batch.record[found["row"]]]
            found["signal"] |= self._signals(found, released)
        if hits:
            self._keep(batch, hits)

    def _signals(self, hits: Rows, released: Released) -> I8:
        assert self.tracks is not None
        asked = self.rules[int(hits["rule"][0])].neighbours
        assert asked is not None
        return signals(asked, hits, released, self.tracks.aheads, self.tracks.loops)

    def _in_time(self, batch: Batch, arrived: Arrived, before: I64, dropped: Mask, masks: Mask) -> int:
        """Mark which rows are of use and which of them in time; gives how many are not. Sightings in time are vouched
        for."""
        rows, coverage = len(batch), self.coverage
        if self.quiet is None:
            anyhow = ~dropped[batch.record]
            fresh = anyhow & (batch.time_us > before[batch.record])
            masks[ANYHOW, :rows], masks[FRESH, :rows] = anyhow, fresh
            seen = (batch.seen_time_us > before[batch.seen_record]) & ~dropped[batch.seen_record]
            coverage.see(arrived.sources[batch.seen_record[seen]], batch.seen_time_us[seen])
            return int(np.count_nonzero(anyhow)) - int(np.count_nonzero(fresh))
        unseen = np.empty(len(batch.seen_time_us), dtype=np.int32)
        late, left = self.quiet.runs.kernels.sift(
            batch.time_us, batch.record, batch.seen_time_us, batch.seen_record, before, dropped, arrived.sources,
            coverage.reach_us, coverage.start_us, coverage.end_us, masks, unseen,
        )  # fmt: skip
        if left:
            more = unseen[:left]
            coverage.see(arrived.sources[batch.seen_record[more]], batch.seen_time_us[more])
        return int(late)

    def _keep(self, batch: Batch, hits: list[Rows]) -> None:
        """Decide at once what order can't change; the rest waits, and its batch with it."""
        number = self.next_batch
        self.next_batch = (number + 1) % MOST_BATCHES
        self.batches[number] = batch
        at_once: list[Hit] = []
        upto_us = NEVER_US
        for found in hits:
            if len(found) == 0:
                continue
            if self.at_once[int(found["rule"][0])]:
                at_once += self.hits_of(found, None)
            else:
                upto_us = max(upto_us, self.waiting.add(found))
        for hit in sorted(at_once, key=lambda h: h.order):
            self.watches[hit.rule].take(hit)
        if upto_us == NEVER_US:
            del self.batches[number]
        else:
            heappush(self.upto, (upto_us, number))

    def _fill_areas(self, hits: Rows, batch: Batch, keys: Sequence[bytes | None]) -> None:
        if NONE in hits["area"].tolist():
            hits["area"] = self._areas_of(hits["area"], batch.record[hits["row"]], keys)

    def _areas_of(self, areas: I32, records: I32 | I64, keys: Sequence[bytes | None]) -> I32:
        """Where the registry has no area it is the record's key, as a word."""
        words, found = self.key_words, areas.tolist()
        named = [keys[record] if area == NONE else None for area, record in zip(found, records.tolist(), strict=True)]
        if new := [name for name in dict.fromkeys(named) if name not in words]:
            words.update(zip(new, self.words.intern(Spans.of(new)).tolist(), strict=True))
        return np.array(
            [words[name] if area == NONE else area for area, name in zip(found, named, strict=True)], dtype=np.int32
        )

    def hits_of(self, rows: Rows, runs: I32 | None) -> list[Hit]:
        """HIT rows as what watches take, in order. `runs`: the place of each among the runs."""
        text, words, paths = self.selector.key_texts, self.words, self.paths
        found: list[Hit] = []
        places = [NONE] * len(rows) if runs is None else runs.tolist()
        for row, run in zip(rows.tolist(), places, strict=True):
            (time_us, print_a, print_b, offset, lon, lat, ordinal, rule, k0, k1, k2, zone, source, area, batch, at,
             variant, inside, signal) = row  # fmt: skip
            _, _, error_m, value, attributes = self.cells(rule, batch, at)
            found.append(
                Hit(
                    time_us, rule, text(rule, (k0, k1, k2), words), paths[zone] if zone >= 0 else "",
                    (print_a, print_b), ordinal, source, words.text(area) if area >= 0 else "", offset, variant,
                    bool(inside), signal, lon, lat, error_m, value, attributes, run,
                )
            )  # fmt: skip
        found.sort(key=lambda h: h.order)
        return found

    def cells(self, rule: int, batch: int, row: int) -> Cells:
        held = self.batches[batch]
        return held.cells(row) if isinstance(held, Kept) else self.selector.cells(rule, held, row)

    # deciding

    def _settle(self, watermark_us: int) -> None:
        """Decide all hits and moments up to the watermark, in event-time order; hits before moments."""
        if watermark_us <= self.watermark_us:
            return
        self.watermark_us = watermark_us
        if self.tracks is not None:
            self._mend(watermark_us)
        timers = self.timers
        hits = self._due(watermark_us)
        if self.quiet is not None:
            self.quiet.rouse(watermark_us)
        if self.asleep:
            self._stir()
        for hit in hits:
            while timers and timers[0][0] < hit.time_us:
                self._awake()
            self.watches[hit.rule].take(hit)
        while timers and timers[0][0] <= watermark_us:
            self._awake()
        if self.quiet is not None:
            self.quiet.hand_back()
        self._let_go()
        if watermark_us >= self.looked_us + FORGET_EVERY_US:
            self.looked_us = watermark_us
            self._forget()

    def _due(self, watermark_us: int) -> list[Hit]:
        """The hits up to the watermark that watches have to see."""
        if self.waiting.earliest_us > watermark_us:
            return []
        if self.quiet is not None:
            return self.quiet.decide(watermark_us)
        return self.hits_of(self.waiting.take_due(watermark_us), None)

    def _awake(self) -> None:
        due_us, number, key, zone = heappop(self.timers)
        watch = self.watches[number]
        condition = watch.open.get((key, zone))
        if condition is None or condition.wake_us != due_us:
            return
        if self.quiet is None:
            watch.woken(condition, due_us)
        elif not self.quiet.still_quiet(watch, condition):
            self.quiet.catch_up(condition)
            watch.woken(condition, due_us)
            self.quiet.settle(watch, condition)

    def _stir(self) -> None:
        """Look again at the sleeping conditions whose source has been seen since."""
        coverage, asleep = self.coverage, self.asleep
        self.asleep = []
        for since_us, watch, condition in asleep:
            if not condition.unknown or watch.open.get(watch.slot(condition)) is not condition:
                continue
            if coverage.reaches_beyond(condition.source, since_us):
                seen_us = max(since_us + 1, int(coverage.start_us[condition.source]))
                if seen_us < condition.wake_us:
                    watch.look_at(condition, seen_us)
            else:
                self.asleep.append((since_us, watch, condition))

    def _let_go(self) -> None:
        """Batches that no waiting hit stands in."""
        upto, done = self.upto, []
        while upto and upto[0][0] <= self.watermark_us:
            done.append(heappop(upto)[1])
        if not done:
            return
        if self.quiet is None:
            for number in done:
                del self.batches[number]
        else:
            self.quiet.let_go(done)

    def _forget(self) -> None:
        self.seen.forget_before(self.watermark_us - DEDUPE_FOR_US)
        for watch in self.watches:
            watch.sweep(self.watermark_us)
        silent = self.coverage.silent_since(self.watermark_us - FORGET_SOURCE_AFTER_US)
        if silent.any():
            for watch in self.watches:
                for condition in watch.open.values():
                    silent[condition.source] = False
            self._forget_sources(silent)
        if len(self.words) > 2 * self.words_kept + SPARE_WORDS:
            self._forget_words()

    def _forget_sources(self, silent: Mask) -> None:
        rows = self._all_rows()
        for part in rows:
            silent[part["source"]] = False
        if self.tracks is not None:
            silent[self.tracks.named_sources()] = False
        if silent.any():
            moved = self.sources.keep(~silent)
            if self.tracks is not None:
                self.tracks.sources_moved(moved)
            for part in rows:
                part["source"] = moved[part["source"]]
            for watch in self.watches:
                for condition in watch.open.values():
                    condition.source = int(moved[condition.source])

    def _forget_words(self) -> None:
        wanted = np.zeros(len(self.words), dtype=np.bool_)
        held = [part[name] for part in self._all_rows() for name in ("k0", "k1", "k2", "area")]
        if self.tracks is not None:
            held += self.tracks.word_columns(self.batches.values())
        for ids in held:
            wanted[ids[ids >= 0]] = True
        moved = np.append(self.words.keep(wanted), np.int32(NONE))
        for ids in held:
            ids[:] = moved[ids]
        self.sources.forget_area_words()
        self.key_words.clear()
        self.words_kept = len(self.words)
        if self.tracks is not None:
            self.tracks.words_moved()
        if self.quiet is not None:
            self.quiet.renamed()

    def _all_rows(self) -> list[Rows]:
        return [self.waiting.rows] if self.quiet is None else [self.waiting.rows, self.quiet.rows]

    @property
    def nbytes(self) -> int:
        """What its arrays take: not the conditions that are open, nor the batches that wait."""
        runs = 0 if self.quiet is None else self.quiet.nbytes
        runs += 0 if self.tracks is None else self.tracks.nbytes
        return self.words.nbytes + self.sources.nbytes + self.seen.nbytes + self.waiting.nbytes + runs

    # what watches ask of their lane

    def wake(self, watch: Watch, condition: Condition) -> None:
        if condition.wake_us != FAR_US:
            heappush(self.timers, (condition.wake_us, watch.number, *watch.slot(condition)))

    def sleep(self, watch: Watch, condition: Condition, now_us: int) -> None:
        """Nothing is told of it before its source is seen after `now_us`."""
        self.asleep.append((now_us, watch, condition))

    def tell(self, detection: Detection) -> None:
        self.told.append(detection)

    def dropped(self, condition: Condition) -> None:
        """A watch has let it go."""
        if self.quiet is not None:
            self.quiet.release(condition)

    def _told(self) -> list[Detection]:
        told, self.told = self.told, []
        return told

    # stop and go on

    def snapshot(self) -> LaneState:
        """The same for lanes that remember the same: without what a condition is to the compiled loops."""
        conditions = CONDITIONS.decode(self._open_ones())
        for condition in (c for held in conditions.values() for c in held):
            condition.run = NONE
        frozen = self.freeze()._replace(conditions=msgspec.msgpack.encode(conditions))
        return frozen.state(self.seen.snapshot())

    def _open_ones(self) -> bytes:
        if self.quiet is not None:
            self.quiet.catch_up_all()
        return msgspec.msgpack.encode({rule_key(w.rule): list(w.open.values()) for w in self.watches if w.open})

    def freeze(self) -> Frozen:
        """All but the prints, as it is now, at the cost of copying arrays."""
        open_ones = self._open_ones()
        runs, met = (np.empty(0, dtype=RUN), NOTHING_MET) if self.quiet is None else self.quiet.pending()
        return Frozen(
            self.watermark_us,
            [rule_key(rule) for rule in self.rules],
            self.paths,
            self.words.snapshot(),
            self.sources.snapshot(),
            self.selector,
            dict(self.batches),
            taken(self.waiting.rows, slice(None)),
            runs,
            met,
            None if self.tracks is None else self.tracks.freeze(),
            open_ones,
        )

    def restore(self, saved: LaneState) -> None:
        """Of a lane that was fed nothing yet."""
        self.seen.restore(saved.seen)
        self.watermark_us = saved.watermark_us
        self.words.restore(*saved.words)
        self.key_words.clear()
        self.words_kept = len(self.words)
        self.sources.restore(saved.sources)
        waiting, _ = self._of_today(np.frombuffer(saved.waiting, HIT).copy(), saved)
        if len(waiting):
            self.batches[0] = Kept(saved.carried)
            self.upto.append((self.waiting.add(waiting), 0))
            self.next_batch = 1
        numbers = {rule_key(rule): number for number, rule in enumerate(self.rules)}
        for name, conditions in CONDITIONS.decode(saved.conditions).items():
            if name in numbers:
                watch = self.watches[numbers[name]]
                watch.open = {watch.slot(c): c for c in conditions}
                for condition in conditions:
                    condition.variant = variant_of_today(watch.rule, condition.variant)
                    condition.run = NONE
        if self.tracks is not None and saved.tracks is not None:
            self.tracks.restore(saved.tracks)
        runs = np.frombuffer(saved.runs, RUN).copy()
        met = np.zeros((len(runs), ASKED), dtype=np.int32)
        if saved.met:
            met[:] = np.frombuffer(saved.met, np.int32).reshape(-1, ASKED)
        runs, kept = self._of_today(runs, saved)
        met = met[kept]
        if self.quiet is not None:
            self.quiet.restore(runs, met)
        else:
            self._restore_runs(runs, met)
        for watch in self.watches:
            for condition in watch.open.values():
                if condition.unknown:  # it may have slept: look, and it sleeps on
                    condition.wake_us = min(condition.wake_us, saved.watermark_us)
            watch.restored()
        self.timers = [
            (c.wake_us, w.number, *w.slot(c)) for w in self.watches for c in w.open.values() if c.wake_us != FAR_US
        ]
        heapify(self.timers)

    def _of_today(self, rows: Rows, saved: LaneState) -> tuple[Rows, Mask]:
        """Rows of a snapshot with the numbers that rules, zones and variants have now, those that are gone left out;
        and which are there still."""
        rule_numbers = {rule_key(rule): number for number, rule in enumerate(self.rules)}
        zone_numbers = self.atlas.index.numbers
        rules = np.array([rule_numbers.get(name, NONE) for name in saved.rules], dtype=np.int32)
        zones = np.array([*(zone_numbers.get(path, NONE - 1) for path in saved.zones), NONE], dtype=np.int32)
        if not len(rows):
            return rows, np.ones(0, dtype=np.bool_)
        rows["rule"] = rules[rows["rule"]]
        for name in ("zone", "slot_zone") if rows.dtype == RUN else ("zone",):
            rows[name] = zones[rows[name]]
        kept = (rows["rule"] != NONE) & (rows["zone"] >= NONE)
        rows = taken(rows, kept)
        variants = np.array([len(rule.variants) - 1 for rule in self.rules], dtype=np.int16)
        rows["variant"] = np.where(rows["variant"] < variants[rows["rule"]], rows["variant"], BASE)
        return rows, kept

    def _restore_runs(self, runs: Rows, met: I32) -> None:
        """Pending runs of compiled loops as conditions."""
        for row, had in zip(runs, met, strict=True):
            watch = self.watches[int(row["rule"])]
            words = int(row["k0"]), int(row["k1"]), int(row["k2"])
            condition = self.condition_of(row, had, self.selector.key_texts(watch.number, words, self.words))
            watch.open[watch.slot(condition)] = condition
            condition.wake_us = condition.last_us + watch.forgotten_after_us

    def condition_of(self, run: np.void, met: I32, key: tuple[str, ...]) -> Condition:
        """A pending run as what a watch remembers of it."""
        area, zone = int(run["area"]), int(run["zone"])
        lon, lat = float(run["anchor_lon"]), float(run["anchor_lat"])
        return Condition(
            key=key,
            zone=self.paths[zone] if zone >= 0 else "",
            source=int(run["source"]),
            area=self.words.text(area) if area >= 0 else "",
            since_us=int(run["since_us"]),
            last_us=int(run["last_us"]),
            anchor_lon=lon,
            anchor_lat=lat,
            lon=lon,
            lat=lat,
            error_m=None,
            value=None,
            variant=int(run["variant"]),
            points=int(run["points"]),
            met=met.tolist() if self.mended[int(run["rule"])] else [],
            evidence=[int(run["first_offset"])],
        )
