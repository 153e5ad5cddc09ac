"""The Detectors of this worker, one a partition we hold, behind one Faust agent over all Detector topics.

Order of a chunk: decide (synchronously), send, await the acks, and only then may its offset be stored. A lane's state
and its offset are stored together, between chunks; Kafka's committed offset stays behind the store. Opening the table
of a partition fences whoever had it before: what it still holds of the past can't be stored any more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

import msgspec

from models.detections import Detection
from models.observations import DecodeFailure
from models.streams import DETECTOR_TOPICS
from models.ticks import tick_us
from models.traffic import TrafficState
from rules.detection.detector import Changes, Detector, LaneOutcome
from streams.accounts import Accounts, lane_bins
from streams.agents.pace import Pace
from streams.agents.saving import Save, Saving
from streams.agents.suspects import Suspects, refused, without
from streams.city import City
from streams.clock import Clock
from streams.failpoints import Place, reach
from streams.metrics import Metrics
from streams.publisher import Publisher
from streams.publishing import (
    CENTRE_PARTITION,
    dead_messages,
    detection_messages,
    detector_source,
    is_area,
    lane_letters,
    state_messages,
    stray,
)
from streams.settings import Settings
from streams.store import Store, Table
from streams.topics import full_name, partition_for
from streams.transport import TP, Chunk, Flow, Records

Ticks = dict[int, int]
"""Which records of a chunk are clock records, and the instants they tell; nearly always none."""


class Where(msgspec.Struct):
    """How far a lane has come: the offset to go on with (none: where Kafka says), and its clock in a recording."""

    offset: int | None
    tick_us: int = 0


SILENT_S = 1.0
"""A broker answers within the fetch wait, with nothing if there is nothing. One that has not for so long, or a worker
that did not listen, says nothing about what has arrived."""
AT, SUSPECTS = "at", "suspects"
"""Entries of a lane's table beside those of its state, all under `<topic>/`."""


@dataclass(slots=True)
class Held:
    """A partition we hold. The lock keeps a snapshot from falling between a decision and its acks."""

    detector: Detector
    table: Table
    next_offset: dict[str, int]
    ticks_us: dict[str, int]
    suspects: dict[str, Suspects]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    saving: Saving = field(init=False)
    changed: set[str] = field(default_factory=set)
    """Topics whose lane is not stored as it is."""
    paces: dict[str, Pace] = field(default_factory=lambda: defaultdict(Pace))
    good_keys: set[bytes | None] = field(default_factory=set)
    told_us: int = 0
    looked_s: float = -inf
    """When it was last looked whether there is more to read, and from when on the answer counts again."""
    resumes_s: float = 0.0
    leaving: bool = False


class DetectorAgent:
    def __init__(
        self,
        city: City,
        settings: Settings,
        flow: Flow,
        publisher: Publisher,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        accounts: Accounts | None = None,
    ) -> None:
        self.city, self.settings, self.flow, self.metrics = city, settings, flow, metrics
        self.accounts = Accounts() if accounts is None else accounts
        self.publisher, self.store, self.clock = publisher, store, clock
        self.held: dict[int, Held] = {}
        self.making = asyncio.Lock()
        """One Detector at a time is made: threads at work take turns with the loop, and each would have one."""
        self.counts: dict[str, int] = defaultdict(int)
        self.topics = {full_name(name, settings.topic_prefix): name for name in DETECTOR_TOPICS}
        self.urgent = city.urgent_rules if settings.clock == "wall" else frozenset()

    # assignment

    async def assigned(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Take the state of each partition we were given over; gives where to go on reading."""
        await self._close(list(self.held))
        partitions = sorted({tp.partition for tp in tps if tp.topic in self.topics})
        await asyncio.gather(*map(self._open, partitions))
        return {
            TP(full, partition): held.next_offset[name]
            for partition, held in self.held.items()
            for full, name in self.topics.items()
            if name in held.next_offset
        }

    async def _open(self, partition: int) -> None:
        table, entries = await self.store.open(f"detector/{partition}")
        lanes = by_lane(entries)
        try:
            async with self.making:
                detector, city = None, self.city
                while detector is None or self.city is not city:  # it may be another by the time it is made
                    city = self.city
                    detector = await asyncio.to_thread(self._made, city, partition, lanes)
        except BaseException:
            await table.close()
            raise
        held = self.held[partition] = Held(detector, table, {}, {}, {})
        for topic in DETECTOR_TOPICS:
            lane = lanes.get(topic, {})
            held.suspects[topic] = Suspects.unpack(lane.get(SUSPECTS))
            where = msgspec.json.decode(lane.get(AT, b'{"offset": null}'), type=Where)
            if where.offset is not None:
                held.next_offset[topic] = where.offset
            if where.tick_us:
                held.ticks_us[topic] = where.tick_us
        snapshot, settled = partial(self._snapshot, partition, held), partial(self._settled, partition, held)
        held.saving = Saving(snapshot, settled, held.lock, self.clock, self.settings.store_every_s)
        self.metrics.current(f"detector/{partition}")

    @staticmethod
    def _made(city: City, partition: int, lanes: Mapping[str, Mapping[str, bytes]]) -> Detector:
        """A Detector with what it remembers. Many rules, or much of that, take a second: on a thread."""
        detector = city.detector(partition)
        for topic in DETECTOR_TOPICS:
            detector.restore_lane(topic, lanes.get(topic, {}))
        return detector

    async def _close(self, partitions: list[int]) -> None:
        await self.publisher.forget([TP(full, partition) for full in self.topics for partition in partitions])
        for partition in partitions:
            self.metrics.closed(f"detector/{partition}")
            await self.held.pop(partition).table.close()

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store all before the partitions go."""
        for partition in sorted({tp.partition for tp in tps if tp.topic in self.topics}):
            held = self.held.get(partition)
            if held is not None:
                held.leaving = True  # what the clock decides after the last save nobody would know of
                await held.saving.last()
                await self._close([partition])

    async def swap(self, city: City) -> None:
        """From the next chunk of each partition on this city decides."""
        self.city = city
        self.urgent = city.urgent_rules if self.settings.clock == "wall" else frozenset()
        for partition, held in list(self.held.items()):
            fresh = await asyncio.to_thread(city.detector, partition)
            async with held.lock:
                if held.leaving or self.held.get(partition) is not held or self.city is not city:
                    continue
                # On a thread: only this partition waits. All it held is looked at once, some 2 µs a track.
                detections = await asyncio.to_thread(fresh.take_over, held.detector)
                held.detector = fresh
                held.changed.update(DETECTOR_TOPICS)
                held.saving.changed = True
                await self._tell(detections, fresh.states(), partition)
                self._count({}, detections)

    # records

    async def take(self, chunk: Chunk) -> None:
        """Decide one chunk and send what comes of it."""
        held, topic = self.held[chunk.partition], self.topics[chunk.topic]
        async with held.lock:
            records, pace = Records.of(chunk.records), held.paces[topic]
            for some in pace.slices(list(held.suspects[topic].fed_together(records.offsets))):
                whole = some == slice(0, len(records))
                if not whole:
                    await asyncio.sleep(0)  # others must have their turn
                await self._take(held, topic, chunk.tp, records if whole else records[some])
            held.next_offset[topic], held.saving.changed = chunk.next_offset, True
            held.changed.add(topic)
            self.accounts.finished(chunk.tp, chunk.next_offset)
        await held.saving.when_due()

    async def _take(self, held: Held, topic: str, tp: TP, all_records: Records) -> None:
        records, ticks, partition = all_records, clock_records(all_records), tp.partition
        strays = self._strays(held, topic, records, ticks, partition)
        if self.settings.clock == "stream":
            records = arrivals(records, ticks, held.ticks_us.get(topic, 0))
            away = [stray.record for stray in strays]
        else:  # a clock record of somebody's recording must not move a live watermark
            away = [*(stray.record for stray in strays), *ticks]
        if away:
            records = records.without(away)
        began_s = self.clock.monotonic_s()
        try:
            outcome = held.detector.feed(topic, records)
        except Exception:
            await self._suspect(held, topic, records.offsets)
            raise
        states = held.detector.states()
        took_s = self.clock.monotonic_s() - began_s
        held.paces[topic].took(len(all_records), took_s)
        reach(Place.DECIDED)
        sealing = self.city.letters
        letters = lane_letters(outcome, records, topic, partition, sealing) if outcome.dead or outcome.late else []
        if strays:
            letters += dead_messages(strays, all_records, topic, partition, sealing)
        self.publisher.post(tp, letters)
        await self._tell(outcome.detections, states, partition)
        reach(Place.SENT)
        if ticks and self.settings.clock == "stream":
            await self._pass_on_clock(held, topic, max(ticks.values()), partition)
        bins = {**binned(outcome), "dead": len(outcome.dead) + len(strays)}
        self._count(bins, outcome.detections)
        self._account(tp, all_records, outcome, {stray.record for stray in strays}, ticks)
        reasons = [failure.reason for failure in (*outcome.dead, *strays)]
        late_us = [late.late_by_us for late in outcome.late]
        self.metrics.chunk(topic, partition, len(all_records), bins, dead=reasons, late_us=late_us, seconds=took_s)

    async def _tell(self, detections: Sequence[Detection], states: Sequence[TrafficState], partition: int) -> None:
        if detections or states:
            told = detection_messages(detections, self.settings.centre, partition, self.urgent)
            await self.publisher.send(told + state_messages(states, partition))
            self.metrics.detected(detections)

    async def _suspect(self, held: Held, topic: str, offsets: list[int]) -> None:
        """For whoever goes on after us; only this: the state we hold may be half changed."""
        held.suspects[topic] = held.suspects[topic].failed(offsets)
        await held.saving.written()
        await held.table.save({f"{topic}/{SUSPECTS}": held.suspects[topic].pack()})

    def _count(self, bins: Mapping[str, int], detections: Sequence[Detection]) -> None:
        for name, number in bins.items():
            self.counts[name] += number
        self.counts["detections"] += len(detections)
        self.counts["raised"] += sum(d.kind == "raised" for d in detections)

    def _account(self, tp: TP, records: Records, outcome: LaneOutcome, strays: set[int], ticks: Ticks) -> None:
        """Every record that was taken is in a bin: those fed where the lane says, the others here."""
        for name, some in (("dead", strays), ("clock", ticks.keys() - strays)):
            if some:
                those = records.only(some)
                self.accounts.left(tp, those.offsets, those.timestamps, **{name: None})
        fates, apart = outcome.fates, strays | ticks.keys()
        if self.settings.clock == "wall":  # the lane has them as numbers already
            self.accounts.left(tp, fates.offsets, fates.arrival_us // 1000, **lane_bins(outcome))
        else:
            data = records.without(apart) if apart else records
            self.accounts.left(tp, fates.offsets, data.timestamps, **lane_bins(outcome))

    def _strays(self, held: Held, topic: str, records: Records, ticks: Ticks, partition: int) -> list[DecodeFailure]:
        """Records whose key belongs to another partition: no state of theirs is here, so they are dead letters. And
        those that the core is known to fail on."""
        failing = [refused(number, topic) for number in without(records, held.suspects[topic].bad)]
        if failing or held.good_keys.issuperset(records.keys):
            return failing
        new = set(records.keys) - held.good_keys
        held.good_keys |= {k for k in new if k is not None and self._is_home(k, partition)}
        bad = new - held.good_keys
        return [
            stray(number, topic, key, partition)
            for number, key in enumerate(records.keys)
            if key in bad and number not in ticks
        ]

    def _is_home(self, key: bytes, partition: int) -> bool:
        return is_area(key) and partition_for(key, self.settings.partitions) == partition

    # clocks

    async def _pass_on_clock(self, held: Held, topic: str, at_us: int, partition: int) -> None:
        """Under the stream clock, tell the Desk how far all lanes of this partition have come."""
        held.ticks_us[topic] = max(held.ticks_us.get(topic, 0), at_us)
        if len(held.ticks_us) == len(self.topics) and min(held.ticks_us.values()) > held.told_us:
            held.told_us = min(held.ticks_us.values())
            source = detector_source(partition)
            await self.publisher.tick("detections", self.settings.centre, CENTRE_PARTITION, held.told_us, source)

    async def tick(self) -> None:
        """Under the wall clock lanes with nothing left to read follow it; dirty state is stored when it is due."""
        for partition, held in list(self.held.items()):
            async with held.lock:
                if held.leaving or self.held.get(partition) is not held:
                    continue
                quiet, until_us = self._quiet(partition, held) if self.settings.clock == "wall" else ([], 0)
                if quiet:
                    detections = held.detector.advance(until_us, quiet)
                    states = held.detector.states()
                    if detections or states:
                        held.saving.changed = True
                        held.changed.update(quiet)
                        await self._tell(detections, states, partition)
            if not held.saving.changed:
                self.metrics.current(f"detector/{partition}")
            await held.saving.when_due()

    def _quiet(self, partition: int, held: Held) -> tuple[list[str], int]:
        """The lanes with nothing left to read, and until when that is known: not until now where the broker has not
        answered for a while. What it holds by then is not late because we, or it, stood still."""
        now_us, machine_us, quiet, age_s = self.clock.now_us(), self.clock.machine_us(), list[str](), 0.0
        now_s = self.clock.monotonic_s()
        if now_s - held.looked_s > SILENT_S:  # we stood still: what was answered meanwhile is as old
            held.resumes_s = now_s + SILENT_S
        held.looked_s = now_s
        if now_s < held.resumes_s:
            return quiet, now_us
        for full, name in self.topics.items():
            since_s = self.flow.empty_since_s(TP(full, partition), machine_us / 1e6)
            if since_s is not None and since_s <= SILENT_S:
                quiet.append(name)
                age_s = max(age_s, since_s)
        return quiet, now_us - round(age_s * 1e6)

    # state

    async def _settled(self, partition: int, held: Held) -> None:
        """A lane is stored without what its letters say of it: so they go first, unless their topic is not there."""
        await self.publisher.posted(TP(full, partition) for full, name in self.topics.items() if name in held.changed)

    def _snapshot(self, partition: int, held: Held) -> Save | None:
        """State and offsets of the lanes that changed; when they are stored together Kafka may commit up to those."""
        if self.held.get(partition) is not held:  # it went while its turn to be stored came
            return None
        waiting = {name for full, name in self.topics.items() if self.publisher.waiting(TP(full, partition))}
        topics, held.changed = sorted(held.changed - waiting), held.changed & waiting
        held.saving.changed = bool(held.changed)
        if not topics:
            return None
        lanes = {topic: held.detector.changes(topic) for topic in topics}
        offsets = {topic: held.next_offset[topic] for topic in topics if topic in held.next_offset}
        where = {topic: Where(offsets.get(topic), held.ticks_us.get(topic, 0)) for topic in topics}
        behind = [t for t in topics if held.suspects[t] and held.suspects[t].end <= offsets.get(t, -1)]
        for topic in behind:
            held.suspects[topic] = Suspects()
        return self._save(partition, held.table, lanes, where, behind)

    async def _save(
        self,
        partition: int,
        table: Table,
        lanes: Mapping[str, Callable[[], Changes]],
        where: Mapping[str, Where],
        behind: list[str],
    ) -> None:
        began_s = self.clock.monotonic_s()
        changes = await asyncio.to_thread(changes_of, lanes, where)
        await table.save({**changes, **{f"{topic}/{SUSPECTS}": None for topic in behind}})
        reach(Place.SAVED)
        nbytes = sum(len(entry or b"") for entry in changes.values())
        self.metrics.saved(f"detector/{partition}", nbytes, len(changes), self.clock.monotonic_s() - began_s)
        for full, name in self.topics.items():
            offset = where[name].offset if name in where else None
            if offset is not None and TP(full, partition) in self.flow.assigned:
                self.flow.stored(TP(full, partition), offset)


def binned(outcome: LaneOutcome) -> dict[str, int]:
    """How many records went where."""
    return {
        "used": outcome.used,
        "filtered": outcome.filtered,
        "duplicate": outcome.duplicate,
        "late": len(outcome.late),
        "dead": len(outcome.dead),
    }


def changes_of(lanes: Mapping[str, Callable[[], Changes]], where: Mapping[str, Where]) -> Changes:
    """What of these lanes has to be stored, by entry of their partition's table."""
    changes: Changes = {f"{topic}/{AT}": msgspec.json.encode(at) for topic, at in where.items()}
    for topic, encoded in lanes.items():
        changes |= {f"{topic}/{name}": entry for name, entry in encoded().items()}
    return changes


def by_lane(entries: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Entries of a partition's table by topic."""
    lanes: dict[str, dict[str, bytes]] = defaultdict(dict)
    for key, entry in entries.items():
        topic, _, name = key.partition("/")
        lanes[topic][name] = entry
    return lanes


def elsewhere(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same on another broker, whose offsets are others: each lane goes on where that one's group says."""
    return {key: entry for key, entry in entries.items() if key.partition("/")[2] not in (AT, SUSPECTS)}


def clock_records(records: Records) -> Ticks:
    """The clock records among them."""
    if None not in records.values:
        return {}
    return {
        number: at_us
        for number, value in enumerate(records.values)
        if value is None and (at_us := tick_us(records[number])) is not None
    }


def arrivals(records: Records, ticks: Ticks, at_us: int) -> Records:
    """Under the stream clock a record arrived when its partition's clock says, whenever the broker took it."""
    now_ms, done, arrived = at_us // 1000, 0, list[int]()
    for number, tick in [*ticks.items(), (len(records), 0)]:
        arrived += [now_ms] * (number - done) if now_ms else records.timestamps[done:number]
        now_ms, done = max(now_ms, tick // 1000), number
    return records.arrived(arrived)
